"""Proof that traffic took its arm's path: rule counters, conntrack entries and the proxy's accepts, around each block.

`read` reads them from the kernel, by the tool that loaded the pod's rules, and from the proxy; `check` is pure. An arm
whose evidence disagrees with its label is an error.
"""

import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from sidelab.bench.arms.pods_of_arms import ArmPods
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan
from sidelab.lab.client.lab import Lab
from sidelab.lab.errors import PodError
from sidelab.lab.keys import PodKey
from sidelab.lab.net.ask import ask_port
from sidelab.lab.net.http_answer import AnswerError
from sidelab.lab.netlink import conntrack
from sidelab.lab.netlink.nftables import NETLINK_NETFILTER
from sidelab.sidecar import live_rules
from sidelab.sidecar.config.intent import Ports
from sidelab.sidecar.interception import Key as MatchKey
from sidelab.sidecar.interception import RuleAction
from sidelab.sidecar.interception.model.counted import Row

_PORTS = Ports()
_TIMEOUT_S = 5.0

_MANY = 1 << 62

Addresses = Mapping[PodKey, str]
"""The address of each pod in an arm's family."""


class Opened(NamedTuple):
    """How many connections an arm's client has made: an exact number, or two bounds."""

    least: int
    most: int

    @classmethod
    def exactly(cls, count: int) -> "Opened":
        """Return equal bounds."""
        return cls(count, count)

    @classmethod
    def at_least(cls, count: int) -> "Opened":
        """Return the bounds for a load, which opens another connection whenever one is closed."""
        return cls(count, _MANY)

    def __str__(self) -> str:
        return str(self.least) if self.least == self.most else f"{self.least} or more"


class Tracked(NamedTuple):
    """Connections from the client to the server's port that conntrack remembers, by where they really go.

    That is straight to the port, to the proxy's inbound port, or to its outbound one.
    """

    straight: int
    into: int
    out: int


@dataclass(frozen=True)
class PodEvidence:
    """What one pod has counted so far: new connections by the rule that matched, and by the proxy's listener.

    A NAT rule sees only the first packet of a connection, so its packets are connections; so does the TPROXY rule.
    `accepted_…` is None where a user's own proxy does not count as Envoy does; rules and conntrack alone are then the
    proof. `tracked` is None where conntrack was not read: a dump walks the whole machine's table, 10 ms a pod.
    """

    rules: int = 0
    redirected_in: int = 0
    redirected_out: int = 0
    transparent_in: int = 0
    excluded: int = 0
    accepted_in: int | None = 0
    accepted_out: int | None = 0
    tracked: Tracked | None = None


@dataclass(frozen=True)
class Evidence:
    """Both ends of an arm."""

    client: PodEvidence
    server: PodEvidence


class Prover:
    """Check the arms of a live lab against their labels, block by block."""

    def __init__(self, lab: Lab, plan: Plan, pods: Mapping[str, ArmPods]) -> None:
        """Read the counters before the first block; raises what `read` raises."""
        self._lab, self._plan, self._pods = lab, plan, pods
        self._addresses = {family: addresses(lab, family) for family in (4, 6)}
        self._before = self._read(tracked=False)

    def check(self, opened: Mapping[str, Opened], *, tracked: bool) -> None:
        """Check the block that ends here; `opened` is how many connections each arm's client made; raises `PodError`.

        `tracked` reads conntrack, too. It remembers the earlier blocks, so once at the end is enough.
        """
        after = self._read(tracked=tracked)
        for arm in self._plan.arms:
            check(arm, self._before[arm.name], after[arm.name], opened[arm.name])
        self._before = after

    def _read(self, *, tracked: bool) -> dict[str, Evidence]:
        return {
            arm.name: read(self._lab, arm, self._pods[arm.name], self._addresses[arm.family] if tracked else None)
            for arm in self._plan.arms
        }


def addresses(lab: Lab, family: int) -> Addresses:
    """Return the address of every pod of the lab."""
    return {(pod["namespace"], pod["name"]): pod[f"ipv{family}"] for pod in lab.status()["pods"]}


