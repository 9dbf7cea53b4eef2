"""The resolver of a pod that captures DNS: it answers Services' names and forwards all others to the cluster's server.

UDP and TCP on 127.0.0.1. Until it has a table it answers SERVFAIL, so that clients ask again and do not believe that a
name does not exist. Sources: istio/istio pkg/dns/client; RFC 1035 §4.2.2 (TCP); RFC 7766 §6.2.
"""

import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address
from pathlib import Path

import dnslib

from sidelab.lab.cluster.state import State
from sidelab.lab.errors import PodError
from sidelab.lab.net import dns
from sidelab.sidecar.agent.dns.forward import forward
from sidelab.sidecar.agent.dns.nametable import NameAddresses, table
from sidelab.sidecar.agent.http.connection import Guest
from sidelab.sidecar.proxy.io.listener import admission
from sidelab.sidecar.proxy.io.proxy_loop import READ, ProxyLoop
from sidelab.sidecar.proxy.io.share import Share
from sidelab.sidecar.proxy.io.stream import TcpStream

TTL_S = 30
RESOLV_CONF = "/etc/resolv.conf"

_AT_ONCE = 64
_MOST_ASKED = 512
_MOST_CONNECTIONS = 64
"""The limit over TCP, all from programs of this pod; the one that has been silent longest is closed first."""

_READ_BYTES = 4096
"""How many bytes of one client's queries are answered before it is another's turn."""

_PAUSE_S = 0.1
_IDLE_S = 10.0

Tell = Callable[[bytes], None]


class Resolver:
    """A DNS server on 127.0.0.1:`port`."""

    def __init__(self, loop: ProxyLoop, port: int, namespace: str, resolv_conf: str = RESOLV_CONF) -> None:
        """Listen; raises `PodError` for a port that is taken."""
        self._loop = loop
        self._namespace = namespace
        self._names: dict[str, NameAddresses] | None = None
        self._upstreams = upstreams(Path(resolv_conf))
        self._asked = 0
        self._turn = 0
        self._open = admission(_MOST_CONNECTIONS, _MOST_CONNECTIONS)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self._tcp.bind(("127.0.0.1", port))
            self._udp.bind(("127.0.0.1", self.port))
            self._tcp.listen()
        except OSError as error:
            self._udp.close()
            self._tcp.close()
            raise PodError(f"agent: DNS port {port}: {error.strerror}: let nothing else in the pod use it") from error
        loop.watch(self._udp.fileno(), READ, self._datagrams)
        self._watch()

    @property
    def port(self) -> int:
        """The port, chosen by the kernel if 0 was requested."""
        number: int = self._tcp.getsockname()[1]
        return number

    def _watch(self) -> None:
        if self._tcp.fileno() >= 0:
            self._loop.watch(self._tcp.fileno(), READ, self._accept)

    def learn(self, state: State) -> None:
        """Answer from `state` from now on."""
        self._names = table(state, self._namespace)

    def close(self) -> None:
        """Stop answering."""
        for each in (self._udp, self._tcp):
            self._loop.forget(each.fileno())
            each.close()

    def answer(self, packet: bytes, tell: Tell, *, stream: bool) -> bool:
        """Call `tell` with the response to `packet`, now or later; returns False, without a call, if it is not a query.

        A response is not a query, so no two servers can be made to answer each other.
        """
        query = dns.read(packet, udp=not stream)
        if query is None:
            return False
        if isinstance(query, bytes):
            tell(query)
        elif self._names is None:
            tell(dns.refused(packet, dns.SERVFAIL))
        else:
            self._resolve(query, self._names, packet, tell, stream=stream)
        return True

    def _resolve(
        self, query: dns.Query, names: dict[str, NameAddresses], packet: bytes, tell: Tell, *, stream: bool
    ) -> None:
        self._turn += 1
        own = local_answer(query, names, self._turn)
        if own is not None:
            tell(own)
        elif not self._upstreams:
            tell(dns.refused(packet, dns.REFUSED))
        elif self._asked >= _MOST_ASKED:
            tell(dns.refused(packet, dns.SERVFAIL))
        else:
            self._asked += 1
            forward(self._loop, packet, self._upstreams[0], self._told(tell), stream=stream)

    def _told(self, tell: Tell) -> Tell:
        def told(response: bytes) -> None:
            self._asked -= 1
            tell(response)

        return told

    def _datagrams(self, _events: int) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet, peer = self._udp.recvfrom(dns.MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                continue  # an ICMP error for an earlier answer is reported here
            self.answer(packet, lambda data, peer=peer: self._send(data, peer), stream=False)  # type: ignore[misc]  # its default is the variable of this turn

    def _send(self, data: bytes, peer: tuple[str, int]) -> None:
        try:
            self._udp.sendto(data, peer)
        except OSError:
            return  # the client will ask again

    def _accept(self, _events: int) -> None:
        try:
            link, _ = self._tcp.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: the connection waits, and epoll would report it at once
            self._loop.forget(self._tcp.fileno())
            self._loop.call_later(_PAUSE_S, self._watch)
            return
        # Redirected connections come from any of the pod's addresses: the pod counts as one source.
        if not self._open.has_room(""):
            link.close()
            return
        link.settimeout(0)
        stream = TcpStream(self._loop, link, partial(self._open.gone, ""), Share(_READ_BYTES))
        self._open.add("", stream)
        stream.start(_Connection(self._loop, stream, self))


def upstreams(resolv_conf: Path) -> list[str]:
    """Return the addresses of a resolv.conf's name servers."""
    try:
        lines = resolv_conf.read_text(errors="replace").splitlines()
    except OSError:
        return []
    words = (line.split() for line in lines)
    return [each[1] for each in words if len(each) > 1 and each[0] == "nameserver" and _is_address(each[1])]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def local_answer(query: dns.Query, names: dict[str, NameAddresses], turn: int = 0) -> bytes | None:
    """Return the response to a query for the addresses of a name in `names`, None for any other query.

    Several addresses are rotated by `turn`.
    """
    kind = dnslib.QTYPE[query.record.q.qtype]
    found = names.get(b".".join(query.labels).decode(errors="replace"))
    if found is None or kind not in ("A", "AAAA"):
        return None
    reply = query.reply(recursion=True)
    addresses = found.ipv4 if kind == "A" else found.ipv6
    start = turn % len(addresses) if addresses else 0
    make = dnslib.A if kind == "A" else dnslib.AAAA
    for each in (*addresses[start:], *addresses[:start]):
        reply.add_answer(dnslib.RR(query.record.q.qname, query.record.q.qtype, ttl=TTL_S, rdata=make(each)))
    return dns.packed(reply, query.limit)


class _Connection(Guest):
    """A client over TCP: each message is preceded by its length."""

    def __init__(self, loop: ProxyLoop, stream: TcpStream, resolver: Resolver) -> None:
        super().__init__(loop, stream, _IDLE_S)
        self._resolver = resolver
        self._messages = dns.Messages()
        self._unanswered = 0

    def received(self, data: bytes) -> None:
        """Answer each complete message; one that is not a query ends the connection."""
        for packet in self._messages.feed(data):
            self._unanswered += 1
            if not self._resolver.answer(packet, self._send, stream=True):
                self.ended()
                return
        self.idle = not self._unanswered

    def drained(self) -> None:
        """Go on reading."""
        self._stream.resume()

    def _send(self, response: bytes) -> None:
        self._unanswered -= 1
        self.idle = not self._unanswered
        if not self._stream.closed and not self._stream.write(dns.framed(response)):
            self._stream.pause()
