"""Proof that traffic took its arm's path: the kernel's rule counters and the proxy's accepts, before and after.

`read` asks the kernel, by the way that brought the pod's rules, and the proxy; `check` is pure. An arm whose counters
disagree with its label is an error.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass

from bench.arm import Arm
from bench.arms import ArmPods
from lab.errors import PodError
from lab.lab import Key, Lab
from sidecar import liverules
from sidecar.intent import Ports
from sidecar.rules import Key as MatchKey
from sidecar.rules import Verb
from sidecar.rules.counters import TableRows
from sidecar.rules.model import Family

_PORTS = Ports()
_FAMILY: Family = 4  # the client dials IPv4
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class PodEvidence:
    """What one pod has counted so far: new connections by the rule that they met, and by the proxy's listener.

    A NAT rule sees the first packet of a connection only, so its packets are connections.
    """

    has_rules: bool = False
    redirected_in: int = 0
    redirected_out: int = 0
    excluded: int = 0
    accepted_in: int = 0
    accepted_out: int = 0

    def since(self, before: "PodEvidence") -> "PodEvidence":
        """Return what was counted since `before`."""
        return PodEvidence(
            self.has_rules,
            self.redirected_in - before.redirected_in,
            self.redirected_out - before.redirected_out,
            self.excluded - before.excluded,
            self.accepted_in - before.accepted_in,
            self.accepted_out - before.accepted_out,
        )


@dataclass(frozen=True)
class Evidence:
    """Both ends of an arm."""

    client: PodEvidence
    server: PodEvidence


def read(lab: Lab, arm: Arm, pods: ArmPods) -> Evidence:
    """Read what an arm's two pods have counted so far.

    Raises `PodError` when a proxy's admin page or a pod's tool does not answer, `MachineError` for a missing tool.
    """
    return Evidence(
        client=_read_pod(lab, pods.client, pods.port, proxied=arm.client == "injected"),
        server=_read_pod(lab, pods.server, pods.port, proxied=arm.server == "injected"),
    )


def check(arm: Arm, before: Evidence, after: Evidence, opened: int) -> None:
    """Hold what was counted against the arm's label; `opened` is how many connections the client made.

    Raises `PodError` naming the arm, what was expected and what was counted.
    """
    client, server = after.client.since(before.client), after.server.since(before.server)
    expected: list[tuple[str, int, int]] = [
        ("rules in the client's pod", client.has_rules, arm.client != "plain"),
        ("rules in the server's pod", server.has_rules, arm.server != "plain"),
    ]
    if arm.client == "injected":
        expected += [
            ("connections redirected to the client's proxy", client.redirected_out, opened),
            ("connections accepted by the client's proxy", client.accepted_out, opened),
        ]
    if arm.server == "rules-only":
        expected += [
            ("connections that met the rule which excludes the port", server.excluded, opened),
            ("connections redirected in the server's pod", server.redirected_in, 0),
        ]
    if arm.server == "injected":
        # A client's proxy that keeps upstream connections makes fewer than its client; how many is its own affair.
        arrived = opened if arm.client == "plain" else max(1, min(server.redirected_in, opened))
        expected += [
            ("connections redirected to the server's proxy", server.redirected_in, arrived),
            ("connections accepted by the server's proxy", server.accepted_in, arrived),
        ]
    for what, counted, wanted in expected:
        if counted != wanted:
            raise PodError(
                f"arm {arm.name} did not take its path: {what}: {counted}, and it should be {wanted} "
                f"for {opened} connections; its samples are worthless, so the run ends here"
            )


def _read_pod(lab: Lab, pod: Key, port: int, *, proxied: bool) -> PodEvidence:
    tables = liverules.tables(lab, pod, _FAMILY)
    accepts = _accepts(_stats(lab, pod)) if proxied else {}
    return PodEvidence(
        has_rules=any(chain.rows for table in tables for chain in table.chains),
        redirected_in=_packets(tables, Verb.REDIRECT, _PORTS.inbound),
        redirected_out=_packets(tables, Verb.REDIRECT, _PORTS.outbound),
        excluded=_excluded(tables, port),
        accepted_in=accepts.get(_PORTS.inbound, 0),
        accepted_out=accepts.get(_PORTS.outbound, 0),
    )


def _packets(tables: Sequence[TableRows], verb: Verb, port: int) -> int:
    return sum(
        row.packets
        for table in tables
        for chain in table.chains
        for row in chain.rows
        if row.rule is not None and row.rule.target.verb is verb and row.rule.target.port == port
    )


def _excluded(tables: Sequence[TableRows], port: int) -> int:
    return sum(
        row.packets
        for table in tables
        for chain in table.chains
        if chain.name == "ISTIO_INBOUND"
        for row in chain.rows
        if row.rule is not None
        and row.rule.target.verb is Verb.RETURN
        and any(match.key is MatchKey.DPORT and match.values == (port,) for match in row.rule.matches)
    )


def _stats(lab: Lab, pod: Key) -> str:
    """Return the page /stats of the pod's proxy, asked over a socket that lives in the pod."""
    with lab.open_socket(pod, socket.AF_INET, socket.SOCK_STREAM) as link:
        link.settimeout(_TIMEOUT_S)
        try:
            link.connect(("127.0.0.1", _PORTS.admin))
            link.sendall(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: link.recv(1 << 16), b""))
        except OSError as error:
            raise PodError(f"pod {'/'.join(pod)}: its proxy's admin port does not answer: {error}") from error
    return answer.decode(errors="replace")


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