def read(lab: Lab, arm: Arm, pods: ArmPods, at: Addresses | None) -> Evidence:
    """Read what an arm's two pods have counted so far, and, given their addresses, what conntrack remembers.

    Raises `PodError` when a proxy's admin page or a pod's tool does not answer, `MachineError` for a missing tool.
    """
    ends = None if at is None else _Ends(at[pods.client], at[pods.server], pods.port)
    client = _read_pod(lab, arm, pods.client, pods.port, proxied=arm.client == "injected")
    server = _read_pod(lab, arm, pods.server, pods.port, proxied=arm.server in ("explicit", "injected"))
    if ends is not None:
        client = replace(client, tracked=_tracked(lab, pods.client, ends))
        server = replace(server, tracked=_tracked(lab, pods.server, ends))
    return Evidence(client, server)


def check(arm: Arm, before: Evidence, after: Evidence, opened: Opened) -> None:
    """Check the counts against the arm's label; `opened` is how many connections the client made meanwhile.

    Raises `PodError` naming the arm, what was expected and what was counted.
    """
    claims = (*_of_client(arm, before.client, after.client, opened), *_of_server(arm, before, after, opened))
    for claim in claims:
        if not claim.least <= claim.counted <= claim.most:
            most = "or more" if claim.most == _MANY else f"to {claim.most}"
            wanted = str(claim.least) if claim.least == claim.most else f"{claim.least} {most}"
            raise PodError(
                f"arm {arm.name} did not take its path: {claim.what}: {claim.counted}, and it should be {wanted} "
                f"for {opened} connections; its samples are worthless, so the run ends here"
            )


class _Ends(NamedTuple):
    """Addresses of an arm's client and server, and the port that is dialled."""

    client: str
    server: str
    port: int


class _Claim(NamedTuple):
    what: str
    counted: int
    least: int
    most: int


def _exactly(what: str, counted: int, wanted: int) -> _Claim:
    return _Claim(what, counted, wanted, wanted)


def _accepted(what: str, before: int | None, after: int | None, wanted: Opened) -> _Claim:
    return _Claim(what, wanted.least if before is None or after is None else after - before, *wanted)


def _has_rules(whose: str, arm: Arm, rules: int, *, wanted: bool) -> _Claim:
    return _Claim(f"rules in the {whose}'s pod", rules, arm.extra_rules + 1 if wanted else 0, _MANY if wanted else 0)


def _of_client(arm: Arm, before: PodEvidence, after: PodEvidence, opened: Opened) -> Iterator[_Claim]:
    yield _has_rules("client", arm, after.rules, wanted=arm.client != "plain")
    if arm.client == "rules-only":
        excluded = after.excluded - before.excluded
        yield _Claim("connections that met the rule which excludes the port in the client's pod", excluded, *opened)
    if arm.client == "injected":
        redirected = after.redirected_out - before.redirected_out
        yield _Claim("connections redirected to the client's proxy", redirected, *opened)
        accepted = (before.accepted_out, after.accepted_out)
        yield _accepted("connections accepted by the client's proxy", *accepted, Opened.exactly(redirected))
    if after.tracked is None:
        return
    # An entry outlives its connection by minutes only, so the number still there can be anything.
    remembered = "connections that conntrack remembers in the client's pod"
    if arm.client == "injected":
        yield _Claim(f"{remembered}, led to its proxy", after.tracked.out, min(1, opened.least), _MANY)
    else:
        least, most = (min(1, opened.least), _MANY) if arm.client == "rules-only" else (0, 0)
        yield _Claim(f"{remembered}, led straight", after.tracked.straight, least, most)
        yield _exactly(f"{remembered}, led to its proxy", after.tracked.out, 0)


def _of_server(arm: Arm, before: Evidence, after: Evidence, opened: Opened) -> Iterator[_Claim]:
    was, now = before.server, after.server
    # A client's proxy that keeps upstream connections makes fewer than its client does, any number of them.
    arrived = Opened(0, opened.most) if arm.client == "injected" else opened
    redirected = now.redirected_in - was.redirected_in
    captures = arm.server in ("redirected", "injected")
    yield _has_rules("server", arm, now.rules, wanted=captures or arm.server == "rules-only")
    if arm.server == "explicit":
        yield _accepted("connections accepted by the proxy that is dialled", was.accepted_in, now.accepted_in, opened)
    if arm.server == "rules-only":
        excluded = now.excluded - was.excluded
        yield _Claim("connections that met the rule which excludes the port", excluded, *arrived)
        yield _exactly("connections redirected in the server's pod", redirected, 0)
    captured = now.transparent_in - was.transparent_in if arm.rules == "tproxy" else redirected
    if captures:
        yield _Claim("connections redirected in the server's pod", captured, *arrived)
    if arm.server == "injected":
        yield _accepted(
            "connections accepted by the server's proxy", was.accepted_in, now.accepted_in, Opened.exactly(captured)
        )
    if now.tracked is not None:
        yield from _remembered(arm, now.tracked, min(1, opened.least))


