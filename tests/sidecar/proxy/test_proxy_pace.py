"""Pages that anybody may ask for take little of the loop's time, and do not wait where few are asked for."""

import time

from sidelab.sidecar.proxy.admin.pace import SAVED_S, SHARE, Pace
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop


def test_few_pages_are_made_at_once() -> None:
    """Those of the kubelet and of a scraper, one right after the other."""
    loop = ProxyLoop()
    pace = Pace(loop)
    made: list[int] = []
    for number in range(5):
        pace.make(lambda number=number: made.append(number))
    assert [0, 1, 2, 3, 4] == made
    loop.close()


def test_many_pages_wait_for_their_share_of_the_time() -> None:
    """What was saved is used up, then each page waits for a hundred times what the last one took; in order."""
    loop = ProxyLoop()
    busy_s = 0.0
    pace = Pace(loop, lambda: busy_s)
    made: list[int] = []

    def page(number: int) -> None:
        nonlocal busy_s
        busy_s += SAVED_S / 4
        made.append(number)
        if number == 6:
            loop.stop()

    for number in range(7):
        pace.make(lambda number=number: page(number))
    assert [0, 1, 2, 3, 4] == made  # time passes meanwhile, so the fourth does not use up the very last of it
    begin_s = time.monotonic()
    loop.run()
    assert [0, 1, 2, 3, 4, 5, 6] == made
    assert time.monotonic() - begin_s > SAVED_S / 4 / SHARE  # what the sixth took is waited for by the seventh
    loop.close()
