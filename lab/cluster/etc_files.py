"""Text of a pod's /etc/hosts, /etc/resolv.conf and /etc/nsswitch.conf; the first two as the kubelet's. Pure."""

import re

from sidelab.lab.cluster.addresses import DNS_IPV4, DOMAIN
from sidelab.lab.manifest import Pod
from sidelab.lab.plan.topology import PodAddress

_HOSTS = """\
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
"""
_MOST_SERVERS = 3  # MAXNS, resolv.h


def hosts(pod: Pod, address: PodAddress, hostname: str) -> str:
    """Return /etc/hosts: the pod's own name, fully qualified if it has a subdomain, and its aliases."""
    names = [hostname]
    if pod.spec.subdomain:
        names.insert(0, f"{hostname}.{pod.spec.subdomain}.{pod.namespace}.svc.{DOMAIN}")
    lines = ["\t".join((each, *names)) for each in (address.ipv4, address.ipv6)]
    lines += ["\t".join((alias.ip, *alias.hostnames)) for alias in pod.spec.host_aliases if alias.hostnames]
    return _HOSTS + "".join(f"{line}\n" for line in lines)


def name_servers(pod: Pod) -> list[str]:
    """Return the addresses that the pod's /etc/resolv.conf names."""
    own = [DNS_IPV4] if pod.spec.dns_policy.startswith("ClusterFirst") else []
    return list(dict.fromkeys((*own, *pod.spec.dns_config.nameservers)))[:_MOST_SERVERS]


def resolv_conf(pod: Pod) -> str:
    """Return /etc/resolv.conf; the node itself has no name server, which is all that the policy Default gives."""
    searches, options = [], {}
    if pod.spec.dns_policy.startswith("ClusterFirst"):
        searches = [f"{pod.namespace}.svc.{DOMAIN}", f"svc.{DOMAIN}", DOMAIN]
        options = {"ndots": "5"}
    config = pod.spec.dns_config
    searches = list(dict.fromkeys((*searches, *config.searches)))
    options |= {each.name: each.value for each in config.options}
    lines = [f"nameserver {each}" for each in name_servers(pod)]
    if searches:
        lines.append(f"search {' '.join(searches)}")
    if options:
        lines.append("options " + " ".join(f"{name}:{value}" if value else name for name, value in options.items()))
    return "".join(f"{line}\n" for line in lines) or "# The node has no name server.\n"


def nsswitch_conf(text: str) -> str:
    """Return the host's /etc/nsswitch.conf with names looked up in the two files above, by no service of the host."""
    return re.sub(r"(?m)^[ \t]*hosts:.*\n?", "", text).rstrip("\n") + "\nhosts: files dns\n"
