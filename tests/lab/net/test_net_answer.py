"""Answers out of bytes in any pieces, as Go's client reads them."""

import itertools

import pytest
from go_answers import BODY, GO_ANSWERS, HEAD
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.net.get import Get
from sidelab.lab.net.http_answer import Answer, AnswerError
from sidelab.lab.net.url import Url

LIMIT = 40
URL = Url("http", "127.0.0.1", 80, "/")


def read(data: bytes, pieces: list[int] | None = None) -> Answer:
    """Feed `data` cut at `pieces`, and then the end."""
    answer = Answer(limit=LIMIT)
    start = 0
    for end in sorted({each % (len(data) + 1) for each in pieces or ()} | {len(data)}):
        if end > start:
            answer.feed(data[start:end])
        start = end
    answer.feed(b"")
    return answer


def chunked(*parts: bytes) -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def verdict(data: bytes, pieces: list[int], *, held: bool) -> int | str:
    """Return what comes of a GET whose every connection is answered with `data`, like the table."""
    get = Get(URL, [])
    cuts = sorted({each % (len(data) + 1) for each in pieces} | {0, len(data)})
    try:
        while get.answer is None:
            parts = (data[start:end] for start, end in itertools.pairwise(cuts))
            if not any(get.feed(part) for part in parts) and (held or not get.feed(b"")):
                break  # the time-out
    except AnswerError:
        pass
    if get.answer is not None:
        return get.answer.status
    return BODY if get.answered else HEAD


@pytest.mark.parametrize("name", GO_ANSWERS)
@settings(deadline=None, max_examples=10)
@given(pieces=st.lists(st.integers(0, 200), max_size=6))
def test_odd_answers_are_what_they_are_to_go(name: str, pieces: list[int]):
    """Whether an answer counts, and its status, are what Go's client finds, in whatever pieces the bytes arrive."""
    data, held, expected = GO_ANSWERS[name]
    assert expected == verdict(data, pieces, held=held)


@pytest.mark.parametrize(
    ("data", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokNOT", 200, b"ok"),
        (b"HTTP/1.0 503 No\r\n\r\nuntil the end", 503, b"until the end"),
        (b"HTTP/1.1 204 None\r\ncontent-length: 9\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", 200, b""),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(b"a" * 20, b"b"), 200, b"a" * 20 + b"b"),
        (b"HTTP/1.1 200 OK\ncontent-length: 1\n\nx", 200, b"x"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 90\r\n\r\n" + b"y" * 90, 200, b"y" * LIMIT),
    ],
)
@settings(deadline=None, max_examples=30)
@given(pieces=st.lists(st.integers(0, 200), max_size=6))
def test_answers_are_the_same_in_any_pieces(data: bytes, status: int, body: bytes, pieces: list[int]):
    """Status and body do not depend on how the bytes arrive; of a long body the beginning is kept."""
    answer = read(data, pieces)
    assert (status, body, True) == (answer.status, answer.body, answer.done)


LINES = (
    *(b"a: b", b"content-length: 5", b"Content-Length:7 ", b"content-length: 5x", b"Content-Type:\t text/plain"),
    *(
        b"transfer-encoding: chunked",
        b"Transfer-Encoding: gzip",
        b"location: /x\xff",
        b" folded",
        b"\tfolded",
        b"a b: c",
    ),
    *(b": c", b"garbage", b"location: \x01", b"location:", b"x: \r", b"", b"HTTP/1.1 200 OK"),
)
FIRST_LINES = (
    *(
        b"HTTP/1.1 200 OK",
        b"HTTP/1.0 200 OK",
        b"HTTP/1.1 302",
        b"HTTP/1.1  404 \xff",
        b"HTTP/1.1 204 ",
        b"HTTP/1.1 100 C",
    ),
    *(b"HTTP/1.1 101 S", b"HTTP/1.1 099 X", b"HTTP/2.0 200 \x01", b"HTTP/1.1 20 OK", b"http/1.1 200 OK", b""),
)
ENDS = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r\r\n")
BODIES = (b"", b"hello", b"hello, world", chunked(b"hello"), chunked(b"x" * 39, b"yz") + b"!", b"5\r\nhello!", b"\r\n")


@settings(deadline=None, max_examples=1000)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(FIRST_LINES), st.lists(st.tuples(st.sampled_from(LINES), st.sampled_from(ENDS)), max_size=4)
        ),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from(BODIES),
    st.lists(st.integers(0, 200), max_size=6),
)
def test_how_bytes_arrive_makes_no_difference(
    heads: list[tuple[bytes, list[tuple[bytes, bytes]]]], body: bytes, pieces: list[int]
):
    """Sound or damaged, the same comes of bytes at once (where a head is read as a whole if it can be) and in pieces.

    That is its status, its fields, its body, or the same error.
    """
    data = (
        b"".join(first + b"\r\n" + b"".join(line + end for line, end in lines) + b"\r\n" for first, lines in heads)
        + body
    )

    def found(cuts: list[int]) -> object:
        try:
            answer = read(data, cuts)
        except AnswerError as error:
            return str(error)
        return answer.head, answer.body, answer.done

    assert found([]) == found(pieces) == found(list(range(len(data))))


def test_fields_are_found_by_their_lower_case_names():
    """Folded lines are joined, and of a repeated field the first counts."""
    answer = read(b"HTTP/1.1 302 F\r\nLOCATION:\r\n\t/a\r\n  b\r\nlocation: /c\r\ncontent-length: 0\r\n\r\n")
    assert ("/a b", "") == (answer.field("location").strip(), answer.field("content-type"))


def test_ten_megabytes_of_head_are_too_many():
    """That is Go's bound, for interim answers too: nothing that a server sends is kept for ever."""
    interim, field = b"HTTP/1.1 100 C\r\n\r\n" * 4096, b"x: " + b"y" * 65_533 + b"\n"
    for begin, part in ((interim, interim), (b"HTTP/1.1 200 OK\n", field), (b"HTTP/1.1 200 OK\nx: ", b"y" * 65_536)):
        answer = Answer(LIMIT)
        answer.feed(begin)
        for _ in range(((10 << 20) - len(begin)) // len(part)):
            assert not answer.feed(part)
        with pytest.raises(AnswerError, match="its headers are longer than 10485760 bytes"):
            answer.feed(part)


@pytest.mark.parametrize("body", [chunked(b"x" * LIMIT) + b"!", b"%x\r\n%b?!" % (LIMIT, b"x" * LIMIT)])
def test_what_comes_behind_the_limit_is_not_looked_at(body: bytes):
    """Whether it arrives at once or later: an answer that is damaged there is none the worse."""
    data = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body
    assert (b"x" * LIMIT, True) == ((answer := read(data)).body, answer.done)
    assert b"x" * LIMIT == read(data, list(range(len(data)))).body


def test_chunks_that_hold_next_to_nothing_are_given_up():
    """A byte behind each thousand bytes of a chunk's extension is no way to send a body."""
    answer = Answer(1 << 20)
    with pytest.raises(AnswerError, match="its chunks hold next to no data"):
        answer.feed(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b"1;%b\r\nx\r\n" % (b"y" * 1000) * 50)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_are_an_answer_or_an_error(data: bytes, pieces: list[int]):
    """Nothing that an application says is a crash."""
    for prefix in (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"):
        try:
            answer = read(prefix + data, pieces)
        except AnswerError:
            continue
        assert answer.done
        assert len(answer.body) <= LIMIT
