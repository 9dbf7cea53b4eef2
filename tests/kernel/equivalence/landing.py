"""Send probes, and find where each arrived: what was accepted, where, and for which destination.

Every probe has its own source port, which identifies it on the other side however the rules changed its addresses. This
does not know what is expected.
"""

import select
import socket
import struct
from collections.abc import Iterator, Sequence
from itertools import groupby

from grid import Probe
from netns_helper import original_destination
from oracle import DROPPED, LOST, UNTOUCHED, given, redirected
from stage import AF, IP_PKTINFO, Listener, Stage, socket_of

FIRST_PORT = 20000  # of the probes; below Linux' ephemeral ports, above all listeners' ports
AT_ONCE = 400
PATIENCE_S = 5.0  # for what must arrive
LINGER_NOT = struct.pack("ii", 1, 0)  # closing resets, so nothing is left in TIME_WAIT
IPV6_PKTINFO = 50
RAW = {"tcp": {4: 6, 6: 6}, "icmp": {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}}
ECHO_REQUEST, ECHO_REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}


def land(
    stage: Stage, listeners: Sequence[Listener], probes: Sequence[Probe], patience_s: float = PATIENCE_S
) -> dict[Probe, str]:
    """Return where each of `probes` lands, in the oracle's words, or how it ended instead.

    A probe is lost if it has not arrived when nothing has arrived for `patience_s`.
    """
    landed: dict[Probe, str] = {}
    by_port = {FIRST_PORT + number: probe for number, probe in enumerate(probes)}
    sound = [(port, probe) for port, probe in by_port.items() if not probe.broken]
    for (origin, protocol), group in groupby(sound, key=lambda pair: (pair[1].origin, pair[1].protocol)):
        some = list(group)
        for start in range(0, len(some), AT_ONCE):
            with stage.inside(origin):
                clients = {port: _client(port, probe) for port, probe in some[start : start + AT_ONCE]}
            if protocol == "tcp":
                _accept(listeners, clients, by_port, landed, patience_s)
            else:
                _answer(listeners, clients, by_port, landed, patience_s)
            for client in clients.values():
                client.close()
    landed.update(_broken(stage, [probe for probe in probes if probe.broken]))
    return landed


def _client(port: int, probe: Probe) -> socket.socket:
    client = socket_of(probe.family, probe.protocol, probe.uid, probe.gid)
    client.setblocking(False)
    client.bind((probe.source, port))
    if probe.protocol == "tcp":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        client.connect_ex((probe.destination, probe.port))
    else:
        client.connect((probe.destination, probe.port))
        client.send(port.to_bytes(2, "big"))
    return client


def _ready(
    listeners: Sequence[Listener], protocol: str, missing: dict[int, Probe], patience_s: float
) -> Iterator[Listener]:
    """Yield listeners that have received something, until nothing is missing or nothing more comes."""
    poll = select.epoll()
    with poll:
        known = {listener.sock.fileno(): listener for listener in listeners if listener.protocol == protocol}
        for fd in known:
            poll.register(fd, select.EPOLLIN)
        while missing and (events := poll.poll(patience_s)):
            for fd, _ in events:
                yield known[fd]


def _accept(
    listeners: Sequence[Listener],
    clients: dict[int, socket.socket],
    by_port: dict[int, Probe],
    landed: dict[Probe, str],
    patience_s: float,
) -> None:
    missing = {port: by_port[port] for port in clients}
    served = []
    for listener in _ready(listeners, "tcp", missing, patience_s):
        while True:
            try:
                connection, peer = listener.sock.accept()
            except BlockingIOError:
                break
            served.append(connection)
            probe = missing.pop(peer[1], None)
            if probe is not None:
                landed[probe] = _where(listener, connection, probe)
    landed.update(dict.fromkeys(missing.values(), LOST))
    for client in clients.values():
        client.close()
    for connection in served:  # the clients have reset them
        connection.close()


def _where(listener: Listener, connection: socket.socket, probe: Probe) -> str:
    local = connection.getsockname()[:2]
    if not listener.captures:
        return UNTOUCHED if local == (probe.destination, probe.port) else f"at {local} of the {listener.place}"
    if local[1] != listener.port:
        return given(listener.port, None if local == (probe.destination, probe.port) else local[1])
    original = original_destination(connection)
    mistaken = "" if original == (probe.destination, probe.port) else f", which takes it for one to {original}"
    return redirected(listener.port) + mistaken


