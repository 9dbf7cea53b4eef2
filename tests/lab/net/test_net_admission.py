"""Which connections a port keeps: whoever holds too many open loses its own."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sidelab.lab.net.admission import Admission

OF_ONE, ALL = 3, 5
NODE = "10.244.0.1"


class Port:
    """A port whose connections are numbers; `busy` ones have asked for something."""

    def __init__(self) -> None:
        self.dropped: list[int] = []
        self.busy: set[int] = set()
        self.opened: dict[int, str] = {}
        self.admission = Admission[int](
            OF_ONE, ALL, silent=lambda each: each not in self.busy, drop=self.dropped.append, always=(NODE,)
        )

    def dial(self, source: str, number: int, *, crowded: bool = False) -> bool:
        """Return whether a connection is kept."""
        admitted = self.admission.has_room(source, crowded=crowded)
        for each in self.dropped:
            self.opened.pop(each, None)
        if admitted:
            self.admission.add(source, number)
            self.opened[number] = source
        return admitted


def test_oldest_silent_connection_of_the_source_makes_room() -> None:
    """A source that has as many as it may loses the one that has said nothing for longest, not one that asks."""
    port = Port()
    port.busy = {0}
    assert all(port.dial("evil", number) for number in range(OF_ONE + 2))
    assert [1, 2] == port.dropped


def test_busy_source_gets_no_more() -> None:
    """A source all of whose connections are at something is refused another, and loses none."""
    port = Port()
    port.busy = set(range(9))
    assert [True, True, True, False] == [port.dial("evil", number) for number in range(OF_ONE + 1)]
    assert [] == port.dropped


def test_silent_connection_is_found_behind_many_busy_ones() -> None:
    """Few are asked at a time whether they are silent, and the next time others are."""
    asked: list[int] = []
    dropped: list[int] = []
    admission = Admission[int](200, 200, silent=lambda each: asked.append(each) or each == 199, drop=dropped.append)
    for number in range(200):
        admission.add("evil", number)
    most, times = 0, 0
    while not admission.has_room("evil"):
        most, times = max(most, len(asked)), times + 1
        asked.clear()
    assert [199] == dropped
    assert most * times < 200
    assert most < 20


def test_greediest_source_makes_room_for_another() -> None:
    """Where all together have too many, the source that has the most loses one."""
    port = Port()
    for number, source in enumerate(("evil", "evil", "evil", "good", "other")):
        assert port.dial(source, number)
    assert port.dial("new", 9)
    assert [0] == port.dropped


def test_node_always_gets_in() -> None:
    """The node's probes get in, however many connections there are, and drop none."""
    port = Port()
    port.busy = set(range(9))
    for number, source in enumerate(("evil", "evil", "evil", "worse", "worse")):
        assert port.dial(source, number)
    assert (False, True) == (port.dial("third", 7), port.dial(NODE, 8))
    assert [] == port.dropped


def test_node_makes_no_room_for_others() -> None:
    """However many connections it has, none of them is dropped for another source's, nor do they count as others'."""
    port = Port()
    for number in range(9):
        assert port.dial(NODE, number)
    for number, source in enumerate(("a", "a", "b", "b", "c", "d"), 10):
        assert port.dial(source, number)
    assert [10] == port.dropped


def test_source_without_room_for_another_reason() -> None:
    """A crowded source loses its oldest silent connection below the bound, too."""
    port = Port()
    assert (True, True) == (port.dial("evil", 0), port.dial("evil", 1, crowded=True))
    assert [0] == port.dropped


@given(deeds=st.lists(st.tuples(st.sampled_from(["a", "b", "c", NODE, "close", "ask"]), st.integers(0, 20))))
def test_bounds_hold_whatever_happens(deeds: list[tuple[str, int]]) -> None:
    """No source but the node has more than it may, nor have all; what is counted is what is open."""
    port = Port()
    for number, (deed, which) in enumerate(deeds, 100):
        if deed == "ask":
            port.busy.add(100 + which)
        elif deed == "close":
            source = port.opened.pop(100 + which, "")
            port.admission.gone(source, 100 + which)
        else:
            port.dial(deed, number)
        counts = Counter(port.opened.values())
        node = counts.pop(NODE, 0)
        assert max(counts.values(), default=0) <= OF_ONE
        assert sum(counts.values()) <= ALL
        assert len(port.admission) == node + sum(counts.values())
