"""The same bytes to the bundled proxy's grammar and to llhttp: the same messages, or a difference that is listed."""

import comparing_readers
import proxy_reader
import pytest
from comparing_readers import Comparison, Difference, disagreement
from http_grammar import Grammar
from http_readings import REFUSED
from listed_readings import DIFFERENCES

from sidelab.sidecar.proxy.http.message import Limits, RequestHead
from sidelab.sidecar.proxy.http.message_body import BadMessageError

COUNT = 2000
SEED = 20240229
LF = b"GET / HTTP/1.1\nHost: a\n\n"


@pytest.mark.slow
def test_same_bytes_have_the_same_reading() -> None:
    """Messages of every shape are read as by llhttp, in pieces too, and go on so that it reads what was meant."""
    grammar, comparison = Grammar(), Comparison(DIFFERENCES)
    for number in range(COUNT):
        comparison.check(grammar.make(SEED, number), number)
    assert comparison.met.total() > COUNT / 20


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda each: each.what.partition(":")[0])
def test_listed_differences_exist(difference: Difference) -> None:
    """Each listed difference explains what the two make of its example."""
    found = disagreement(difference.example, 0, requests=difference.requests)
    assert found is not None
    assert difference.covers(found), found


def test_an_unlisted_difference_is_shown_shortened() -> None:
    """What no difference explains fails with what both read, and with bytes that have little else in them."""
    unlisted = Comparison([each for each in DIFFERENCES if not each.what.startswith("Lines that end in LF")])
    data = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na" + LF
    with pytest.raises(AssertionError, match="llhttp is stricter, 'Expected CRLF after version'") as caught:
        unlisted.check(data, 0)
    shortened = str(caught.value).rpartition("shortened: ")[2]
    assert len(shortened) < len(LF) + 10


def test_a_difference_that_is_not_met_is_named() -> None:
    """A list with an entry that nothing needs is not true."""
    comparison = Comparison(DIFFERENCES[:2])
    comparison.check(LF, 0)
    assert f"listed, but never met: {[DIFFERENCES[1].what]}" == comparison.unmet()
    assert "        1 Lines that end in LF" in comparison.table()


def test_what_goes_on_is_read_by_the_next_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that went on with a byte more or less would be seen."""
    forwarded = proxy_reader.forwarded
    monkeypatch.setattr(proxy_reader, "forwarded", lambda *args: forwarded(*args)[:-1])
    with pytest.raises(proxy_reader.ForwardedError):
        proxy_reader.read([b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"], requests=True)


def test_what_depends_on_pieces_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that makes something else of a message that comes in pieces does not pass."""
    parse = proxy_reader.parse_request

    def hasty(data: bytes, limits: Limits) -> RequestHead | None:
        if b"\n" not in data:
            raise BadMessageError(400, "no line")
        return parse(data, limits)

    monkeypatch.setattr(proxy_reader, "parse_request", hasty)
    with pytest.raises(comparing_readers.SplitError):
        [disagreement(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", number, requests=True) for number in range(10)]


def test_messages_are_the_same_for_a_seed_and_half_of_them_sound() -> None:
    """The grammar is deterministic, and neither reader gets only what is refused, or nothing that is."""
    grammar = Grammar()
    made = [grammar.make(SEED, number) for number in range(400)]
    assert made == [grammar.make(SEED, number) for number in range(400)]
    refused = sum(proxy_reader.read([each], requests=True).state == REFUSED for each in made[::2])
    assert 40 < refused < 160
