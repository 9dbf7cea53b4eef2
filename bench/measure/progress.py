"""Show a run's progress on standard error: a bar on a terminal, else a line at most every ten seconds.

It is drawn only between rounds, never during one.
"""

import sys
from time import monotonic
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from sidelab.bench.plan.plan import Plan
from sidelab.lab.base.text.escaping_stream import styled

_LINE_EVERY_S: Final = 10.0


class Progress:
    """Count the requests of `plan` and show the count, headed by the plan's name and `what`."""

    def __init__(self, plan: Plan, what: str = "") -> None:
        self._plan = plan
        self._title = f"measuring {plan.name} {what}".rstrip()
        self._done = 0
        self._shown_s = monotonic()
        self._bar: Bar | None = None
        if sys.stderr.isatty():
            # No refresh thread: it would wake up while requests are timed, and processes are forked meanwhile.
            self._bar = Bar(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TimeRemainingColumn(),
                console=Console(file=styled(sys.stderr)),
                auto_refresh=False,
            )
            self._task = self._bar.add_task(self._describe(), total=plan.requests)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        else:
            sys.stderr.write(f"{self._title}: {self._plan.rebuilds} builds of a lab of {len(self._plan.arms)} arms\n")
        return self

    def advance(self, requests: int) -> None:
        """Count requests that were measured and recorded."""
        self._done += requests
        if self._bar is not None:
            self._bar.update(self._task, advance=requests, description=self._describe())
            self._bar.refresh()
        elif monotonic() - self._shown_s >= _LINE_EVERY_S:
            self._shown_s = monotonic()
            sys.stderr.write(f"{self._describe()}\n")

    def _describe(self) -> str:
        build = min(self._done * self._plan.rebuilds // self._plan.requests + 1, self._plan.rebuilds)
        return f"{self._title}: build {build} of {self._plan.rebuilds}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
