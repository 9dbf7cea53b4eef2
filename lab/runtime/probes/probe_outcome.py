"""The outcome of a probe or hook."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ProbeOutcome:
    """Whether it `passed`, and the `reason` if not; one that passed may have a warning as its reason.

    `counts` is false for an answer that is one too few to change what is thought of the container.
    """

    passed: bool
    reason: str = ""
    counts: bool = True


Finish = Callable[[ProbeOutcome], None]
