"""Answers as the agent reads them, whatever pieces they arrive in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.agent.answer import Answer, AnswerError

LIMIT = 40


def read(data: bytes, pieces: list[int] | None = None, *, ends: bool = True) -> Answer:
    """Feed `data` cut at `pieces`."""
    answer = Answer(limit=LIMIT)
    start = 0
    for end in sorted({each % (len(data) + 1) for each in pieces or ()} | {len(data)}):
        answer.feed(data[start:end])
        start = end
    if ends and not answer.done:
        answer.ended()
    return answer


def chunked(*parts: bytes) -> bytes:
    """Return a body in chunks."""
    return b"".join(b"%x;note=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


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


@pytest.mark.parametrize("data", [b"SSH-2.0-x\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/2 200\r\n\r\n"])
def test_what_is_no_answer_is_an_error(data: bytes):
    """Another protocol, or an end before the head's, is told apart from an answer."""
    with pytest.raises(AnswerError):
        read(data)


def test_endless_headers_are_given_up():
    """A head that never ends is not kept for ever."""
    with pytest.raises(AnswerError, match="longer"):
        read(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20000)


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
