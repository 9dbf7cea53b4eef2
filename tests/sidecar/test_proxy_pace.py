"""Pages that anybody may ask for take little of the loop's time, and do not wait where few are asked for."""

import time

from sidecar.proxy.loop import Loop
from sidecar.proxy.pace import SAVED_S, SHARE, Pace


def spin(spin_s: float) -> None:
    """Be busy for so long, of this thread's own time."""
    end_s = time.perf_counter() + spin_s
    while time.perf_counter() < end_s:
        pass


def test_few_pages_are_made_at_once() -> None:
    """Those of the kubelet and of a scraper, one right after the other."""
    loop = Loop()
    pace = Pace(loop)
    made: list[int] = []
    for number in range(5):
        pace.make(lambda number=number: made.append(number))
    assert [0, 1, 2, 3, 4] == made
    loop.close()


def test_many_pages_wait_for_their_share_of_the_time() -> None:
    """What was saved is used up, then each page waits for a hundred times what the last one took; in order."""
    loop = Loop()
    pace = Pace(loop)
    made: list[int] = []
    begin_s = time.perf_counter()

    def page(number: int) -> None:
        spin(SAVED_S / 4)
        made.append(number)
        if number == 5:
            loop.stop()

    for number in range(6):
        pace.make(lambda number=number: page(number))
    assert [0, 1, 2, 3] == made
    loop.run()
    assert [0, 1, 2, 3, 4, 5] == made
    assert time.perf_counter() - begin_s > SAVED_S / 4 / SHARE  # what the fifth used waits before the sixth
    loop.close()
