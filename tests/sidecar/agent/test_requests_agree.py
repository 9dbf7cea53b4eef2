"""The proxy's reader of requests and a server's behind it: the two never differ about where a request ends."""

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from sidelab.lab.net.http_request import RequestError, read_request, request_head
from sidelab.sidecar.proxy.http.message import Limits, parse_request
from sidelab.sidecar.proxy.http.message_body import CHUNKED, BadMessageError

LIMITS = Limits(head_bytes=8192, headers=100)
LINES = (
    *(b"Host: a", b"Host: a", b"host:b", b"Content-Length: 5", b"content-length:\t05 ", b"Content-Length:0", b"X: 1"),
    *(b"Transfer-Encoding: chunked", b"Connection: close, x", b"Connection: keep-alive", b" folded", b"x:", b"TE: a"),
    *(b"Content-Length : 7", b"x: \r1", b"Content-Length: 1, 1", b"x-y:\x80"),
)
FIRST = (
    *(b"GET / HTTP/1.1", b"POST /a?b HTTP/1.1", b"GET http://c/d HTTP/1.1", b"\r\nGET / HTTP/1.1", b"PUT  /x HTTP/1.1"),
    *(b"HEAD /../y HTTP/1.1", b"GET /a HTTP/1.0"),
)


@settings(deadline=None, max_examples=2000)
@given(
    st.sampled_from(FIRST),
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from([b"\r\n", b"\r\n", b"\n"])), max_size=4),
)
def test_what_the_proxy_passes_on_is_the_same_request(first: bytes, lines: list[tuple[bytes, bytes]]) -> None:
    """As long a body behind the whole head, or one in chunks, which that server refuses; and none has two hosts."""
    data = first + b"\r\n" + b"".join(line + end for line, end in lines) + b"\r\n"
    try:
        passed = parse_request(data, LIMITS)
    except BadMessageError as error:
        event(f"refused by the proxy with {error.status}")
        return
    assert passed is not None
    head = request_head(passed.forward)
    assert head == passed.forward.removesuffix(b"\r\n\r\n")
    if passed.length == CHUNKED:
        with pytest.raises(RequestError, match="501"):
            read_request(head)
    else:
        asked = read_request(head)
        assert (passed.method, passed.length) == (asked.method, asked.length)
    event("in chunks" if passed.length == CHUNKED else "served")
