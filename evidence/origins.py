"""Which tracked connections and counted packets of a pod are the kubelet's probes, and which are requests. Pure.

The kubelet probes from the node's address. Inside the pod, the ports that the rules and the sidecar use tell probes
from requests.
"""

from collections.abc import Collection, Mapping, Sequence

from sidelab.lab.net.node_addresses import NODE_IPV4, NODE_IPV6
from sidelab.lab.netlink.conntrack import Entry
from sidelab.sidecar import istio_ports
from sidelab.sidecar.interception.model.counted import TableRows
from sidelab.sidecar.interception.model.model import Family, Key

_NODE = {NODE_IPV4, NODE_IPV6}
_SIDECAR_SOURCE = {"127.0.0.6", "::6"}  # the source of the sidecar's connections to its own application
_OF_SIDECAR = range(istio_ports.ADMIN, istio_ports.STATS + 1)
# What the rules let pass to the agent: its metrics and the application's probes, the sidecar's own probe.
_PROBED = {istio_ports.AGENT: "the application's, asked of the agent", istio_ports.HEALTH: "the sidecar's own"}


def purpose(entry: Entry, own: Collection[str]) -> str:
    """Return in a few words what a connection of a pod with addresses `own` is for; "" if unknown."""
    original, answered_by = entry.original, entry.reply.source_port
    asked = original.destination_port
    caught = answered_by != asked
    within = original.source == original.destination or original.destination.startswith("127.")
    meanings = (
        (original.source in _NODE and caught, "a probe by the kubelet, caught by the rules"),
        (original.source in _NODE, "a probe by the kubelet"),
        (original.source in _SIDECAR_SOURCE, "from the sidecar to the application: a request, or a probe passed on"),
        (caught and answered_by == istio_ports.DNS, "a DNS question, answered by the agent"),
        (caught and answered_by == istio_ports.INBOUND, "a request that came in, caught by the rules"),
        (caught and answered_by == istio_ports.OUTBOUND, "a request on its way out, caught by the rules"),
        (within and asked in _OF_SIDECAR, "inside the sidecar: its agent asks its proxy"),
        (within, "inside the pod"),
        (original.source in own, "on its way out, not caught: the sidecar's own, or excluded"),
        (original.destination in own, "came in, not caught"),
    )
    return next((meaning for true, meaning in meanings if true), "")


def probes(tables: Sequence[TableRows], family: Family = 4) -> Mapping[int, int]:
    """Return how many connections the rules have let pass to each port that the kubelet probes, by port."""
    rows = [
        row
        for table in tables
        for chain in table.chains
        if chain.name == "ISTIO_INBOUND"
        for row in chain.visible(family)
        if row.rule is not None
    ]
    counted: dict[int, int] = {}
    for row in rows:
        for match in row.rule.matches if row.rule else ():
            if match.key is Key.DPORT and not match.negated:
                for port in _PROBED.keys() & set(match.values):
                    counted[int(port)] = counted.get(int(port), 0) + row.packets
    return counted


def probes_sentence(tables: Sequence[TableRows], family: Family = 4) -> str:
    """Return a sentence on which of the counted packets were the kubelet's probes; "" if none were counted."""
    counted = {port: count for port, count in sorted(probes(tables, family).items()) if count}
    if not counted:
        return ""
    parts = [f"{count} to port {port} ({_PROBED[port]})" for port, count in counted.items()]
    total = sum(counted.values())
    return f"{total} of the connections that came in were the kubelet's probes, not requests: {', '.join(parts)}"
