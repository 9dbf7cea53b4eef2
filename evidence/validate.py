"""Check that the proxy's traffic to its own pod comes back into the proxy, as istio-iptables' --run-validation does.

It dials as the proxy's user, from 127.0.0.1 to 127.0.0.6: there only the rule by owner leads into the proxy; for root
or any other user the port is closed. Istio does this before the proxy runs, with its own listeners on the proxy's
ports; so do we if they are free. If a proxy has them it may accept, and conntrack shows where the connection went.
Source: Istio's tools/istio-iptables/pkg/validation.
"""

import select
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from sidelab.lab.client.lab import Lab
from sidelab.lab.client.run_inside import in_pod
from sidelab.lab.keys import PodKey
from sidelab.lab.netlink import conntrack
from sidelab.lab.netlink.conntrack import Entry
from sidelab.lab.netlink.nftables import NETLINK_NETFILTER
from sidelab.sidecar import istio_ports, pod_rules
from sidelab.sidecar.config.annotations import INJECT
from sidelab.sidecar.interception import Options
from sidelab.sidecar.interception.model.model import Family
from sidelab.sidecar.proxy.io.destination import original_destination

_FAMILIES: dict[Family, socket.AddressFamily] = {4: socket.AF_INET, 6: socket.AF_INET6}
_LOOPBACK: dict[Family, str] = {4: "127.0.0.1", 6: "::1"}
_TARGET: dict[Family, str] = {4: "127.0.0.6", 6: "::6"}
_LOCAL_TIMEOUT_S = 1.0


class Expected(NamedTuple):
    """What the pod's rules promise: for which user, in which families, and to which ports they redirect.

    `rules` is whether the pod has istio-init at all; without it the rest is Istio's defaults.
    """

    uid: int = 1337
    gid: int = 1337
    families: tuple[Family, ...] = (4,)
    inbound_port: int = istio_ports.INBOUND
    outbound_port: int = istio_ports.OUTBOUND
    probe_port: int = istio_ports.VALIDATION
    timeout_s: float = 5.0
    rules: bool = True


class ConnectionAttempt(NamedTuple):
    """The outcome of one connection attempt.

    `problem` is empty if it was accepted. `original` is the destination that our own listener recovered, None if the
    proxy accepted. For a refused one, `open` is whether the proxy's port is open at all.
    """

    family: Family
    source_port: int
    problem: str = ""
    original: tuple[str, int] | None = None
    open: bool = True


class FamilyCheck(NamedTuple):
    """One family's outcome; `cure` is empty if it is `ok`."""

    family: Family
    ok: bool
    expected: str
    seen: str
    cure: str = ""


