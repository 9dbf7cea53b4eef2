"""Requests' heads as a lab's own server reads them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.net.http_request import (
    REQUEST_HEAD_BYTES,
    AskedRequest,
    RequestError,
    read_request,
    request_fields,
    request_head,
)

NAMES = st.from_regex(rb"[A-Za-z-]{1,8}", fullmatch=True).filter(
    lambda name: name.lower() not in (b"host", b"connection", b"content-length", b"transfer-encoding")
)
VALUES = st.from_regex(rb"[!-~][ -~]{0,8}[!-~]", fullmatch=True)
LINES = (
    *(b"Host: a", b"host:b", b"Content-Length: 5", b"content-length:05 ", b"Content-Length: 5x", b"Content-Length:"),
    *(
        b"Transfer-Encoding: chunked",
        b"Connection: Close",
        b"X : 1",
        b" x: 1",
        b": 1",
        b"x",
        b"x: \n\r",
        b"x: \0",
        b"x:",
    ),
)


def read(data: bytes, cuts: list[int]) -> object:
    """Return what is read, or the status of a refusal, once the head is complete; None if it never is."""
    for cut in sorted({each % (len(data) + 1) for each in cuts} | {len(data)}):
        try:
            head = request_head(data[:cut])
            if head is not None:
                return read_request(head)
        except RequestError as error:
            return error.status
    return None


@given(
    st.sampled_from([b"GET", b"POST"]),
    st.from_regex(rb"/[!-~]{0,9}", fullmatch=True),
    st.booleans(),
    st.none() | st.integers(0, 10**18 - 1),
    st.dictionaries(NAMES, VALUES, max_size=4),
)
def test_a_sound_request_is_read_back(
    method: bytes, target: bytes, close: bool, length: int | None, others: dict[bytes, bytes]
) -> None:
    """Method, target, whether the connection ends, how long the body is, and fields without the blanks around."""
    fields = {b"HOST": b"x", **others}
    if close:
        fields[b"connection"] = b"x, close"
    if length is not None:
        fields[b"content-length"] = b"%d" % length
    lines = b"\r\n".join(b"%b: \t%b " % each for each in fields.items())
    data = b"%b %b HTTP/1.1\r\n%b\r\n\r\nnot looked at" % (method, target, lines)
    asked = read(data, [])
    assert AskedRequest(method, target, lines, close, length or 0) == asked
    assert fields == dict(request_fields(lines))


@settings(deadline=None, max_examples=1000)
@given(
    st.sampled_from(
        [b"GET / HTTP/1.1", b"GET / HTTP/1.0", b"G3T / HTTP/1.1", b"GET  / HTTP/1.1", b"GET / HTTP/2.0", b""]
    ),
    st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"])), max_size=4),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_how_a_request_arrives_makes_no_difference(
    first: bytes, lines: list[tuple[bytes, bytes]], cuts: list[int]
) -> None:
    """Sound or damaged, it is the same request, or refused with the same status, at once and byte by byte."""
    data = first + b"\r\n" + b"".join(line + end for line, end in lines) + b"\r\n"
    assert read(data, []) == read(data, cuts) == read(data, list(range(len(data))))


@pytest.mark.parametrize(("size", "status"), [(REQUEST_HEAD_BYTES, None), (REQUEST_HEAD_BYTES + 1, 431)])
def test_a_head_has_a_bound(size: int, status: int | None) -> None:
    """Whether its end is there or not."""
    begin = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: "
    data = begin + b"x" * (size - len(begin))
    assert status == read(data, [])
    assert 431 == read(data + b"xx", [])
    assert isinstance(read(data + b"\r\n\r\n", []), int if status else AskedRequest)


@settings(max_examples=300)
@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_a_request_or_refused(data: bytes, begun: bool) -> None:
    """With a status that says why, and nothing else is raised."""
    data = (b"GET / HTTP/1.1\r\n" if begun else b"") + data + b"\r\n\r\n"
    assert isinstance(found := read(data, []), AskedRequest) or found in (400, 501, 505)
