"""Logs that lose their front while they are written and read. They need a file system of their own: root's."""

import contextlib
import os
from collections import deque
from collections.abc import Iterator

import pytest

from sidelab.lab.client.logs import Reader
from sidelab.lab.errors import InputError
from sidelab.lab.runtime import logfile
from sidelab.lab.runtime.logfile import LogFile, Logs, Shelf, bound_bytes

BOUND = 1 << 16
LINE = 64


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    """Return where logs are kept."""
    try:
        with contextlib.chdir("."):  # who comes back into a mount namespace is in its root directory
            return Shelf()
    except OSError as error:
        pytest.skip(f"this user may not mount a tmpfs: {error.strerror}")


@pytest.fixture(autouse=True)
def _here() -> Iterator[None]:
    with contextlib.chdir("."):
        yield


@pytest.fixture
def log(shelf: Shelf) -> Iterator[LogFile]:
    """Return a log that keeps 64 KiB."""
    made = LogFile(BOUND, shelf)
    yield made
    os.close(made.descriptor)


def write(log: LogFile, begin: int, end: int) -> None:
    """Write the lines with the numbers from `begin` to `end`."""
    os.write(log.descriptor, b"".join(b"%063d\n" % number for number in range(begin, end)))


def numbers(reader: Reader) -> list[int]:
    """Return the numbers of the lines that a reader finds."""
    return [int(line) for line in b"".join(reader.news()).splitlines()]


def held(log: LogFile) -> int:
    """Return how much memory a log takes, in bytes."""
    return os.fstat(log.descriptor).st_blocks * 512


def test_a_short_log_is_whole(log: LogFile):
    """Nothing goes while a log is within its bound."""
    write(log, 0, BOUND // LINE)
    assert (False, list(range(1024))) == (log.trim(), numbers(Reader(log.opened())))


def test_of_a_long_log_the_end_is_kept(log: LogFile):
    """Its front is freed until half of the bound is left; what is left begins with a whole line."""
    write(log, 0, 1500)
    assert (True, False) == (log.trim(), log.was_full)
    kept = numbers(Reader(log.opened()))
    assert list(range(kept[0], 1500)) == kept
    assert BOUND // 2 <= len(kept) * LINE <= held(log) <= BOUND


def test_a_full_log_takes_more_once_it_is_trimmed(log: LogFile):
    """A burst fails for the one who writes it, at twice the bound; then there is room again, and it is known."""
    write(log, 0, 2000)
    with pytest.raises(OSError, match="No space left"):
        deque((write(log, number, number + 1) for number in range(2000, 3000)), 0)
    assert 2 * BOUND == held(log)
    assert (True, True) == (log.trim(), log.was_full)
    write(log, 7000, 7010)
    assert list(range(7000, 7010)) == numbers(Reader(log.opened(), 10))


def test_a_reader_that_is_behind_goes_on_where_the_log_begins(log: LogFile):
    """What was freed before it was read is missing; nothing is read twice, and no zeros, and no half of a line."""
    reader = Reader(log.opened())
    write(log, 0, 100)
    assert list(range(100)) == numbers(reader)
    write(log, 100, 1500)
    log.trim()
    write(log, 1500, 1600)
    rest = numbers(reader)
    assert list(range(rest[0], 1600)) == rest
    assert rest[0] > 100


def test_a_reader_loses_the_rest_of_the_line_that_is_cut(log: LogFile):
    """Even where the line's end has not been written yet."""
    write(log, 0, 1)
    os.write(log.descriptor, b"x" * (BOUND + 4096))
    log.trim()
    reader = Reader(log.opened())
    assert b"" == b"".join(reader.news())
    os.write(log.descriptor, b"the end of it\nnext\n")
    assert b"next\n" == b"".join(reader.news())


@pytest.mark.parametrize("trimmed", [False, True])
@pytest.mark.parametrize("tail", [0, 1, 3, 600])
def test_the_last_lines(log: LogFile, tail: int, trimmed: bool):
    """As many as asked for, or all that are left."""
    write(log, 0, 1500)
    if trimmed:
        log.trim()
    found = numbers(Reader(log.opened(), tail))
    expected = list(range(1500 - tail, 1500))
    assert expected[-len(found) :] == found if found else not expected
    assert len(found) == tail or (trimmed and len(found) >= BOUND // 2 // LINE - 1)


def test_a_truncated_log_is_read_from_its_beginning(log: LogFile):
    """A program may truncate what it writes to."""
    reader = Reader(log.opened())
    write(log, 0, 100)
    numbers(reader)
    os.truncate(log.descriptor, 0)
    assert [] == numbers(reader)
    write(log, 5, 7)
    assert [5, 6] == numbers(reader)


def test_a_log_that_a_program_makes_enormous_is_bounded(log: LogFile):
    """Holes cost nothing, and are not kept."""
    os.truncate(log.descriptor, 1 << 40)
    write(log, 0, 1500)
    assert log.trim()
    assert held(log) <= BOUND
    assert 1499 == numbers(Reader(log.opened(), 5))[-1]


def test_the_tail_for_a_message(log: LogFile):
    """The last bytes, whatever was freed."""
    assert b"" == log.tail(100)
    write(log, 0, 1500)
    log.trim()
    assert b"%063d\n" % 1499 == log.tail(LINE)


def test_each_container_has_one_log(shelf: Shelf):
    """However often it is asked for; those above their bound are told."""
    logs = Logs(BOUND, shelf)
    quiet, loud = (logs.of(("default", "pod", name)) for name in ("quiet", "loud"))
    write(loud, 0, 1500)
    write(quiet, 0, 1)
    assert logs.of(("default", "pod", "loud")) is loud
    assert [(("default", "pod", "loud"), loud)] == logs.trim()
    for each in (quiet, loud):
        os.close(each.descriptor)


def test_all_logs_together_are_within_their_share_of_memory(monkeypatch: pytest.MonkeyPatch):
    """The more containers, the less each may keep; a wish that does not fit is refused with the range that does."""
    monkeypatch.setattr(logfile.os, "sysconf", lambda _name: 1 << 20)  # a mebibyte of pages
    monkeypatch.setattr(logfile, "_PAGE_BYTES", 4096)
    assert [10 << 20, 10 << 20, (512 << 20) // 1000, 1 << 16] == [bound_bytes(None, n) for n in (0, 50, 1000, 1 << 20)]
    assert 1 << 20 == bound_bytes(1 << 20, 100)
    for wanted in (0, 1 << 15, 6 << 20):
        with pytest.raises(InputError, match="from 65536 to 5368709, for example 1Mi: the logs of 100 containers"):
            bound_bytes(wanted, 100)
