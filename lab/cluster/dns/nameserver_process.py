"""The cluster's name server as a process of the user nobody: sockets and the published state in, answers out.

The supervisor has bound the sockets and starts it as a fresh, site-less Python (see `nameserver`); it ends only by
being killed. Names outside the cluster are refused: a lab has no way out.
"""

import os
import socket
from collections.abc import Sequence
from functools import partial

import msgspec

from sidelab.lab.base import syscalls
from sidelab.lab.base.loop import Loop
from sidelab.lab.cluster.dns.replies import answer
from sidelab.lab.cluster.dns.zone import Zone
from sidelab.lab.cluster.state import State
from sidelab.lab.net.admission import Admission
from sidelab.lab.net.dns import MESSAGE_BYTES, Messages, framed

_NOBODY = 65534
_AT_ONCE = 64
_KEPT_ANSWERS, _KEPT_BYTES = 4096, 1024
"""How many answers are kept with their questions, and how long both may be together."""

_CONNECTIONS_OF_ONE, _CONNECTIONS = 32, 256
_IDLE_S = 10.0
_PAUSE_S = 0.1
_READ_BYTES = 4096
"""So much of one client's questions is answered before it is another's turn."""


def serve(descriptors: Sequence[int], directory: str, file: str) -> None:
    """Answer on the bound sockets `descriptors` from the state in `directory`/`file`, reread when it is replaced."""
    loop = Loop()
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # user nobody can't reach it by path
    syscalls.cut_bounding_set(())
    syscalls.drop_to(_NOBODY, _NOBODY, ())
    server = _Server(loop, opened, file)
    for fd in descriptors:
        server.listen(socket.socket(fileno=fd))
    loop.run()


class _Server:
    """Answers datagrams and connections from `file` in the opened `directory`; most answers are composed once.

    The file is checked for every query: a client that knows of a change must not get the old answer.
    """

    def __init__(self, loop: Loop, directory: int, file: str) -> None:
        self._loop = loop
        self._directory = directory
        self._file = file
        self._seen = (0, 0)
        self._zone = Zone(State())
        self._kept: dict[tuple[bool, bytes], bytes] = {}
        self._turn = 0
        self.open: Admission[_Connection] = Admission(
            _CONNECTIONS_OF_ONE, _CONNECTIONS, silent=lambda _: True, drop=lambda each: each.close()
        )

    def _look(self) -> None:
        """Read the state again, if it has been replaced."""
        found = os.stat(self._file, dir_fd=self._directory)
        if self._seen == (found.st_ino, found.st_mtime_ns):
            return
        with open(self._file, "rb", opener=partial(os.open, dir_fd=self._directory)) as content:
            found = os.fstat(content.fileno())
            self._seen = found.st_ino, found.st_mtime_ns
            self._zone = Zone(msgspec.json.decode(content.read(), type=State))
        self._kept.clear()

    def listen(self, sock: socket.socket) -> None:
        """Serve a bound socket, of either kind."""
        sock.setblocking(False)
        serve_one = self._datagrams if sock.type == socket.SOCK_DGRAM else self._accept
        self._loop.watch(sock, partial(serve_one, sock))

    def answer(self, packet: bytes, *, udp: bool) -> bytes | None:
        """Return the response to a message, None if it is not a query."""
        self._look()
        said = packet[2:]
        kept = self._kept.get((udp, said))
        if kept is not None:
            return packet[:2] + kept
        self._turn += 1
        found = answer(self._zone, packet, udp=udp, turn=self._turn)
        if found is not None and len(packet) + len(found) <= _KEPT_BYTES and found[6:8] in (b"\0\0", b"\0\1"):
            # With more records than one these take turns.
            if len(self._kept) >= _KEPT_ANSWERS:
                self._kept.clear()
            self._kept[udp, said] = found[2:]
        return found

    def _datagrams(self, sock: socket.socket) -> None:
        for _ in range(_AT_ONCE):
            try:
                packet, peer = sock.recvfrom(MESSAGE_BYTES)
                found = self.answer(packet, udp=True)
                if found is not None:
                    sock.sendto(found, peer)
            except BlockingIOError:
                return
            except OSError:
                continue  # the peer is gone, or an ICMP error of an earlier answer is reported here

    def _accept(self, sock: socket.socket) -> None:
        try:
            link, peer = sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: the connection waits, and would be reported again at once
            self._loop.forget(sock)
            self._loop.after(_PAUSE_S, partial(self.listen, sock))
            return
        source = peer[0]
        if not self.open.has_room(source):
            link.close()
            return
        self.open.add(source, _Connection(self._loop, self, link, source))


class _Connection:
    """A client over TCP: messages behind their lengths (RFC 1035, 4.2.2), answered in their order.

    Each is answered as soon as it arrives, so between two of them a connection may be closed without loss.
    """

    def __init__(self, loop: Loop, server: _Server, link: socket.socket, source: str) -> None:
        self._loop = loop
        self._server = server
        self._link = link
        self._source = source
        self._messages = Messages()
        link.settimeout(0)
        loop.watch(link, self._receive)
        self._deadline = loop.after(_IDLE_S, self.close)

    def _receive(self) -> None:
        try:
            data = self._link.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        for packet in self._messages.feed(data):
            if not self._send(self._server.answer(packet, udp=False)):
                self.close()
                return
            self._deadline.cancel()
            self._deadline = self._loop.after(_IDLE_S, self.close)

    def _send(self, found: bytes | None) -> bool:
        """Send an answer; do not wait for a client that keeps sending queries but reads nothing."""
        if found is None:
            return False
        try:
            data = framed(found)
            return self._link.send(data) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Close."""
        self._deadline.cancel()
        self._loop.forget(self._link)
        self._link.close()
        self._server.open.gone(self._source, self)
