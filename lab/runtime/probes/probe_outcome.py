"""What came of asking a container, or of doing something for it."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProbeOutcome:
    """Whether it `passed`, and for what `reason` not; what passed may have a warning for one.

    `counts` is false for an answer that is one too few to change what is thought of the container.
    """

    passed: bool
    reason: str = ""
    counts: bool = True


Finish = Callable[[ProbeOutcome], None]
