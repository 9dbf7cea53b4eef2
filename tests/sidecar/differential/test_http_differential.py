"""The same bytes through the bundled proxy and through Envoy: what each decides, and what it sends on."""

from pathlib import Path

import pytest
from canned import CASES, named
from compared import Behaviour, Message, behaviour
from expectations import EXPECTATIONS
from generated import generated
from lanes import OK, Case, Driver, Seen
from listed import DIFFERENCES
from paths import paths
from sides import Lane, bundled, envoy
from targets import targets
from upgrades import UPGRADES

GENERATED = 2000
PATHS = 600
SHOWN = 10
PAGE = Path(__file__).parents[3] / "docs" / "proxy-contract.md"


def run(lanes: list[Lane], cases: list[Case]) -> list[Seen]:
    """Return what a proxy did with each case."""
    driver = Driver(lanes)
    try:
        return driver.run(cases)
    finally:
        driver.close()


def shown(found: Behaviour) -> str:
    """Return a behaviour in a line."""

    def message(each: Message) -> str:
        fields = b", ".join(b"%b: %.40b" % field for field in each.fields).decode("latin-1")
        body = f"{each.framing} {each.body[:40]!r}{'' if each.whole else ' (cut)'}"
        return f"{each.start[:80].decode('latin-1')}" + ("" if each.own else f" [{fields}] {body}")

    answers = " | ".join(map(message, found.answers))
    requests = " || ".join(" | ".join(map(message, each)) for each in found.requests)
    return f"client: {answers}; server: {requests}; {'kept' if found.kept else 'closed'} {found.stray or ''}"


def test_bundled_does_as_envoy_does(tmp_path: Path) -> None:
    """Every request and answer is decided and sent on as by Envoy, but for what is listed, and all of that occurs."""
    cases = list(named([*CASES, *UPGRADES, *EXPECTATIONS, *paths(PATHS), *targets(), *generated(GENERATED)]).values())
    with envoy(tmp_path) as lanes:
        theirs = run(lanes, cases)
    with bundled() as lanes:
        ours = run(lanes, cases)
    unused, disagreements = set(DIFFERENCES), []
    for case, their, our in zip(cases, theirs, ours, strict=True):
        expected, actual = behaviour(case, their), behaviour(case, our)
        reasons = [each for each in DIFFERENCES if expected != actual and each.covers(case, expected, actual)]
        unused.difference_update(reasons)
        if expected != actual and not reasons:
            disagreements.append(f"{case}\n  Envoy:   {shown(expected)}\n  bundled: {shown(actual)}")
    assert not disagreements, f"{len(disagreements)} of {len(cases)}:\n" + "\n".join(disagreements[:SHOWN])
    assert set() == {each.what for each in unused}
    assert len(cases) >= 2000


def test_page_shows_what_is_listed() -> None:
    """The page about proxies has each difference with its reason."""
    page = " ".join(PAGE.read_text().split())
    assert [] == [each.what for each in DIFFERENCES if f"| {each.what} | {each.why} |" not in page]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        OK[:-1],
        b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok!",
    ],
)
def test_a_difference_would_be_seen(answer: bytes) -> None:
    """A proxy whose server answered otherwise does not compare equal, so the comparison can fail."""
    case = Case("plain", (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",))
    with bundled(2) as lanes:
        (right,) = run(lanes, [case])
        (wrong,) = run(lanes, [Case("plain", case.request, answer)])
    assert behaviour(case, right) != behaviour(case, wrong)
