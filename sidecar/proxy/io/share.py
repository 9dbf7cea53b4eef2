"""How much of the proxy's memory one source of connections may use: bytes that wait to be sent, and input kept early.

Knows only sums, not connections. A source is a client's address; bytes sent to a host and the host's answers are
charged to the client that made the request. As the sum grows less is read at a time, and in the end new connections
are refused: Envoy's overload manager does this with the memory of the whole process.
"""

READ_BYTES = 64 * 1024
HIGH_WATER_BYTES = 256 * 1024
"""With more than this unsent, a stream asks its writer to pause."""

CONNECTION_BYTES = 4 * 1024
"""The cost of a connection by itself, including its upstream connection; a silent one takes 2 KiB (CPython 3.11)."""

BUDGET_BYTES = 5 * 1024 * 1024
"""The budget of one source; with what the interpreter and the allocator add, it stays below 8 MB."""

SMALL_BYTES = 2 * 1024
"""Up to this size bytes are not charged: they are part of the cost of a connection."""

_PLENTY_BYTES = 1024 * 1024
_SCARCE_BYTES = 2 * 1024 * 1024
_FEW_BYTES = 16 * 1024
_FEWEST_BYTES = 2 * 1024


_LONG_S, _SHORT_S = 100e-6, 40e-6
_COSTLY_S = 4e-9
"""Below this time per byte, data is read in large pieces: it is mostly copied, and small pieces would be no faster."""

_TIMED_BYTES = 4 * 1024
_LEAST_BYTES = 128
_KEPT = 1024


class Share:
    """The share of `source`: read `read_bytes` at once; with more than `high_water_bytes` unsent, a stream pauses.

    A stream that reads `timed_bytes` or more calls `took` with the time it took to handle them: if that is too long, as
    with ten thousand chunks of one byte, smaller pieces are read.
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
        """Add `count` (below 0: subtract) to the bytes that wait."""
        self.waiting_bytes += count
        if self.waiting_bytes < _PLENTY_BYTES:
            self.read_bytes, self.high_water_bytes = self._most_bytes, HIGH_WATER_BYTES
        elif self.waiting_bytes < _SCARCE_BYTES:
            self.read_bytes, self.high_water_bytes = min(_FEW_BYTES, self._most_bytes), 0
        else:
            self.read_bytes, self.high_water_bytes = min(_FEWEST_BYTES, self._most_bytes), 0

    def took(self, duration_s: float, count: int) -> None:
        """Note that handling `count` bytes took `duration_s`."""
        if duration_s > max(_LONG_S, count * _COSTLY_S):
            self._most_bytes = max(_LEAST_BYTES, min(self._most_bytes, count) // 2)
        elif duration_s < _SHORT_S and self._most_bytes < self._normal_bytes:
            self._most_bytes = min(self._normal_bytes, 2 * self._most_bytes)
        else:
            return
        self.timed_bytes = 0 if self._most_bytes < self._normal_bytes else _TIMED_BYTES
        self.add(0)

    def has_room(self, count: int) -> bool:
        """Return whether `count` more bytes are within the budget."""
        return self.waiting_bytes + self.connections * CONNECTION_BYTES + count <= BUDGET_BYTES


class Shares:
    """The shares by source. One without any charge is kept for a while, because most sources come again."""

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