def _answer(
    listeners: Sequence[Listener],
    clients: dict[int, socket.socket],
    by_port: dict[int, Probe],
    landed: dict[Probe, str],
    patience_s: float,
) -> None:
    """Send every datagram back to its source, and check that it arrives there as an answer."""
    missing = {port: by_port[port] for port in clients}
    for listener in _ready(listeners, "udp", missing, patience_s):
        level, kind = (socket.SOL_IP, IP_PKTINFO) if listener.family == 4 else (socket.IPPROTO_IPV6, IPV6_PKTINFO)
        while True:
            try:
                data, controls, _, peer = listener.sock.recvmsg(16, 64)
            except BlockingIOError:
                break
            (info,) = [content for one, other, content in controls if (one, other) == (level, kind)]
            # The answer's source is the question's destination; the route finds the interface.
            local = info[8:12] if listener.family == 4 else info[:16]
            source = struct.pack("=i4s4x", 0, local) if listener.family == 4 else struct.pack("=16si", local, 0)
            listener.sock.sendmsg([data], [(level, kind, source)], 0, peer)
            probe = missing.pop(int.from_bytes(data, "big"), None)
            if probe is not None:
                here = socket.inet_ntop(AF[listener.family], local) == probe.destination
                untouched = UNTOUCHED if here else f"at the {listener.place}'s {listener.port}"
                landed[probe] = redirected(listener.port) if listener.captures else untouched
    landed.update(dict.fromkeys(missing.values(), LOST))
    for port in clients.keys() - missing.keys():
        if not select.select([clients[port]], [], [], patience_s)[0]:
            landed[by_port[port]] += ", its answer lost"


def _broken(stage: Stage, probes: Sequence[Probe]) -> dict[Probe, str]:
    """Send broken packets, each followed by a sound one that must arrive: what is not there before it was dropped."""
    return {probe: UNTOUCHED if _arrives(stage, probe) else DROPPED for probe in probes}


def _arrives(stage: Stage, probe: Probe) -> bool:
    family = probe.family
    protocols = {RAW[kind][family] for kind in ("tcp", "icmp")}
    with stage.inside(probe.origin):
        senders = {number: socket.socket(AF[family], socket.SOCK_RAW, number) for number in protocols}
    receivers = {number: socket.socket(AF[family], socket.SOCK_RAW, number) for number in protocols}
    try:
        icmp, mine = RAW["icmp"][family], RAW[probe.protocol][family]
        target = (probe.destination, 0)
        senders[icmp].connect(target)
        source = senders[icmp].getsockname()[0]
        token = b"broken!!"
        if probe.protocol == "tcp":
            packet = _tcp_without_flags(family, source, probe.destination, probe.port, token)
        else:
            packet = _echo(family, ECHO_REPLY, token)
        senders[mine].sendto(packet, target)
        senders[icmp].sendto(_echo(family, ECHO_REQUEST, b"sound..."), target)
        receivers[icmp].settimeout(PATIENCE_S)
        seen = b""
        while b"sound..." not in seen:
            seen += receivers[icmp].recv(256)
        receivers[mine].setblocking(False)
        while token not in seen:
            try:
                seen += receivers[mine].recv(256)
            except BlockingIOError:
                return False
        return True
    finally:
        for sock in (*senders.values(), *receivers.values()):
            sock.close()


def _checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _echo(family: int, kinds: dict[int, int], token: bytes) -> bytes:
    """Return an ICMP echo message; for IPv6 the kernel fills in the checksum (RFC 3542, 3.1)."""
    head = struct.pack("!BBHHH", kinds[family], 0, 0, 7777, 1)
    checksum = _checksum(head + token) if family == 4 else 0
    return head[:2] + struct.pack("!H", checksum) + head[4:] + token


def _tcp_without_flags(family: int, source: str, destination: str, port: int, token: bytes) -> bytes:
    """Return a TCP segment that no connection can hold (RFC 9293, 3.1): none of its flags is set."""
    head = struct.pack("!HHIIBBHHH", 19999, port, 1, 0, 5 << 4, 0, 1000, 0, 0)
    ends = socket.inet_pton(AF[family], source) + socket.inet_pton(AF[family], destination)
    length = len(head) + len(token)
    pseudo = ends + (struct.pack("!xBH", 6, length) if family == 4 else struct.pack("!I3xB", length, 6))
    return head[:16] + struct.pack("!H", _checksum(pseudo + head + token)) + head[18:] + token
