"""Which connections a port keeps when there are too many: a bound for each source, and one for all; pure.

Where there is no room, the oldest connection that has said nothing makes it: of the source that asks for another, or,
if all sources together have too many, of the one that has the most. So one that holds connections open costs no other
source its own.
"""

from collections.abc import Callable, Collection
from typing import Generic, TypeVar

C = TypeVar("C")


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
        self._counted = 0  # but for those in `always`, which neither take others' room nor make any

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def has_room(self, source: str, *, crowded: bool = False) -> bool:
        """Return whether one more connection from `source` may be kept; another may have been dropped for it.

        `crowded`: the source is to have no more than it has now, for another reason than their number.
        """
        if source in self._always:
            return True
        if (crowded or len(self._open.get(source, ())) >= self._most_of_one) and not self._make_room(source):
            return False
        if self._counted < self._most:
            return True
        others = (each for each in self._open if each not in self._always)
        return self._make_room(max(others, key=lambda each: len(self._open[each])))

    def add(self, source: str, connection: C) -> None:
        """Keep a connection."""
        self._open.setdefault(source, {})[connection] = None
        self._counted += source not in self._always

    def gone(self, source: str, connection: C) -> None:
        """Take note that a connection is closed, maybe because it was dropped."""
        own = self._open.get(source)
        if own is None or connection not in own:
            return
        del own[connection]
        self._counted -= source not in self._always
        if not own:
            del self._open[source]

    def _make_room(self, source: str) -> bool:
        oldest = next((each for each in self._open.get(source, ()) if self._silent(each)), None)
        if oldest is None:
            return False
        self.gone(source, oldest)
        self._drop(oldest)
        return True
