"""The rules of a running pod: read them, compare them with what the pod asks for, repair them, remove them.

The lab's copy of the pod's manifest says which rules should be there and by which way they were loaded; sockets opened
inside the pod, and tools run as its istio-init, reach the kernel.
"""

import socket
from collections.abc import Sequence
from functools import partial
from tempfile import TemporaryFile

from sidelab.lab.client.lab import Lab
from sidelab.lab.errors import InputError
from sidelab.lab.keys import PodKey
from sidelab.lab.netlink import nftables
from sidelab.sidecar.interception.apply import ways
from sidelab.sidecar.interception.apply.tools import Done
from sidelab.sidecar.interception.apply.ways import Reach
from sidelab.sidecar.interception.drift.differences import Drift
from sidelab.sidecar.interception.model.counted import TableRows
from sidelab.sidecar.interception.model.model import Family
from sidelab.sidecar.pod_rules import PodRules, of_pod


def tables(lab: Lab, key: PodKey, family: Family) -> tuple[TableRows, ...]:
    """Return the pod's tables with the kernel's counters, at least for `family`; none if the pod asks for no rules."""
    rules = _rules(lab, key)
    way = "nft" if rules is None else rules.way
    return ways.open_way(way, _reach(lab, key, rules)).read(family)


def check(lab: Lab, key: PodKey) -> Drift:
    """Return the differences between the kernel's rules and those that the pod asks for."""
    rules = _required(lab, key)
    return ways.check(rules.ruleset, rules.way, _reach(lab, key, rules))


def reconcile(lab: Lab, key: PodKey) -> bool:
    """Repair the pod's rules, and return whether anything was wrong; if nothing was, counters are kept."""
    rules = _required(lab, key)
    reach = _reach(lab, key, rules)
    wrong = bool(ways.check(rules.ruleset, rules.way, reach))
    if wrong:
        ways.reconcile(rules.ruleset, rules.way, reach)
    return wrong


def clean(lab: Lab, key: PodKey) -> None:
    """Remove all of the pod's rules, including routes and addresses."""
    rules = _required(lab, key)
    ways.clean(rules.ruleset, rules.way, _reach(lab, key, rules))


def _rules(lab: Lab, key: PodKey) -> PodRules | None:
    (pod,) = lab.manifest(key).pods
    return of_pod(pod)


def _required(lab: Lab, key: PodKey) -> PodRules:
    rules = _rules(lab, key)
    if rules is None:
        raise InputError(f"pod {'/'.join(key)} has no istio-init, so it asks for no rules: is it injected?")
    return rules


def _reach(lab: Lab, key: PodKey, rules: PodRules | None) -> Reach:
    def opened(protocol: int) -> socket.socket:
        return lab.open_socket(key, socket.AF_NETLINK, socket.SOCK_RAW, protocol)

    return Reach(
        netfilter=lambda: nftables.prepared(opened(nftables.NETLINK_NETFILTER)),
        route=partial(opened, socket.NETLINK_ROUTE),
        run=partial(_run, lab, key, rules.container if rules else ""),
    )


def _run(lab: Lab, key: PodKey, container: str, argv: Sequence[str], text: str, env: dict[str, str]) -> Done:
    """Run a tool in the pod as its istio-init, which has the capabilities for it."""
    with TemporaryFile() as given, TemporaryFile() as output, TemporaryFile() as problems:
        given.write(text.encode())
        given.seek(0)
        standard = (given.fileno(), output.fileno(), problems.fileno())
        status = lab.execute(key, argv, standard, container, env)
        for file in (output, problems):
            file.seek(0)
        return Done(status, output.read().decode(errors="replace"), problems.read().decode(errors="replace"))
