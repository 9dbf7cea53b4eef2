import os
import socket

from lab.loop import Loop, Timer


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
