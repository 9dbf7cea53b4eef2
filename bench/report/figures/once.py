"""Compute what takes long once per run's samples, even if a figure is drawn for several media."""

from collections.abc import Callable
from functools import wraps
from typing import TypeVar

import pandas as pd

Result = TypeVar("Result")


def once(compute: Callable[[pd.DataFrame], Result]) -> Callable[[pd.DataFrame], Result]:
    """Reuse the last result while calls pass the same table, which must not change in place."""
    last: list[tuple[pd.DataFrame, Result]] = []

    @wraps(compute)
    def kept(table: pd.DataFrame) -> Result:
        if not last or last[0][0] is not table:
            last[:] = [(table, compute(table))]
        return last[0][1]

    return kept
