"""One non-blocking TCP connection on the loop: reading with pauses, writing with a buffer, and every way to end.

Knows nothing about the bytes' meaning. A stream has one receiver at a time, which may be replaced.
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
    """A connection and its write buffer; `on_closed` is called with it, once, when its descriptor has been closed.

    The buffer's bytes are charged to `share`; without one, the stream gets a share of its own.
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
        """Whether closing it would lose nothing: nothing is unsent, and its receiver is idle."""
        return not self._out and self.receiver.idle

    def charge(self, share: Share) -> None:
        """Charge the buffer's bytes to `share` from now on."""
        if self._out:
            self.share.add(-len(self._out))
            share.add(len(self._out))
        self.share = share

    def local(self) -> Destination:
        """Return the address and port of this end."""
        name = self._socket.getsockname()
        return name[0], name[1]

    def start(self, receiver: Receiver) -> None:
        """Start reading for `receiver`."""
        self.receiver = receiver
        self._loop.watch(self._socket.fileno(), self._mask, self._happened)
        self._watched = True

    def redirect(self, receiver: Receiver) -> None:
        """Deliver all events to `receiver` from now on."""
        self.receiver = receiver

    def connect_within(self, timeout_s: float) -> None:
        """Mark the connection as still connecting, and fail it after `timeout_s`; to be called before `start`."""
        self.connecting = True
        self._mask |= WRITE
        self._timer = self._loop.call_later(timeout_s, self._connect_timed_out)

    def write(self, data: bytes) -> bool:
        """Send, or buffer what the kernel does not accept; False asks the caller to pause until `drained`.

        It returns False while more than the share's `high_water_bytes` was buffered; `drained` is called when all is
        sent.
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
        """Read again, unless the peer has sent FIN."""
        if not self._ended:
            self._watch_for(self._mask | READ)

    def end(self) -> None:
        """Send what is buffered, then FIN; reading goes on."""
        self._ending = True
        if not self._out and not self.connecting:
            self._shutdown()

    def close(self) -> None:
        """Send what is buffered (within a time limit) and close; the receiver gets no further calls."""
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
        """Close like `close`, but let the peer read everything first.

        Closing with unread bytes would send RST, which can overtake the answer that the peer should see: so send FIN
        and go on reading, for a limited time, until the peer has closed too.
        """
        if self._ended or self.closed:
            self.close()
            return
        self.receiver = _LastWords(self)
        self.resume()
        self._abort_after(_FLUSH_S if self._out else _LINGER_S)
        self.end()

    def abort(self) -> None:
        """Close at once with RST, dropping what is buffered."""
        if self.closed:
            return
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._release()

    def drop(self) -> None:
        """Close at once with RST, like `abort`, but report it to the receiver, which did not ask for it."""
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
            # Most often the receiver has closed the stream now, and there is nothing left to pause.
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
        """Return whether to read; handles errors and hang-ups, which epoll always reports."""
        if self._mask & READ:
            return bool(events & ~WRITE)
        if events & FAILED:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._fail(OSError(number, os.strerror(number)))
        elif events & HUNG_UP and not self._out:
            # Both ends have sent FIN, and bytes may be left to read after the pause: until then, watch for nothing.
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
        """Report a failed write later, because the receiver may be in the middle of a call."""
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
        # Only after the turn's other events have been handled: see ProxyLoop.turn.
        self._loop.call_soon(self._close_socket)

    def _empty(self) -> None:
        if self._out:
            self.share.add(-len(self._out))
            self._out = bytearray()  # not clear(): that would keep the memory allocated

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
