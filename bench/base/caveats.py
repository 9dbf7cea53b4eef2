"""A doubt about a result, as a value: recorded with the run, printed, shown under the figures."""

import msgspec


class Caveat(msgspec.Struct, frozen=True):
    """One reason to trust a number less (`what`), and the next step that would remove it (`cure`)."""

    what: str
    cure: str

    def __str__(self) -> str:
        return f"{self.what} ({self.cure})"
