"""One option set on the stage: applied by each way, probed, compared with what is expected; and the sum over many.

The rules are applied and removed as in a pod, by `sidecar.interception.apply.ways`.
"""

import socket
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

from grid import Probe, possible
from known_differences import EXCEPTIONS, expectation
from landing import land
from oracle import DNS_PORT, LOST
from stage import Listener, Stage

from sidelab.lab.errors import MachineError
from sidelab.sidecar.interception import build
from sidelab.sidecar.interception.apply import ways
from sidelab.sidecar.interception.apply.tools import require
from sidelab.sidecar.interception.options.options import Options, Way

NETLINK_NETFILTER = 12
DELETE_ALL_CONNECTIONS = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE (nfnetlink_conntrack.h)
REQUEST_WITH_ACK = 1 | 4
SHORT_S = 0.03  # a packet has arrived when the call that sends it returns, unless the machine is busy


@dataclass
class Tally:
    """What was compared, and the results."""

    option_sets: int = 0
    probes: Counter[Way] = field(default_factory=Counter)
    used: Counter[str] = field(default_factory=Counter)
    disagreements: list[str] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    @property
    def unused(self) -> list[str]:
        """The exceptions that no probe needed."""
        return [known.about for known in EXCEPTIONS if not self.used[known.about]]


def unavailable(way: Way) -> str:
    """Return why `way` can't be used on this machine; empty if it can."""
    if way != "nft":
        try:
            require(way, build(Options(enable_ipv6=True)))
        except MachineError as error:
            return str(error)
    return ""


def compare(stage: Stage, options: Options, taken: Sequence[Way], tally: Tally) -> None:
    """Add to `tally` the results of each of the ways `taken` with `options`."""
    tally.option_sets += 1
    probes = possible(ipv6=options.enable_ipv6)
    ruleset = build(options)
    owner = options.proxy_uids[0], options.proxy_gids[0]
    ports = options.proxy_port, options.inbound_capture_port, DNS_PORT
    with stage.sidecar(*ports, owner) as sidecar:
        for way in taken:
            ways.apply(ruleset, way)
            try:
                landed = _landed(stage, [*stage.listeners, *sidecar], probes, options, way)
            finally:
                ways.clean(ruleset, way)
            tally.disagreements += _judged(options, way, landed, tally)


def _landed(
    stage: Stage, listeners: list[Listener], probes: Sequence[Probe], options: Options, way: Way
) -> dict[Probe, str]:
    """Return where probes land; those that seem lost but should not be get more time, as they may only be late."""
    forget_connections()
    landed = land(stage, listeners, probes, SHORT_S)
    late = [probe for probe in probes if LOST in landed[probe] and landed[probe] != expectation(options, probe, way)[0]]
    if late:
        forget_connections()
        landed.update(land(stage, listeners, late))
    return landed


def _judged(options: Options, way: Way, landed: dict[Probe, str], tally: Tally) -> Iterator[str]:
    tally.probes[way] += len(landed)
    tally.outcomes.update(landed.values())
    for probe, observed in landed.items():
        expected, known = expectation(options, probe, way)
        if observed != expected:
            yield f"{way}: {_changed(options)}\n    {_told(probe)}\n    expected: {expected}\n    observed: {observed}"
        elif known is not None:
            tally.used[known.about] += 1


def forget_connections() -> None:
    """Empty the pod's connection tracking, as every way uses the same source ports."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        link.send(struct.pack("=IHHIIBBH", 20, DELETE_ALL_CONNECTIONS, REQUEST_WITH_ACK, 1, 0, 0, 0, 0))
        (code,) = struct.unpack_from("=i", link.recv(4096), 16)
        if code:
            raise OSError(-code, "the connections can't be forgotten")


def _changed(options: Options) -> str:
    plain = Options()
    names = [each.name for each in fields(options)]
    changed = {name: getattr(options, name) for name in names if getattr(options, name) != getattr(plain, name)}
    return ", ".join(f"{name}={value!r}" for name, value in changed.items())


def _told(probe: Probe) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in probe._asdict().items())
