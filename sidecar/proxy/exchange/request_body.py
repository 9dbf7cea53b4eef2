"""The step at which a request's body is read: where it ends, and in which form it goes on."""

from sidelab.sidecar.proxy.exchange.served_request import ServedRequest
from sidelab.sidecar.proxy.http.message import RequestHead
from sidelab.sidecar.proxy.http.message_body import MessageBody, body_of, forwarded


def begin_body(request: ServedRequest, head: RequestHead, data: bytes) -> tuple[bytes, bytes | None]:
    """Return what goes on of `head` and the body that `data` begins with, and what follows the body in `data`.

    That is None while the body is not complete. Raises `BadMessageError` 400.
    """
    body = request.body = body_of(head.length, 400)
    taken = request.received = body.feed(data)
    return head.forward + forwarded(body, data, taken), data[taken:] if body.done else None


def feed(request: ServedRequest, body: MessageBody, data: bytes) -> tuple[bytes, bytes | None]:
    """Return what goes on of more of a body, and what follows it in `data`, as `begin_body` does."""
    taken = body.feed(data)
    request.received += taken
    return forwarded(body, data, taken), data[taken:] if body.done else None
