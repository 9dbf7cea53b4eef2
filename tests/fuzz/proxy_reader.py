"""The bundled proxy's grammar as a reader of HTTP/1.1, with llhttp behind it to read everything that is forwarded."""

from collections.abc import Iterable
from dataclasses import replace

from http_readings import CLOSED, KEPT, OVER, REFUSED, SWITCHED, WAITING, Message, Reading
from llhttp_reader import SecondReader

from sidelab.sidecar.proxy.http.message import Limits, RequestHead, ResponseHead, parse_request, parse_response
from sidelab.sidecar.proxy.http.message_body import UNTIL_CLOSE, BadMessageError, MessageBody, body_of, forwarded

_LIMITS = Limits(61440, 100)


class ForwardedError(AssertionError):
    """The next reader does not read what was forwarded as it was meant."""


class ProxyReader:
    """Reads one connection's requests, or responses to GET, as `sidecar.proxy.exchange` and `upstreams` do.

    The body is what the next reader, a strict llhttp, finds in what is forwarded; each message must be exactly one.
    """

    def __init__(self, *, requests: bool) -> None:
        self.reading = Reading()
        self._requests = requests
        self._bad_status = 400 if requests else 502
        self._buffer = b""
        self._body: MessageBody | None = None
        self._next = SecondReader(requests=requests, forwarded=True)
        self._message: Message | None = None
        self._read = 0

    def feed(self, data: bytes) -> None:
        """Read more."""
        reading = self.reading
        try:
            while reading.state == WAITING:
                data = self._head(data) if self._body is None else self._more(data)
                if not data:
                    return
        except BadMessageError as error:
            reading.state, reading.why = REFUSED, str(error)

    def _head(self, data: bytes) -> bytes:
        """Take a head, if it is complete; return what follows it."""
        self._buffer += data
        head: RequestHead | ResponseHead | None
        if self._requests:
            head = parse_request(self._buffer, _LIMITS)
        else:
            head = parse_response(self._buffer, _LIMITS, b"GET", own_server=False)
        if head is None:
            return b""
        rest, self._buffer = self._buffer[head.size :], b""
        self._read += head.size
        self._next = SecondReader(requests=self._requests, forwarded=True)
        self._next.feed(_sent(head))
        self._message = replace(self._told(), fate=_fate(head), end=None)
        self.reading.messages.append(self._message)
        self._body = body_of(head.length, self._bad_status)
        if isinstance(head, RequestHead) and head.method != b"CONNECT" and self._next.hosts != [1]:
            raise ForwardedError(f"not one Host goes on: {head.forward!r}")
        if self._body.done:
            self._end()
        return rest

    def _more(self, data: bytes) -> bytes:
        """Take a part of a body; return what follows it."""
        assert self._body is not None
        taken = self._body.feed(data)
        self._read += taken
        self._next.feed(forwarded(self._body, data, taken))
        told = self._told()
        assert self._message is not None
        self._message.body = told.body
        if self._body.done:
            self._end()
        return data[taken:]

    def _told(self) -> Message:
        """Return what the next reader reads of what has been forwarded."""
        next_reading = self._next.reading
        if next_reading.state == REFUSED or len(next_reading.messages) != 1:
            raise ForwardedError(f"the next reader {next_reading.state} {next_reading.why}: {next_reading.messages}")
        return next_reading.messages[0]

    def _end(self) -> None:
        """Note a message's end, which the next reader has to see as well."""
        assert self._message is not None
        told = self._told()
        if told.end is None:
            raise ForwardedError(f"the next reader waits for more of {told}")
        self._message.end = self._read
        self._body = None
        if self._message.fate != KEPT:
            self.reading.state = OVER


def _sent(head: RequestHead | ResponseHead) -> bytes:
    """Return the forwarded head, with what llhttp would refuse in another form.

    That is a query without a path, which is never forwarded as no route leads to it, and a method that Envoy knows.
    """
    if isinstance(head, ResponseHead):
        return head.lines + b"\r\n"
    forward = head.forward if head.routable else head.forward.replace(b" ?", b" /?", 1)
    return forward.replace(b"MSEARCH", b"M-SEARCH", 1) if head.method == b"MSEARCH" else forward


def _fate(head: RequestHead | ResponseHead) -> str:
    is_request = isinstance(head, RequestHead)
    switches = head.websocket or head.method == b"CONNECT" if is_request else head.status == 101
    return SWITCHED if switches else CLOSED if head.close or head.length == UNTIL_CLOSE else KEPT


def read(pieces: Iterable[bytes], *, requests: bool) -> Reading:
    """Return the reading of a connection's bytes that come in `pieces`; raises `ForwardedError`."""
    reader = ProxyReader(requests=requests)
    for piece in pieces:
        reader.feed(piece)
    return reader.reading
