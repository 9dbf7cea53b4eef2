"""Copies bytes between two connections, both ways: for TCP, and for HTTP connections after an upgrade.

Knows streams, and does not look at the bytes.
"""

from collections.abc import Callable

from sidelab.sidecar.proxy.io.stream_interface import Wire

Over = Callable[["Pump", OSError | None], None]
"""Called when a pump has ended: with the error of the side that failed, or None if both sides sent FIN."""


class Pump:
    """Joins two streams: a half-close is passed on, and a failure of one side resets the other."""

    __slots__ = ("_over", "downstream", "from_downstream", "from_upstream", "upstream", "upstream_failed")

    def __init__(self, downstream: Wire, upstream: Wire, over: Over) -> None:
        self.downstream = downstream
        self.upstream = upstream
        self.from_downstream = _Direction(self, downstream, upstream)
        self.from_upstream = _Direction(self, upstream, downstream)
        self.upstream_failed = False
        self._over = over

    def half_closed(self, sink: Wire) -> None:
        """Pass on a FIN to `sink`; close both streams once both sides have ended."""
        if self.from_downstream.over and self.from_upstream.over:
            self.downstream.close()
            self.upstream.close()
            self._over(self, None)
        else:
            sink.end()

    def failed(self, source: Wire, error: OSError) -> None:
        """Reset the stream opposite `source`."""
        self.upstream_failed = source is self.upstream
        (self.downstream if self.upstream_failed else self.upstream).abort()
        self._over(self, error)


def join(downstream: Wire, upstream: Wire, *, from_upstream: bytes, from_downstream: bytes) -> Pump:
    """Return a pump between two streams that had other receivers until now, and forward what those had left over."""
    pump = Pump(downstream, upstream, _nothing)
    downstream.redirect(pump.from_downstream)
    upstream.redirect(pump.from_upstream)
    pump.from_upstream.received(from_upstream)
    if from_downstream:
        pump.from_downstream.received(from_downstream)
    return pump


def _nothing(_pump: Pump, _error: OSError | None) -> None:
    """Do nothing: nobody counts this pump's end."""


class _Direction:
    """The receiver of `source`: writes its bytes to `sink` and counts them in `passed`."""

    __slots__ = ("_pump", "_sink", "_source", "_write", "over", "passed")
    divisible = False
    idle = False

    def __init__(self, pump: Pump, source: Wire, sink: Wire) -> None:
        self._pump = pump
        self._source = source
        self._sink = sink
        self._write = sink.write
        self.over = False
        self.passed = 0

    def received(self, data: bytes) -> None:
        self.passed += len(data)
        if not self._write(data):
            self._source.pause()

    def drained(self) -> None:
        # The bytes that filled the buffer of `source` came from `sink`.
        self._sink.resume()

    def ended(self) -> None:
        self.over = True
        self._pump.half_closed(self._sink)

    def lost(self, error: OSError) -> None:
        self._pump.failed(self._source, error)
