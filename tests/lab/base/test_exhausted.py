import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelab.lab import errors
from sidelab.lab.base import exhausted
from sidelab.lab.base.exhausted import as_refusal
from sidelab.lab.base.incidents import Incidents
from sidelab.lab.errors import InputError, MachineError

TEXTS = st.dictionaries(st.sampled_from(["error", "bug", "exit_status"]), st.text() | st.integers(0, 99), min_size=1)


@given(TEXTS, st.integers(200, 2000), st.integers(1, 300))
def test_a_report_of_any_length_is_whole_json_within_its_bound(message: dict[str, str | int], most: int, factor: int):
    """Texts lose their middle, whatever their signs take in JSON; what fits stays as it is."""
    longer = {name: value * factor if isinstance(value, str) else value for name, value in message.items()}
    data = errors.encoded(longer, most)
    assert len(data) <= most
    assert longer.keys() == json.loads(data).keys()
    assert json.loads(data) == longer or len(json.dumps(longer)) > most


def test_a_report_keeps_both_ends_of_a_text():
    """A message's cause stands at its beginning, a traceback's at its end."""
    text = json.loads(errors.encoded({"error": "first" + "\x1b" * 100_000 + "last"}, 10_000))["error"]
    assert ("first", "last") == (text[:5], text[-4:])
    assert "characters are left out here" in text


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "file-max"),
        (errno.ENOMEM, "fewer pods"),
        (errno.ENOSPC, "make room"),
    ],
)
def test_what_is_exhausted_is_told_with_its_cure(number: int, cure: str):
    """Status 3: it is neither the user's input nor a bug."""
    refusal = as_refusal(OSError(number, os.strerror(number), "/where"))
    assert isinstance(refusal, MachineError)
    assert os.strerror(number) in str(refusal)
    assert cure in str(refusal)
    assert "/where" in str(refusal)


@pytest.mark.parametrize("error", [OSError(errno.EBADF, "bad"), BlockingIOError(errno.EAGAIN, "again"), KeyError("x")])
def test_a_bug_is_no_refusal(error: Exception):
    """Only what says that something is exhausted is."""
    assert as_refusal(error) is None


def test_a_refusal_stays_what_it_is():
    """An error that has its cure already is not wrapped."""
    error = InputError("x")
    assert as_refusal(error) is error


def test_a_fork_that_fails_is_told_with_its_cure(monkeypatch: pytest.MonkeyPatch):
    """EAGAIN of fork(2) is a limit of processes."""

    def refuse() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(exhausted.os, "fork", refuse)
    with pytest.raises(MachineError, match=r"no process can be forked: Resource temporarily unavailable: .*pids\.max"):
        exhausted.fork()


def test_nothing_is_survived_while_a_lab_starts():
    """Who starts it reads the error."""
    incidents = Incidents()
    with pytest.raises(OSError, match="full"):
        incidents.survived("x", OSError(errno.ENOSPC, "full"))
    assert [] == incidents.texts


def test_incidents_are_counted_and_bounded():
    """The same again is told once with its number; of very many the last twenty, none longer than a few lines."""
    incidents = Incidents()
    incidents.strict = False
    for number in range(50):
        incidents.note(f"{number:02} " + "x" * 10_000)
    for _ in range(3):
        incidents.survived("log", PermissionError(errno.EPERM, "no"))
    assert 20 == len(incidents.texts)
    assert "log: no (3 times)" == incidents.texts[-1]
    assert max(map(len, incidents.texts)) <= 400
