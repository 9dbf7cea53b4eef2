"""The step that reads a request's body: where it ends, and in which form it is forwarded."""

from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.message import RequestHead
from sidelab.sidecar.proxy.http.message_body import MessageBody, body_of, forwarded


def begin_body(request: ServedRequest, head: RequestHead, data: bytes) -> tuple[bytes, bytes | None]:
    """Return what to forward of `head` and the body that `data` begins with, and what follows the body in `data`.

    The latter is None while the body is incomplete. Raises `BadMessageError` 400.
    """
    body = request.body = body_of(head.length, 400)
    taken = request.received = body.feed(data)
    return head.forward + forwarded(body, data, taken), data[taken:] if body.done else None


def feed(request: ServedRequest, body: MessageBody, data: bytes) -> tuple[bytes, bytes | None]:
    """Return what to forward of more of a body, and what follows the body in `data`, like `begin_body`."""
    taken = body.feed(data)
    request.received += taken
    return forwarded(body, data, taken), data[taken:] if body.done else None
