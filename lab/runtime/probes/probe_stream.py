"""A connection that never blocks: it opens, with TLS if requested, sends, and reports what arrives."""

import errno
import os
import selectors
import socket
from typing import Protocol

from sidelab.lab.base.loop import HasFileno, Loop

_PART_BYTES = 1 << 14  # the longest TLS record (RFC 8446, 5.1)
_OUTBOX_BYTES = 1 << 18


class Events(Protocol):
    """Callbacks of a stream; any of them may close it."""

    def opened(self) -> None:
        """React when data can be sent."""

    def received(self, data: bytes) -> None:
        """React to data that has arrived; never empty."""

    def ended(self, reason: str) -> None:
        """React, as the last call, when it failed for `reason` or was closed normally ("")."""


class Stream:
    """One connection to `address`, a numeric host and a port.

    With `tls`, it uses TLS without verification, like the kubelet. Raises `OSError` if the address can't be reached at
    all; everything later is reported to `events`.
    """

    def __init__(self, loop: Loop, address: tuple[str, int], events: Events, *, tls: bool = False) -> None:
        self._loop = loop
        self._events = events
        self._tls = tls
        self._outbox = b""
        self._again: tuple[type[OSError], ...] = (BlockingIOError,)
        self._closed = False
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        try:
            socket.inet_pton(family, address[0])
        except OSError:
            raise OSError(errno.EINVAL, f"{address[0]!r} is no address, and the node resolves no names") from None
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        status = self._socket.connect_ex(address)
        if status not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(status, os.strerror(status))
        self._source: HasFileno = self._socket
        loop.watch(self._source, self._connected, selectors.EVENT_WRITE)

    def send(self, data: bytes) -> None:
        """Send `data` as soon as the other end takes it; end for one that asks on and on and takes no answers."""
        self._outbox += data
        if len(self._outbox) > _OUTBOX_BYTES:
            self._end("it does not read what it asks for")
        elif self._outbox:
            self._flush()

    def close(self) -> None:
        """Close it; no callback is called afterwards."""
        if not self._closed:
            self._closed = True
            self._loop.forget(self._source)
            self._socket.close()

    def _end(self, reason: str) -> None:
        self.close()
        self._events.ended(reason)

    def _connected(self) -> None:
        status = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            self._end(os.strerror(status))
        elif self._tls:
            self._begin_tls()
        else:
            self._open()

    def _begin_tls(self) -> None:
        import ssl  # noqa: PLC0415  # it takes longer to import than everything else here, and few need it

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._loop.forget(self._source)
        try:
            secured = context.wrap_socket(self._socket, do_handshake_on_connect=False)
        except OSError as error:  # the peer is already gone
            self._closed = True
            self._socket.close()
            self._events.ended(f"TLS: {_said(error)}")
            return
        self._socket = self._source = secured
        self._again = (ssl.SSLWantReadError, ssl.SSLWantWriteError)

        def shake_hands() -> None:
            try:
                secured.do_handshake()
            except self._again as error:
                wanted = isinstance(error, ssl.SSLWantReadError)
                events = selectors.EVENT_READ if wanted else selectors.EVENT_WRITE
                self._loop.change(secured, shake_hands, events)
            except OSError as error:
                self._end(f"TLS: {_said(error)}")
            else:
                self._open()

        try:
            self._loop.watch(secured, shake_hands, selectors.EVENT_WRITE)
        except OSError as error:  # no memory, or too many watches: and it is not to be forgotten once more
            self._closed = True
            secured.close()
            self._events.ended(_said(error))

    def _open(self) -> None:
        self._loop.change(self._source, self._serve, selectors.EVENT_READ)
        self._events.opened()

    def _flush(self) -> None:
        """Send what the other end takes now, and wait for it to take the rest."""
        try:
            while self._outbox:
                self._outbox = self._outbox[self._socket.send(self._outbox) :]
        except self._again:
            pass
        except OSError as error:
            self._end(_said(error))
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._outbox else 0)
        self._loop.change(self._source, self._serve, events)

    def _serve(self) -> None:
        """Send what can be sent, and receive once.

        Once per turn of the loop: a peer that sends faster than its bytes are processed would otherwise delay all the
        others and the timer that ends it. A TLS record fits into what is received at once, so none is left behind.
        """
        if self._outbox:
            self._flush()
        if self._closed:
            return
        try:
            data = self._socket.recv(_PART_BYTES)
        except self._again:
            return
        except OSError as error:
            self._end(_said(error))
            return
        if data:
            self._events.received(data)
        else:
            self._end("")


def _said(error: OSError) -> str:
    reason = getattr(error, "reason", None)  # OpenSSL's own name for it, like WRONG_VERSION_NUMBER
    return reason.replace("_", " ").lower() if isinstance(reason, str) else error.strerror or str(error)
