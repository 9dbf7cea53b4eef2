"""A gate's verdict in other formats: a terminal, JUnit, GitHub's pages, a benchmark history.

Each module turns a `bench.judge.gate.gate.GateResult` into text and does nothing else; `write` is the one place that
opens files.
"""

from dataclasses import dataclass
from pathlib import Path

from sidelab.bench.judge.gate.gate import GateResult
from sidelab.bench.record.records import write_whole
from sidelab.bench.report.exports import action_benchmark, junit, markdown
from sidelab.lab.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Files:
    """Which files to write. All are replaced but `step_summary`, which is appended to: GitHub's steps share it."""

    junit: Path | None = None
    markdown: Path | None = None
    action_benchmark: Path | None = None
    step_summary: Path | None = None


def write(result: GateResult, files: Files) -> None:
    """Write these files; raises `InputError` for one that cannot be written."""
    for path, render, mode in (
        (files.junit, junit.render, "w"),
        (files.markdown, markdown.render, "w"),
        (files.action_benchmark, action_benchmark.render, "w"),
        (files.step_summary, markdown.render, "a"),
    ):
        if path is None:
            continue
        content = render(result)
        try:
            if mode == "w" and (path.is_file() or not path.exists()):
                write_whole(path.resolve(), content)  # a full disk leaves existing files intact
            else:
                with path.open(mode, encoding="utf-8", errors="replace") as file:
                    file.write(content)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; give a writable file") from None
