"""One non-blocking TCP connection on the loop: reading with pauses, writing with a buffer, and every way to end.

Knows nothing of what the bytes mean. A stream has one receiver at a time, which may change on the way.
"""

import errno
import os
import socket
import struct
import time
from typing import TYPE_CHECKING

from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.proxy_loop import FAILED, HUNG_UP, READ, WRITE, ProxyLoop
from sidelab.sidecar.proxy.io.share import Share
from sidelab.sidecar.proxy.io.stream_interface import Receiver

if TYPE_CHECKING:
    from collections.abc import Callable

    from sidelab.lab.base.timers import Timer

_LINGER_S = 1.0
_FLUSH_S = 30.0
_RESET = struct.pack("ii", 1, 0)
"""struct linger: close at once, with RST."""


class TcpStream:
    """A connection and its write buffer; `on_closed` is called with it, once, when its descriptor is given back.

    What waits in the buffer is on account of `share`, a share of its own without one.
    """

    __slots__ = (
        "_broken", "_choked", "_closing", "_ended", "_ending", "_loop", "_mask", "_out", "_recv", "_send", "_socket",
        "_timer", "_watched", "closed", "connecting", "on_closed", "receiver", "share",
    )  # fmt: skip

    def __init__(
        self,
        loop: ProxyLoop,
        connection: socket.socket,
        on_closed: "Callable[[TcpStream], None] | None" = None,
        share: Share | None = None,
    ) -> None:
        self._loop = loop
        self._socket = connection
        self._recv = connection.recv
        self._send = connection.send
        self._mask = READ
        self._out = bytearray()
        self._broken = self._choked = self._closing = self._ended = self._ending = self._watched = False
        self._timer: Timer | None = None
        self.closed = False
        self.connecting = False
        self.on_closed = on_closed
        self.receiver: Receiver = _NOBODY
        self.share = share or Share()

    @property
    def idle(self) -> bool:
        """Whether nothing would be lost with it: nothing is unsent, and its receiver is not at anything."""
        return not self._out and self.receiver.idle

    def charge(self, share: Share) -> None:
        """Have what waits here be on account of `share` from now on."""
        if self._out:
            self.share.add(-len(self._out))
            share.add(len(self._out))
        self.share = share

    def local(self) -> Destination:
        """Return the address and port of this end."""
        name = self._socket.getsockname()
        return name[0], name[1]

    def start(self, receiver: Receiver) -> None:
        """Begin to read for `receiver`."""
        self.receiver = receiver
        self._loop.watch(self._socket.fileno(), self._mask, self._happened)
        self._watched = True

    def redirect(self, receiver: Receiver) -> None:
        """Tell everything from now on to `receiver`."""
        self.receiver = receiver

    def connect_within(self, timeout_s: float) -> None:
        """Say that the connection is still being made, and fail it after `timeout_s`; call before `start`."""
        self.connecting = True
        self._mask |= WRITE
        self._timer = self._loop.call_later(timeout_s, self._connect_timed_out)

    def write(self, data: bytes) -> bool:
        """Send, or keep what the kernel does not take; False asks the caller to pause until `drained`.

        That is asked for when more than the share's `high_water_bytes` is kept, and `drained` called when all is sent.
        """
        out = self._out
        if not out and not self.connecting:
            try:
                sent = self._send(data)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._break(error)
                return True
            if sent == len(data):
                return True
            data = data[sent:]
            self._watch_for(self._mask | WRITE)
        if self._broken or self.closed:
            return True
        out += data
        self.share.add(len(data))
        self._choked = self._choked or len(out) > self.share.high_water_bytes
        return not self._choked

    def pause(self) -> None:
        """Stop reading, so that the peer's window fills."""
        self._watch_for(self._mask & ~READ)

    def resume(self) -> None:
        """Read again, unless the peer has ended."""
        if not self._ended:
            self._watch_for(self._mask | READ)

    def end(self) -> None:
        """Send what is buffered, then FIN; reading goes on."""
        self._ending = True
        if not self._out and not self.connecting:
            self._shutdown()

    def close(self) -> None:
        """Send what is buffered (within a bound) and close; the receiver hears nothing further."""
        if self.closed:
            return
        if not self._out or self.connecting or self._broken:
            self._release()
            return
        self.receiver = _NOBODY
        self._closing = True
        self.pause()
        self._abort_after(_FLUSH_S)

    def linger(self) -> None:
        """Close like `close`, but let the peer read everything before.

        Closing with bytes unread would send RST, which can overtake the answer that the peer should see: so send
        FIN and read on, for a bounded time, until the peer has closed too.
        """
        if self._ended or self.closed:
            self.close()
            return
        self.receiver = _LastWords(self)
        self.resume()
        self._abort_after(_FLUSH_S if self._out else _LINGER_S)
        self.end()

    def abort(self) -> None:
        """Close at once with RST; what is buffered is dropped."""
        if self.closed:
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._release()

    def drop(self) -> None:
        """Close at once with RST, like `abort`, but let the receiver know: it is not the one that wants it."""
        if not self.closed:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._fail(ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)))

    def _happened(self, events: int) -> None:
        if events != READ:
            if self.connecting:
                self._connected()
                return
            if events & WRITE:
                self._flush()
            if self.closed or not self._may_read(events):
                return
        share = self.share
        try:
            data = self._recv(share.read_bytes)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if data:
            if len(data) < share.timed_bytes:
                self.receiver.received(data)
            else:
                self._receive_timed(data)
        else:
            self._ended = True
            self.receiver.ended()
            # Most often that was the end of all, and there is nothing left to be paused.
            if not self.closed:
                self.pause()

    def _receive_timed(self, data: bytes) -> None:
        receiver, share = self.receiver, self.share
        if receiver.divisible:
            begin_s = time.thread_time()
            receiver.received(data)
            share.took(time.thread_time() - begin_s, len(data))
        else:
            receiver.received(data)
            share.took(0.0, len(data))

    def _may_read(self, events: int) -> bool:
        """Decide about errors and hang-ups, which epoll reports whether asked for or not."""
        if self._mask & READ:
            return bool(events & ~WRITE)
        if events & FAILED:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._fail(OSError(number, os.strerror(number)))
        elif events & HUNG_UP and not self._out:
            # Both ends have sent FIN, and bytes may be left to read after the pause: until then, ask for nothing.
            self._unwatch()
        return False

    def _connected(self) -> None:
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._fail(OSError(number, os.strerror(number)))
            return
        self.connecting = False
        self._cancel_timer()
        self._flush()

    def _connect_timed_out(self) -> None:
        self._fail(TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)))

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._send(self._out)
                del self._out[:sent]
                self.share.add(-sent)
        except BlockingIOError:
            return
        except OSError as error:
            self._break(error)
            return
        if self._closing:
            self._release()
            return
        self._watch_for(self._mask & ~WRITE)
        if self._ending:
            self._shutdown()
            if self._timer is not None:
                self._abort_after(_LINGER_S)
        if self._choked:
            self._choked = False
            self.receiver.drained()

    def _shutdown(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            self._break(error)

    def _abort_after(self, timeout_s: float) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(timeout_s, self.abort)

    def _break(self, error: OSError) -> None:
        """Report a failed write later: the receiver may be in the middle of something."""
        if not self._broken:
            self._broken = True
            self._empty()
            self._loop.call_soon(lambda: self._fail(error))

    def _fail(self, error: OSError) -> None:
        if not self.closed:
            receiver = self.receiver
            self._release()
            receiver.lost(error)

    def _release(self) -> None:
        self.closed = True
        self._cancel_timer()
        if self._watched:
            self._loop.abandon(self._socket.fileno())
            self._watched = False
        self._empty()
        self.receiver = _NOBODY
        # Not before the turn's other events are handled: see ProxyLoop.turn.
        self._loop.call_soon(self._close_socket)

    def _empty(self) -> None:
        if self._out:
            self.share.add(-len(self._out))
            self._out = bytearray()  # not cleared: that would keep what was allocated

    def _close_socket(self) -> None:
        self._socket.close()
        if self.on_closed is not None:
            self.on_closed(self)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch_for(self, mask: int) -> None:
        if mask == self._mask and self._watched:
            return
        self._mask = mask
        if self.closed:
            return
        if self._watched:
            self._loop.change(self._socket.fileno(), mask)
        else:
            self._loop.watch(self._socket.fileno(), mask, self._happened)
            self._watched = True

    def _unwatch(self) -> None:
        if self._watched:
            self._loop.forget(self._socket.fileno())
            self._watched = False


class _Nobody:
    """The receiver of a stream that has none."""

    divisible = idle = False

    def received(self, data: bytes) -> None:
        """Drop."""

    def ended(self) -> None:
        """Nothing to do."""

    def drained(self) -> None:
        """Nothing to do."""

    def lost(self, _error: OSError) -> None:
        """Nothing to do."""


_NOBODY = _Nobody()


class _LastWords(_Nobody):
    """The receiver of a stream that closes once its peer has closed."""

    def __init__(self, stream: TcpStream) -> None:
        self._stream = stream

    def ended(self) -> None:
        self._stream.close()
