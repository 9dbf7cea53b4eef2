"""How much of the proxy's memory one source of connections may have: what waits for it, and what it sent too early.

Knows no connection, only sums. A source is an address that clients come from; what is sent to a host, and what the host
answers, is on account of the client that asked. As the sum grows less is read at a time, and in the end nothing new is
taken: Envoy's overload manager does it so with the memory of the whole process.
"""

READ_BYTES = 64 * 1024
HIGH_WATER_BYTES = 256 * 1024
"""With more than this unsent, a stream asks for a pause."""

CONNECTION_BYTES = 4 * 1024
"""What a connection may cost by itself, with the one behind it: a silent one has 2 KiB (CPython 3.11)."""

BUDGET_BYTES = 5 * 1024 * 1024
"""What one source may have; what the interpreter and the allocator add to it stays below 8 MB."""

SMALL_BYTES = 2 * 1024
"""What is no longer than this is not accounted for: it is part of what a connection costs."""

_PLENTY_BYTES = 1024 * 1024
_SCARCE_BYTES = 2 * 1024 * 1024
_FEW_BYTES = 16 * 1024
_FEWEST_BYTES = 2 * 1024


_LONG_S, _SHORT_S = 100e-6, 40e-6
_COSTLY_S = 4e-9
"""What takes less than this a byte is read in large pieces: it is mostly copied, which takes as long in small ones."""

_TIMED_BYTES = 4 * 1024
_LEAST_BYTES = 128
_KEPT = 1024


class Share:
    """The part of `source`: `read_bytes` is how much to read at once, beyond `high_water_bytes` unsent a stream pauses.

    Whoever reads `timed_bytes` or more is to say how long they `took`: what takes too long, such as ten thousand chunks
    of one byte, is read in smaller pieces.
    """

    __slots__ = (
        "_most_bytes", "_normal_bytes", "connections", "high_water_bytes", "read_bytes", "source", "timed_bytes",
        "waiting_bytes",
    )  # fmt: skip

    def __init__(self, read_bytes: int = READ_BYTES, source: str = "") -> None:
        self.source = source
        self.waiting_bytes = 0
        self.connections = 0
        self.read_bytes = self._most_bytes = self._normal_bytes = read_bytes
        self.timed_bytes = _TIMED_BYTES
        self.high_water_bytes = HIGH_WATER_BYTES

    def add(self, count: int) -> None:
        """Take note of `count` more bytes that wait, or, below 0, of fewer."""
        self.waiting_bytes += count
        if self.waiting_bytes < _PLENTY_BYTES:
            self.read_bytes, self.high_water_bytes = self._most_bytes, HIGH_WATER_BYTES
        elif self.waiting_bytes < _SCARCE_BYTES:
            self.read_bytes, self.high_water_bytes = min(_FEW_BYTES, self._most_bytes), 0
        else:
            self.read_bytes, self.high_water_bytes = min(_FEWEST_BYTES, self._most_bytes), 0

    def took(self, duration_s: float, count: int) -> None:
        """Take note of how long it took to do what `count` bytes asked for."""
        if duration_s > max(_LONG_S, count * _COSTLY_S):
            self._most_bytes = max(_LEAST_BYTES, min(self._most_bytes, count) // 2)
        elif duration_s < _SHORT_S and self._most_bytes < self._normal_bytes:
            self._most_bytes = min(self._normal_bytes, 2 * self._most_bytes)
        else:
            return
        self.timed_bytes = 0 if self._most_bytes < self._normal_bytes else _TIMED_BYTES
        self.add(0)

    def has_room(self, count: int) -> bool:
        """Return whether `count` bytes more are within the budget."""
        return self.waiting_bytes + self.connections * CONNECTION_BYTES + count <= BUDGET_BYTES


class Shares:
    """The shares by source. One that nothing is on account of is kept a while: its source most often comes again."""

    def __init__(self) -> None:
        self._shares: dict[str, Share] = {}
        self._most = _KEPT

    def of(self, source: str) -> Share:
        """Return the share of the address `source`."""
        share = self._shares.get(source)
        if share is None:
            if len(self._shares) >= self._most:
                used = {each: it for each, it in self._shares.items() if it.connections or it.waiting_bytes}
                self._shares, self._most = used, max(_KEPT, 2 * len(used))
            share = self._shares[source] = Share(source=source)
        return share
