"""The proxy's own small HTTP server: answers with the commands of `admin_pages`, and closes after each answer.

It knows nothing about the pages' content or about the traffic.
"""

from collections.abc import Mapping
from http import HTTPStatus

from sidelab.sidecar.proxy.admin.commands import PageAnswer, PageCommand, answer
from sidelab.sidecar.proxy.admin.pace import Pace
from sidelab.sidecar.proxy.http.message import Limits, RequestHead, parse_request
from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.io.deadlines import Deadlines
from sidelab.sidecar.proxy.io.stream_interface import Wire

_LIMITS = Limits(head_bytes=16 * 1024, headers=100)


HEAD_S = 10.0
"""How long a client may take to send its request."""


class AdminConnection:
    """The receiver of a connection to a server of `commands`, by path.

    A client whose request does not arrive within `deadlines` is cut off. A `pace`, if given, limits how fast pages are
    made.
    """

    divisible = False

    def __init__(
        self, wire: Wire, commands: Mapping[str, PageCommand], deadlines: Deadlines, pace: Pace | None = None
    ) -> None:
        self.idle = True
        self._wire = wire
        self._commands = commands
        self._deadlines = deadlines
        self._pace = pace
        self._lost = False
        self._buffer = b""
        deadlines.begin(self)

    def received(self, data: bytes) -> None:
        """Answer once the request's head is complete; its body is ignored."""
        self._buffer += data
        try:
            head = parse_request(self._buffer, _LIMITS)
        except BadMessageError as error:
            self._send(PageAnswer(f"{error}\n", error.status), shown=True)
            return
        if head is None:
            return
        self.idle = False
        self._deadlines.met(self)
        self._wire.pause()
        if self._pace is None:
            self._answer(head)
        else:
            self._pace.make(lambda: self._answer(head))

    def ended(self) -> None:
        """Close: half a request has no answer."""
        self._deadlines.met(self)
        self._wire.close()

    def drained(self) -> None:
        """Do nothing: nothing waits to be written."""

    def lost(self, _error: OSError) -> None:
        """Note that the connection is lost."""
        self._lost = True
        self._deadlines.met(self)

    def late(self) -> None:
        """Cut off a client that sends no request."""
        self._wire.abort()

    def _answer(self, head: RequestHead) -> None:
        if not self._lost:
            target = head.forward.split(b" ", 2)[1].decode("latin-1")
            page = answer(self._commands, head.method.decode("ascii"), target)
            self._send(page, shown=head.method != b"HEAD")

    def _send(self, page: PageAnswer, *, shown: bool) -> None:
        self.idle = False
        self._deadlines.met(self)
        body = page.body.encode()
        head = (
            f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}\r\ncontent-type: {page.content_type}\r\n"
            "cache-control: no-cache, max-age=0\r\nx-content-type-options: nosniff\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        ).encode()
        self._wire.write(head + body if shown else head)
        self._wire.linger()
