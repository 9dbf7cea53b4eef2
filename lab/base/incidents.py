"""What went wrong in a running lab without ending it: bounded, and told by `sidelab status`.

While a lab starts, nothing is survived: whoever starts it reads the error, and no half of a lab is left.
"""

import sys
import traceback

from sidelab.lab.base.exhausted import as_refusal
from sidelab.lab.errors import SidelabError

_MOST = 20
_TEXT_CHARACTERS = 400

FAILURES = (OSError, SidelabError)
"""What the machine or a tool refused, as against a bug."""


class Incidents:
    """The last twenty kinds of failure that the lab has survived, each with how often it was met."""

    def __init__(self) -> None:
        self.strict = True  # until the lab is ready
        self._counts: dict[str, int] = {}

    def survived(self, what: str, error: Exception) -> None:
        """Note that `what` failed with `error`, one of `FAILURES`; raises `error` while the lab starts."""
        if self.strict:
            raise error
        self.note(f"{what}: {reason_of(error)}")

    def note(self, text: str) -> None:
        """Note `text`, what has happened in one sentence."""
        text = text[:_TEXT_CHARACTERS]
        self._counts[text] = self._counts.pop(text, 0) + 1
        if len(self._counts) > _MOST:
            del self._counts[next(iter(self._counts))]

    def unforeseen(self, error: OSError) -> None:
        """Survive what no callback has dealt with: its traceback goes into the supervisor's own log."""
        self.survived("the supervisor met an error that it has no answer to, and went on", error)
        traceback.print_exception(error, file=sys.stderr)

    @property
    def texts(self) -> list[str]:
        """Each incident with its number, the oldest first."""
        return [text if count == 1 else f"{text} ({count} times)" for text, count in self._counts.items()]


def reason_of(error: Exception) -> str:
    """Return what an error says, without Python's `[Errno 28]`."""
    refusal = as_refusal(error)
    if refusal is not None:
        return str(refusal)
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
