"""What one source may make the proxy keep: a sum for all of its connections, and what happens as it grows."""

import socket
import time
from contextlib import closing

from proxy_rig import MemoryGateway, MemoryWire

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.share import BUDGET_BYTES, READ_BYTES, Share, Shares
from sidelab.sidecar.proxy.io.stream import TcpStream

HALF = b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 4000


def test_more_that_waits_means_less_is_read() -> None:
    """The more is kept for a source, the smaller the pieces; once it is gone all is as before."""
    share = Share()
    sizes = []
    for count in (0, 1 << 20, 1 << 20, -(2 << 20)):
        share.add(count)
        sizes.append(share.read_bytes)
    assert sizes == [*sorted(sizes[:3], reverse=True), READ_BYTES]
    assert len(set(sizes[:3])) == 3


def test_what_takes_long_is_read_in_smaller_pieces() -> None:
    """A read that takes too long for its size halves the next one, and quick ones double it; to copy takes its time."""
    share = Share()
    share.took(0.0002, READ_BYTES)
    copied = share.read_bytes
    share.took(0.02, READ_BYTES)
    small = share.read_bytes
    for _ in range(20):
        share.took(0.00001, 1)
    assert (READ_BYTES, READ_BYTES // 2, READ_BYTES) == (copied, small, share.read_bytes)


def test_share_is_the_sources_while_it_has_connections() -> None:
    """Connections of one address have one share, those of another another."""
    shares = Shares()
    mine, other = shares.of("10.244.0.2"), shares.of("10.244.0.3")
    assert (True, False) == (shares.of("10.244.0.2") is mine, other is mine)


def test_half_heads_of_one_source_are_bounded() -> None:
    """Beyond its budget a source's heads are answered with 431, and what is given up is given back."""
    with closing(MemoryGateway()) as memory:
        memory.cluster.settings.limits.head_bytes = 60_000
        share = Share()
        wires: list[MemoryWire] = []
        for _ in range(2 * BUDGET_BYTES // len(HALF)):
            wires.append(memory.connect())
            wires[-1].share = share
            wires[-1].say(HALF)
        refused = [wire for wire in wires if wire.sent.startswith(b"HTTP/1.1 431 ")]
        highest = share.waiting_bytes
        for wire in wires:
            wire.break_down(ConnectionResetError())
    assert refused
    assert highest <= BUDGET_BYTES
    assert 0 == share.waiting_bytes


def test_heads_are_read_in_large_pieces_whatever_they_take() -> None:
    """A large head is looked at anew with every piece: in small ones it would take longer, and not less."""

    class Slow:
        idle = False

        def __init__(self, *, divisible: bool) -> None:
            self.divisible = divisible
            self.sizes: list[int] = []

        def received(self, data: bytes) -> None:
            self.sizes.append(len(data))
            end_s = time.thread_time() + 0.001
            while time.thread_time() < end_s:
                pass

        def ended(self) -> None: ...
        def drained(self) -> None: ...
        def lost(self, _error: OSError) -> None: ...

    smallest = {}
    for divisible in (True, False):
        with closing(ProxyLoop()) as loop:
            ours, theirs = socket.socketpair()
            ours.settimeout(0)
            receiver = Slow(divisible=divisible)
            TcpStream(loop, ours).start(receiver)
            with ours, theirs:
                for _ in range(10):
                    theirs.sendall(b"x" * 20_000)
                    loop.turn(1)
                loop.forget(ours.fileno())
        smallest[divisible] = min(receiver.sizes)
    assert (True, True) == (smallest[True] < 1000, smallest[False] >= 20_000)
