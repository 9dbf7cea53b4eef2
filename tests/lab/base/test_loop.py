import errno
import os
import selectors
import socket

import pytest

from sidelab.lab.base.loop import Loop, Timer


def test_timers_run_in_the_order_of_their_times():
    """What is due first runs first, and of two that are due at once the one that was asked for first."""
    loop = Loop()
    ran: list[str] = []
    for delay_s, name in ((0.002, "last"), (0.0, "first"), (0.0, "second"), (0.001, "third")):
        loop.after(delay_s, lambda name=name: ran.append(name))
    loop.after(0.003, loop.stop)
    loop.run()
    loop.close()
    assert ran == ["first", "second", "third", "last"]


def test_a_cancelled_timer_never_runs():
    """Neither does one that another timer of the same moment cancels."""
    loop = Loop()
    ran: list[str] = []
    doomed: list[Timer] = []

    def cancel() -> None:
        doomed[0].cancel()

    loop.after(0, cancel)
    doomed.append(loop.after(0, lambda: ran.append("doomed")))
    loop.after(0, loop.stop)
    loop.run()
    loop.close()
    assert ran == []


def test_a_stop_before_the_run_counts():
    """A loop that was stopped while it was only polled does not begin to wait."""
    loop = Loop()
    loop.after(0, loop.stop)
    loop.poll()
    loop.run()
    loop.close()


def test_a_call_may_forget_another_source_of_the_same_round():
    """A source that was forgotten is not called any more, even if it was ready at the same time."""
    loop = Loop()
    ran: list[str] = []
    first, second = socket.socketpair(), socket.socketpair()
    sources = {"first": first[0], "second": second[0]}

    def forget_the_other(name: str) -> None:
        ran.append(name)
        other = "second" if name == "first" else "first"
        loop.forget(sources[other])
        loop.stop()

    for name, source in sources.items():
        loop.watch(source, lambda name=name: forget_the_other(name))
    for _, far in (first, second):
        far.send(b"x")
    loop.run()
    loop.close()
    for each in (*first, *second):
        each.close()
    assert len(ran) == 1


def test_a_source_is_served_while_it_is_ready():
    """A source that is not read stays ready, and is served in each round."""
    loop = Loop()
    read, write = os.pipe()
    ran: list[int] = []
    loop.watch(read, lambda: ran.append(1) or (len(ran) == 3 and loop.stop()))  # type: ignore[func-returns-value]
    os.write(write, b"x")
    loop.run()
    loop.close()
    os.close(read)
    os.close(write)
    assert ran == [1, 1, 1]


def test_an_error_in_one_call_ends_neither_the_loop_nor_the_others():
    """Its source rests for a moment, others of the same turn are served, and so are timers."""
    met: list[OSError] = []
    ran: list[str] = []
    loop = Loop(met.append)
    (read, write), (other, far) = os.pipe(), os.pipe()

    def fail() -> None:
        ran.append("failing")
        raise OSError(errno.EMFILE, "too many")

    loop.watch(read, fail)
    loop.watch(other, lambda: ran.append("other"))
    os.write(write, b"x")
    os.write(far, b"x")
    loop.after(0, fail)
    loop.after(0, lambda: ran.append("timer"))
    loop.poll()
    loop.poll()
    loop.close()
    for fd in (read, write, other, far):
        os.close(fd)
    assert (2, 2, 1, 2) == (ran.count("failing"), ran.count("other"), ran.count("timer"), len(met))


def test_a_source_that_failed_is_served_again():
    """With what it was changed to meanwhile; one that was forgotten meanwhile is not."""
    met: list[OSError] = []
    ran: list[int] = []
    loop = Loop(met.append)
    (read, write), (other, far) = os.pipe(), os.pipe()

    def fail() -> None:
        raise OSError(errno.ENOMEM, "no memory")

    for fd in (read, other):
        loop.watch(fd, fail)
    for fd in (write, far):
        os.write(fd, b"x")
    loop.poll()
    loop.change(read, lambda: ran.append(read), selectors.EVENT_READ)
    loop.forget(other)
    loop.poll()
    resting = list(ran)
    for fd in (read, other):
        loop._wake(fd)
    loop.poll()
    loop.close()
    for fd in (read, write, other, far):
        os.close(fd)
    assert ([], [read], 2) == (resting, ran, len(met))


def test_a_bug_in_a_call_ends_the_loop():
    """What is no `OSError` is not survived."""
    loop = Loop(lambda _error: None)

    def fail() -> None:
        raise LookupError

    loop.after(0, fail)
    with pytest.raises(LookupError):
        loop.run()
    loop.close()
