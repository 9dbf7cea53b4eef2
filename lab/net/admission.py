"""Which connections a port keeps when there are too many: a bound for each source, and one for all; pure.

If there is no room, a connection that has sent nothing is dropped, most often the oldest: of the source that opens
another, or, if all sources together have too many, of the one that has the most. So one that holds connections open
costs no other source its own. A few are looked at each time, and those that are busy not again before all others.
"""

from collections.abc import Callable, Collection
from itertools import islice
from typing import Generic, TypeVar

C = TypeVar("C")

_LOOKED_AT = 16
"""How many connections at a time are asked whether they are silent: to ask thousands would take others' time."""


class Admission(Generic[C]):
    """The open connections by source.

    A source has at most `most_of_one` connections and all have `most`, except those in `always`, which get in whatever
    others do. `silent` says whether a connection may be dropped, which `drop` does.
    """

    def __init__(
        self,
        most_of_one: int,
        most: int,
        *,
        silent: Callable[[C], bool],
        drop: Callable[[C], None],
        always: Collection[str] = (),
    ) -> None:
        self._most_of_one = most_of_one
        self._most = most
        self._silent = silent
        self._drop = drop
        self._always = frozenset(always)
        self._open: dict[str, dict[C, None]] = {}
        self._counted = 0

    def __len__(self) -> int:
        return self._counted

    def has_room(self, source: str, *, crowded: bool = False) -> bool:
        """Return whether one more connection from `source` may be kept; another may be dropped for it.

        `crowded`: the source is to have no more than it has now, for another reason than their number.
        """
        full = crowded or len(self._open.get(source, ())) >= self._most_of_one
        if not full and self._counted < self._most:
            return True
        if source in self._always:
            return True
        if full and not self._make_room(source):
            return False
        # Those in `always` neither take others' room nor make any.
        others = {each: len(own) for each, own in self._open.items() if each not in self._always}
        if sum(others.values()) < self._most:
            return True
        return self._make_room(max(others, key=others.__getitem__))

    def add(self, source: str, connection: C) -> None:
        """Keep a connection."""
        own = self._open.get(source)
        if own is None:
            self._open[source] = {connection: None}
        else:
            own[connection] = None
        self._counted += 1

    def gone(self, source: str, connection: C) -> None:
        """Take note that a connection is closed, maybe because it was dropped."""
        own = self._open.get(source)
        if own is None or connection not in own:
            return
        self._counted -= 1
        if len(own) > 1:
            del own[connection]
        else:
            del self._open[source]

    def _make_room(self, source: str) -> bool:
        own = self._open.get(source, {})
        for connection in tuple(islice(own, _LOOKED_AT)):
            if self._silent(connection):
                self.gone(source, connection)
                self._drop(connection)
                return True
            del own[connection]  # it becomes the youngest, so that others are looked at the next time
            own[connection] = None
        return False
