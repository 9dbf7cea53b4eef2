"""Bytes from one connection to another, both ways: TCP mode, and what an HTTP upgrade turns into.

Knows streams, nothing of what passes.
"""

from collections.abc import Callable

from sidecar.proxy.wire import Wire


class Pump:
    """Joins two streams: a half-close goes through, a failure of one side resets the other.

    `unreachable` is called if the upstream stream was still connecting when it failed.
    """

    def __init__(self, downstream: Wire, upstream: Wire, unreachable: Callable[[OSError], None]) -> None:
        self.downstream = downstream
        self.upstream = upstream
        self.from_downstream = _Direction(self, downstream, upstream)
        self.from_upstream = _Direction(self, upstream, downstream)
        self._unreachable = unreachable

    def half_closed(self) -> None:
        """Close both streams once neither has anything more to say."""
        if self.from_downstream.over and self.from_upstream.over:
            self.downstream.close()
            self.upstream.close()

    def failed(self, source: Wire, error: OSError) -> None:
        """Reset the other side of `source`."""
        if source.connecting:
            self._unreachable(error)
        (self.upstream if source is self.downstream else self.downstream).abort()


class _Direction:
    """The receiver of `source`: what it says goes into `sink`."""

    __slots__ = ("_pump", "_sink", "_source", "_write", "over")

    def __init__(self, pump: Pump, source: Wire, sink: Wire) -> None:
        self._pump = pump
        self._source = source
        self._sink = sink
        self._write = sink.write
        self.over = False

    def received(self, data: bytes) -> None:
        if not self._write(data):
            self._source.pause()

    def drained(self) -> None:
        # What was too much for `source` came from `sink`.
        self._sink.resume()

    def ended(self) -> None:
        self.over = True
        self._sink.end()
        self._pump.half_closed()

    def lost(self, error: OSError) -> None:
        self._pump.failed(self._source, error)
