"""A progress bar on standard error while a run is measured; drawn between rounds only, never during one."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from bench.plan import Plan


class Progress:
    """Counts requests of `plan`, by its name and `what` is added to it; silent where standard error is no terminal."""

    def __init__(self, plan: Plan, what: str = "") -> None:
        # No refresh thread: it would wake up while requests are timed, and processes are forked meanwhile.
        self._bar = Bar(
            TextColumn(f"measuring {plan.name} {what}".rstrip()),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("requests"),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            auto_refresh=False,
            disable=not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("requests", total=plan.requests)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def advance(self, requests: int) -> None:
        """Count requests that were measured and recorded."""
        self._bar.advance(self._task, requests)
        self._bar.refresh()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()