def validate(lab: Lab, pod: PodKey) -> tuple[FamilyCheck, ...]:
    """Return the outcome for each family of the pod's rules; takes up to the time-out (5 s) per family."""
    (built,) = lab.manifest(pod).pods
    rules = pod_rules.of_pod(built)
    wanted = expected(rules.options if rules else None)
    with lab.open_socket(pod, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        told = in_pod(lab, pod, wanted.uid, wanted.gid, lambda: attempts(wanted))
        entries = conntrack.dump(link)
    made = [ConnectionAttempt(**{**each, "original": each["original"] and tuple(each["original"])}) for each in told]
    return tuple(judge(wanted, each, entry_of(wanted, each, entries)) for each in made)


def expected(options: Options | None) -> Expected:
    """Return what rules of these options promise; None stands for a pod without istio-init."""
    if options is None:
        return Expected(rules=False)
    return Expected(
        uid=options.proxy_uids[0],
        gid=options.proxy_gids[0],
        families=(4, 6) if options.enable_ipv6 else (4,),
        inbound_port=options.inbound_capture_port,
        outbound_port=options.proxy_port,
        probe_port=options.probe_port,
        timeout_s=options.probe_timeout_s,
    )


def attempts(wanted: Expected) -> list[dict[str, Any]]:
    """Dial once in each family, inside the pod and as the proxy's user; return `ConnectionAttempt`s as JSON values."""
    with ExitStack() as opened:
        listeners = {family: list(_listen(opened, family, wanted)) for family in wanted.families[:1]}
        if len(listeners[4]) == 2:  # no proxy runs, so we listen in its place
            listeners |= {family: list(_listen(opened, family, wanted)) for family in wanted.families[1:]}
        return [_dial(wanted, family, listeners.get(family, []))._asdict() for family in wanted.families]


def _listen(opened: ExitStack, family: Family, wanted: Expected) -> Iterator[socket.socket]:
    """Listen on those of the proxy's ports that are free.

    Unlike Istio we do not set SO_REUSEPORT: beside a proxy that does, we would get the application's connections.
    """
    for port in (wanted.outbound_port, wanted.inbound_port):
        listener = opened.enter_context(socket.socket(_FAMILIES[family], socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_LOOPBACK[family], port))
            listener.listen()
        except OSError:
            continue
        yield listener


def _dial(wanted: Expected, family: Family, listeners: Sequence[socket.socket]) -> ConnectionAttempt:
    with socket.socket(_FAMILIES[family], socket.SOCK_STREAM) as dialled:
        dialled.settimeout(wanted.timeout_s)
        try:
            dialled.bind((_LOOPBACK[family], 0))
            source_port = dialled.getsockname()[1]
            dialled.connect((_TARGET[family], wanted.probe_port))
        except TimeoutError:
            return ConnectionAttempt(family, source_port, f"no answer within {wanted.timeout_s:g} s")
        except ConnectionRefusedError as error:
            refused = error.strerror or "Connection refused"
            return ConnectionAttempt(family, source_port, refused, open=_is_open(family, wanted.inbound_port))
        except OSError as error:
            return ConnectionAttempt(family, 0, error.strerror or str(error))
        return ConnectionAttempt(family, source_port, original=_accepted(listeners))


def _is_open(family: Family, port: int) -> bool:
    """Return whether the proxy's own port is open; even the proxy's packets go straight to the loopback address."""
    with socket.socket(_FAMILIES[family], socket.SOCK_STREAM) as asked:
        asked.settimeout(_LOCAL_TIMEOUT_S)
        return asked.connect_ex((_LOOPBACK[family], port)) == 0


def _accepted(listeners: Sequence[socket.socket]) -> tuple[str, int] | None:
    ready: list[socket.socket] = select.select(listeners, [], [], _LOCAL_TIMEOUT_S)[0] if listeners else []
    if not ready:
        return None
    with ready[0].accept()[0] as connection:
        return original_destination(connection)


def entry_of(wanted: Expected, attempt: ConnectionAttempt, entries: Sequence[Entry]) -> Entry | None:
    """Return conntrack's entry for the attempt's connection."""
    said = (_LOOPBACK[attempt.family], attempt.source_port, _TARGET[attempt.family], wanted.probe_port)
    for entry in entries:
        tuple_ = entry.original
        if said == (tuple_.source, tuple_.source_port, tuple_.destination, tuple_.destination_port):
            return entry
    return None


def judge(wanted: Expected, attempt: ConnectionAttempt, entry: Entry | None) -> FamilyCheck:
    """Return whether the connection went where the rules promise; `entry` is conntrack's entry for it."""
    family = attempt.family
    target = f"{_TARGET[family]}:{wanted.probe_port}" if family == 4 else f"[{_TARGET[family]}]:{wanted.probe_port}"
    promise = (
        f"a connection from {_LOOPBACK[family]} to {target}, by uid {wanted.uid} and gid {wanted.gid}, "
        f"arrives at the proxy's port {wanted.inbound_port}"
    )
    if attempt.problem:
        return FamilyCheck(family, False, promise, attempt.problem, _cure_of_refusal(wanted, attempt))
    seen = str(entry) if entry else "it was accepted, and conntrack knows nothing of it"
    if attempt.original is not None:
        seen += f" (our own listener there recovered {attempt.original[0]} port {attempt.original[1]})"
    arrived = entry.reply.source_port if entry else None
    recovered = attempt.original in {None, (_TARGET[family], wanted.probe_port)}
    if arrived == wanted.inbound_port and recovered:
        return FamilyCheck(family, True, promise, seen)
    return FamilyCheck(family, False, promise, seen, _RULES_CURE)


_NO_RULES_CURE = (
    f'this pod has no istio-init: give it the label {INJECT.name}: "true", and see with '
    "`sidelab inject MANIFEST` what that adds"
)
_RULES_CURE = (
    "`sidelab rules check POD` tells how the rules differ from what the pod asks for, and `sidelab rules reconcile "
    "POD` mends them; if they don't differ, it asks for something else than Istio's: in ISTIO_OUTPUT (`sidelab rules "
    "show POD`) the jump to ISTIO_IN_REDIRECT by owner must be the first rule that matches the proxy's packets"
)


def _cure_of_refusal(wanted: Expected, attempt: ConnectionAttempt) -> str:
    if not wanted.rules:
        return _NO_RULES_CURE
    if not attempt.open:
        return (
            f"nobody listens on {_LOOPBACK[attempt.family]} port {wanted.inbound_port}: is the proxy meant for "
            f"IPv{attempt.family}? `sidelab logs POD -c istio-proxy` has its own words"
        )
    if attempt.family == 6:
        return f"`::6/128` must be an address of lo (`sidelab rules check POD` tells); else {_RULES_CURE}"
    return _RULES_CURE
