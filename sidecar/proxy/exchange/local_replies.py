"""The replies that the proxy itself sends, in Envoy's words, because people search for those. Pure.

The words and flags are those of Envoy's "Response flags" and "Response code details" pages.
"""

from dataclasses import dataclass
from http import HTTPStatus

from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.stats import outcome

_NO_RESPONSE = "upstream connect error or disconnect/reset before headers. reset reason: "


@dataclass(frozen=True, slots=True)
class LocalReply:
    """Why an exchange ended without the upstream's (complete) response.

    `status` 0 means that no reply is sent; `text` is the reply's body; the others are fields of
    `outcome.TrafficOutcome`.
    """

    status: int
    text: str
    flags: str
    details: str
    transport_failure: str = ""


NO_HEALTHY_UPSTREAM = LocalReply(503, "no healthy upstream", outcome.NO_HEALTHY_UPSTREAM, "no_healthy_upstream")
BLOCKED = LocalReply(502, "", outcome.OK, "direct_response")
"""The reply to an unknown Host under REGISTRY_ONLY."""

NO_ROUTE = LocalReply(404, "", outcome.NO_ROUTE, "route_not_found")
"""The reply to a request whose target is not a path."""

_WELL_FORMED = ("missing_host_header", "upgrade_failed")
"""Details of requests that are refused although they are well formed: Envoy logs no flag for them."""

HEADER_TIMEOUT = LocalReply(408, "request header timeout", outcome.IDLE_TIMEOUT, "request_header_timeout")
CLIENT_GONE = LocalReply(0, "", outcome.DOWNSTREAM_ENDED, "downstream_remote_disconnect")


def refused(error: BadMessageError) -> LocalReply:
    """Return the reply to a client's message that is malformed or of a kind not served."""
    flags = outcome.OK if error.details in _WELL_FORMED else outcome.DOWNSTREAM_PROTOCOL_ERROR
    return LocalReply(error.status, f"{error}\n", flags, error.details)


def unreachable(error: Exception, *, tried_again: bool) -> LocalReply:
    """Return the reply when no connection to a host could be made, possibly after several attempts."""
    flags = outcome.ATTEMPTS_EXHAUSTED if tried_again else outcome.CONNECT_FAILED
    if isinstance(error, TimeoutError):
        return LocalReply(503, _NO_RESPONSE + "connection timeout", flags, _before("connection_timeout"))
    reason = f"delayed connect error: {connect_error(error)}"
    return LocalReply(
        503,
        f"{_NO_RESPONSE}remote connection failure, transport failure reason: {reason}",
        flags,
        _before(f"remote_connection_failure|{reason.replace(' ', '_')}"),
        reason.replace(" ", "_"),
    )


def connect_error(error: Exception) -> str:
    """Return the kernel's message for `error`, or its text if it has none."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def broken_off(error: Exception, *, responding: bool) -> LocalReply:
    """Return the reply when the response never came or broke off."""
    if isinstance(error, BadMessageError):
        status, flags, reason = 502, outcome.UPSTREAM_PROTOCOL_ERROR, "protocol error"
    else:
        status, flags, reason = 503, outcome.CONNECTION_ENDED, "connection termination"
    details = reason.replace(" ", "_")
    if responding:
        return LocalReply(0, "", flags, f"upstream_reset_after_response_started{{{details}}}")
    return LocalReply(status, _NO_RESPONSE + reason, flags, _before(details))


def response(reply: LocalReply, *, own_fields: bytes, close: bool, with_body: bool) -> bytes:
    """Return `reply` as it is written; `with_body` is False in answer to HEAD."""
    body = reply.text.encode()
    head = (
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\ncontent-length: {len(body)}\r\n"
        "content-type: text/plain\r\n"
    ).encode()
    end = b"connection: close\r\n\r\n" if close else b"\r\n"
    return head + own_fields + end + (body if with_body else b"")


def _before(reason: str) -> str:
    return f"upstream_reset_before_response_started{{{reason}}}"
