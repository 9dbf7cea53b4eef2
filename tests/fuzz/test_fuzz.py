"""A selection of `nox -s fuzz`: everything that reads what others write takes damaged inputs well."""

from collections.abc import Iterator

import pytest
from mutating import pieces
from study import Target, targets, tried

COUNT = 1000
NAMES = (
    *("http-requests", "http-responses", "http-detection", "server-requests", "llhttp", "dns-cluster", "dns-agent"),
    *("agent-requests", "agent-answers", "manifest", "results", "control"),
)


@pytest.fixture(scope="module")
def known() -> Iterator[dict[str, Target]]:
    """Yield the targets."""
    with targets() as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_damaged_inputs_are_taken_well(known: dict[str, Target], name: str) -> None:
    """Each gives a value, an answer, or the error that is meant; nothing is left of it."""
    assert "" == tried(known[name], 7, COUNT)


def test_all_targets_are_tried(known: dict[str, Target]) -> None:
    """None is left out here."""
    assert [*known] == [*NAMES]


def test_a_fault_would_be_found(known: dict[str, Target]) -> None:
    """A reader that raises what nobody expects is reported with its input, which the seed brings back."""

    def check(data: bytes, number: int) -> None:
        if number == 3:
            raise KeyError(data)

    mutator = known["control"].mutator
    found = tried(Target(mutator, check), 7, COUNT)
    assert found.startswith(f"seed 7, input 3: {mutator.make(7, 3)!r}\n")


def test_pieces_are_the_whole() -> None:
    """Inputs come whole or in pieces, and no byte is lost."""
    data = bytes(range(100))
    assert [data] * 50 == [b"".join(pieces(data, number)) for number in range(50)]
