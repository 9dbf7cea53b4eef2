"""A connection that somebody in the pod has made to the agent: it has a bounded time, and ends when its client does."""

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.stream import TcpStream


class Guest:
    """The receiver of one such connection; what it does with the bytes is its subclass's `received`."""

    divisible = False
    idle = True

    def __init__(self, loop: ProxyLoop, stream: TcpStream, timeout_s: float) -> None:
        self._stream = stream
        self._timer = loop.call_later(timeout_s, stream.abort)

    def received(self, data: bytes) -> None:
        """Take bytes."""
        raise NotImplementedError

    def ended(self) -> None:
        """Close with the client: half a question has no answer."""
        self._timer.cancel()
        self._stream.close()

    def drained(self) -> None:
        """Nothing waits for it."""

    def lost(self, _error: OSError) -> None:
        """Nothing is left to do."""
        self._timer.cancel()
