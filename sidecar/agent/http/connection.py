"""A connection from a client to the agent: it has a time limit, and ends when the client ends it."""

from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.stream import TcpStream


class Guest:
    """The receiver of one such connection; subclasses handle the bytes in `received`."""

    divisible = False
    idle = True

    def __init__(self, loop: ProxyLoop, stream: TcpStream, timeout_s: float) -> None:
        self._stream = stream
        self._timer = loop.call_later(timeout_s, stream.abort)

    def received(self, data: bytes) -> None:
        """Handle bytes."""
        raise NotImplementedError

    def ended(self) -> None:
        """Close when the client does: half a request gets no answer."""
        self._timer.cancel()
        self._stream.close()

    def drained(self) -> None:
        """Do nothing: nothing waits to be written."""

    def lost(self, _error: OSError) -> None:
        """Nothing is left to do."""
        self._timer.cancel()