def _remembered(arm: Arm, tracked: Tracked, least: int) -> Iterator[_Claim]:
    what = "connections that conntrack remembers in the server's pod"
    captured = arm.server in ("redirected", "injected") and arm.rules == "redirect"
    if arm.server in ("plain", "explicit"):
        straight, into = (0, 0), (0, 0)
    elif captured:
        straight, into = (0, 0), (least, _MANY)
    else:  # excluded, or captured by TPROXY, which leaves both addresses as they were dialled
        straight, into = (least, _MANY), (0, 0)
    yield _Claim(f"{what}, led straight to the port", tracked.straight, *straight)
    yield _Claim(f"{what}, led to the proxy's port", tracked.into, *into)


def _read_pod(lab: Lab, arm: Arm, pod: PodKey, port: int, *, proxied: bool) -> PodEvidence:
    rows = [
        (chain.name, row)
        for table in live_rules.tables(lab, pod, arm.family)
        for chain in table.chains
        for row in chain.rows
    ]
    own = arm.proxy.startswith("/")
    accepts = _accepts(_stats(lab, pod, required=not own)) if proxied else {}
    unknown = None if proxied and own and not accepts else 0
    return PodEvidence(
        rules=len(rows),
        redirected_in=_packets(rows, RuleAction.REDIRECT, _PORTS.inbound),
        redirected_out=_packets(rows, RuleAction.REDIRECT, _PORTS.outbound),
        transparent_in=_packets(rows, RuleAction.TPROXY, _PORTS.inbound),
        excluded=sum(row.packets for chain, row in rows if chain in _EXCLUDING and _excludes(row, port)),
        accepted_in=accepts.get(_PORTS.inbound, unknown),
        accepted_out=accepts.get(_PORTS.outbound, unknown),
    )


_EXCLUDING = ("ISTIO_INBOUND", "ISTIO_OUTPUT")


def _packets(rows: Sequence[tuple[str, Row]], verb: RuleAction, port: int) -> int:
    targets = ((row.rule.target, row.packets) for _, row in rows if row.rule is not None)
    return sum(packets for target, packets in targets if target.verb is verb and target.port == port)


def _excludes(row: Row, port: int) -> bool:
    return (
        row.rule is not None
        and row.rule.target.verb is RuleAction.RETURN
        and any(match.key is MatchKey.DPORT and match.values == (port,) for match in row.rule.matches)
    )


def _tracked(lab: Lab, pod: PodKey, ends: _Ends) -> Tracked:
    with lab.open_socket(pod, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        entries = conntrack.dump(link)
    led = [
        entry.reply.source_port
        for entry in entries
        if (entry.original.source, entry.original.destination, entry.original.destination_port) == ends
    ]
    return Tracked(led.count(ends.port), led.count(_PORTS.inbound), led.count(_PORTS.outbound))


def _stats(lab: Lab, pod: PodKey, *, required: bool) -> str:
    """Return /stats of the pod's proxy, read over a socket in the pod; "" if it fails and is not `required`."""
    with lab.open_socket(pod, socket.AF_INET, socket.SOCK_STREAM) as link:
        try:
            answer = ask_port(link, _PORTS.admin, "GET", "/stats", _TIMEOUT_S)
        except (OSError, AnswerError) as error:
            if not required:
                return ""
            raise PodError(f"pod {'/'.join(pod)}: its proxy's admin port does not answer: {error}") from error
    return answer.body.decode(errors="replace")


def _accepts(stats: str) -> dict[int, int]:
    """Return connections accepted by port, from Envoy's names such as `listener.0.0.0.0_15006.downstream_cx_total`."""
    found: dict[int, int] = {}
    for line in stats.splitlines():
        name, _, value = line.partition(": ")
        if name.startswith("listener.") and name.endswith(".downstream_cx_total"):
            port = name.removesuffix(".downstream_cx_total").rpartition("_")[2]
            if port.isdigit():
                found[int(port)] = found.get(int(port), 0) + int(value)
    return found
