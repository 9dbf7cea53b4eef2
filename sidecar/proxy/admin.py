"""The proxy's own small HTTP server: what it counts, and whether it is ready.

It serves pages that are made when they are asked for, and closes after each; it knows nothing of the traffic.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus

from sidecar.proxy.message import BadMessageError, Limits, RequestHead, parse_request
from sidecar.proxy.wire import Wire

Page = Callable[[], tuple[int, str, str]]
"""Returns a status, a content type and a text."""

_TEXT = "text/plain; charset=UTF-8"
_LIMITS = Limits(head_bytes=16 * 1024, headers=100)


def text(body: str, status: int = 200) -> tuple[int, str, str]:
    """Return a page of plain text."""
    return status, _TEXT, body


class AdminConnection:
    """The receiver of a connection to a server of `pages`, by path."""

    def __init__(self, wire: Wire, pages: Mapping[str, Page]) -> None:
        self._wire = wire
        self._pages = pages
        self._buffer = b""

    def received(self, data: bytes) -> None:
        """Answer once the request's head is complete; its body is of no interest."""
        self._buffer += data
        try:
            head = parse_request(self._buffer, _LIMITS)
        except BadMessageError as error:
            self._answer(*text(f"{error}\n", error.status), shown=True)
            return
        if head is not None:
            self._answer(*self._page(head), shown=head.method != b"HEAD")

    def ended(self) -> None:
        """Close: half a request has no answer."""
        self._wire.close()

    def drained(self) -> None:
        """Nothing waits for it."""

    def lost(self, _error: OSError) -> None:
        """Nothing is left to do."""

    def _page(self, head: RequestHead) -> tuple[int, str, str]:
        target = head.forward.split(b" ", 2)[1].decode("latin-1")
        page = self._pages.get(target.partition("?")[0])
        if page is None:
            return text("no such page; there are: " + " ".join(sorted(self._pages)) + "\n", 404)
        if head.method not in (b"GET", b"HEAD"):
            return text("only GET and HEAD are answered here\n", 405)
        return page()

    def _answer(self, status: int, kind: str, body: str, *, shown: bool) -> None:
        encoded = body.encode()
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(encoded)}\r\nconnection: close\r\n\r\n"
        ).encode()
        self._wire.write(head + encoded if shown else head)
        self._wire.linger()
