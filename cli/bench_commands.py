"""What interception costs: measuring, drawing, judging, and whether the instrument is right."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidelab.cli.command import IMAGES, JSON, Argument, Given, Verb, leave_as, print_json, reader_may_leave
from sidelab.lab.base import identity
from sidelab.lab.base.text.escaping_stream import write_command
from sidelab.lab.errors import InputError


def bench(given: Given) -> None:
    """Measure what interception costs: all arms at once, request by request in random order."""
    with _interruptible("stopped before anything was measured; nothing is kept"):
        identity.decide(identity.read())  # before numpy and pandas are imported, and long before anything starts
        from sidelab.bench.measure.run import run
        from sidelab.bench.plan import builds
        from sidelab.bench.plan.plan import load

        compared = given.head is not None or given.base is not None
        plan = load(given.plan or ("compare" if compared else "overhead"))
        if compared:
            if given.head is None or given.base is None:
                raise InputError("bench: --head and --base go together: give both")
            plan = builds.compare(plan, given.head, given.base)
        found = run(
            plan,
            results=given.results,
            seed=given.seed,
            client=given.client,
            images=given.images,
            budget_s=given.budget_s,
            require_all=given.require_all,
        )
        if found.stopped is not None:
            done = f"after {found.builds} of {found.planned} builds" if found.builds else "in the first build"
            _say(f"stopped {done}; what was measured is drawn in {found.directory} (Ctrl-C again leaves at once)")
        _present(found.directory, as_json=given.json, draw=True)
    if found.stopped is not None:
        leave_as(found.stopped.exit_status)


def show(given: Given) -> None:
    """Print a run's answer, tables and reasons for doubt from its files, without drawing."""
    with _interruptible("stopped"):
        _present(given.run, as_json=given.json, draw=False)


def _present(directory: Path, *, as_json: bool, draw: bool) -> None:
    """Print a run's answer and tables, at once, then draw it, and name the page last; or print all as JSON."""
    from sidelab.bench.judge.analysis import analyse
    from sidelab.bench.report.present import document, present

    found = analyse(directory)
    paths: tuple[Path, ...] = ()
    if not as_json:
        with reader_may_leave():
            present(found)
    if draw:
        with _interruptible(f"stopped while drawing: `sidelab report {directory}` draws what was measured"):
            from sidelab.bench.report.report import draw as drawn

            _say("drawing tables, figures and page", leading=False)
            paths = drawn(found)
    with reader_may_leave():
        if as_json:
            print_json(document(found, paths))
        elif found.page.exists():
            sys.stdout.write(f"\nthe page with all figures, its tables beside it: {found.page}\n")
        else:
            sys.stdout.write(f"\nnot drawn yet: sidelab report {directory}\n")


def selftest(given: Given) -> None:
    """Test the harness with known delays: it must find each delay, and none where there is none."""
    with _interruptible("stopped; an incomplete selftest keeps nothing"):
        identity.decide(identity.read())
        from sidelab.bench.selftest.selftest import selftest as test
        from sidelab.bench.selftest.selftest import show

        found = test(rebuilds=given.rebuilds, seed=given.seed, results=given.results)
        with reader_may_leave():
            if given.json:
                print_json(found.record | {"directory": str(found.directory)})
            else:
                show(found)
    leave_as(found.exit_status)


def report(given: Given) -> None:
    """Recreate a run's tables, figures and page from its files, or draw the history of several runs."""
    if (given.run is None) == (given.history is None):
        raise InputError("report: give a RUN, or --history with a directory of runs")
    with _interruptible("stopped; every file is the old one or the new one"):
        _say(f"drawing {given.run or given.history}", leading=False)
        if given.history is not None:
            from sidelab.bench.report.history import history

            paths = tuple(history(given.history))
        else:
            from sidelab.bench.report.report import report as redraw

            paths = redraw(given.run)
        with reader_may_leave():
            for path in paths:
                sys.stdout.write(f"{path}\n")


def gate(given: Given) -> None:
    """Judge a run for CI by a budget or another run: exit status 0 passed, 1 a regression is proven, 4 inconclusive."""
    with _interruptible("stopped before a verdict"):
        from sidelab.bench.judge.gate.gate import judge
        from sidelab.bench.report.exports import Files, github_annotations, terminal, write

        result = judge(given.run, limits=given.budget, base=given.against)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        files = Files(
            junit=given.junit,
            markdown=given.markdown,
            action_benchmark=given.action_benchmark,
            step_summary=Path(summary) if summary and given.markdown is None else None,
        )
        write(result, files)
        with reader_may_leave():
            sys.stdout.write(terminal.as_json(result) if given.json else terminal.render(result))
            if given.annotations:
                # GitHub reads both streams; JSON has the first for itself.
                write_command(sys.stderr if given.json else sys.stdout, github_annotations.render(result))
    leave_as(result.exit_status)


@contextmanager
def _interruptible(line: str) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and SIGHUP end the block with one line, `line` unless there is one already."""
    from sidelab.bench.base.interruption import Interrupted, raised

    with raised():
        try:
            yield
        except Interrupted as stop:
            raise Interrupted(stop.number, str(stop) or line) from None


def _say(line: str, *, leading: bool = True) -> None:
    """Tell on standard error what happens; `leading` with our name, as an error has it."""
    sys.stderr.write(f"{'sidelab: ' if leading else ''}{line}\n")


# Looked for here, because `bench.plan.plan` takes 30 ms to import and every verb's help would wait for it.
PLANS = sorted(path.stem for path in (Path(__file__).parents[1] / "bench" / "plan" / "shipped").glob("*.toml"))
_NAMES = ", ".join(PLANS)

VERBS = (
    Verb(
        "bench",
        bench,
        "sidelab bench smoke",
        (
            Argument("plan", nargs="?", metavar="PLAN", help=f"a TOML file, or one of {_NAMES} (default: overhead)"),
            Argument(
                "--results",
                type=Path,
                default=Path("results"),
                metavar="DIR",
                help="where to create the run's directory",
            ),
            Argument("--seed", type=int, metavar="N", help="use the request order of another run"),
            IMAGES,
            Argument("--client", default="own", metavar="CLIENT", help="own, or curl (libcurl, a cross-check)"),
            Argument("--budget-s", type=float, metavar="N", help="stop after N seconds, at the end of a rebuild"),
            Argument(
                "--require-all", action="store_true", help="fail if an arm can't run here, instead of leaving it out"
            ),
            Argument(
                "--head",
                metavar="BUILD",
                help="measure this build against --base (plan: compare): a proxy's path, git:REVISION, envoy:VERSION, "
                "profile:istio|classic or bundled",
            ),
            Argument("--base", metavar="BUILD", help="the build to compare --head with"),
            Argument("--json", action="store_true", help="print answer, tables and paths as one JSON document"),
        ),
    ),
    Verb(
        "selftest",
        selftest,
        "sidelab selftest",
        (
            Argument("--rebuilds", type=int, default=15, metavar="N", help="lab builds per client (default: 15)"),
            Argument("--seed", type=int, metavar="N", help="use the order of another selftest"),
            Argument(
                "--results",
                type=Path,
                default=Path("results"),
                metavar="DIR",
                help="where to write the table and the figure",
            ),
            JSON,
        ),
    ),
    Verb(
        "report",
        report,
        "sidelab report results/reference",
        (
            Argument("run", nargs="?", type=Path, metavar="RUN", help="a directory that `sidelab bench` wrote"),
            Argument("--history", type=Path, metavar="DIR", help="instead draw every plan's runs below DIR over time"),
        ),
    ),
    Verb(
        "show",
        show,
        "sidelab show results/reference",
        (Argument("run", type=Path, metavar="RUN", help="a directory that `sidelab bench` wrote"), JSON),
    ),
    Verb(
        "gate",
        gate,
        "sidelab gate results/RUN --budget budget.toml",
        (
            Argument("run", type=Path, metavar="RUN", help="a directory that `sidelab bench` wrote"),
            Argument("--budget", type=Path, metavar="FILE", help="the limits: a TOML file (docs/ci.md)"),
            Argument(
                "--against", type=Path, metavar="BASE", help="a run of the same plan that this one must not exceed"
            ),
            Argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, a test case per row"),
            Argument(
                "--markdown",
                type=Path,
                metavar="FILE",
                help="write Markdown (default: append it to $GITHUB_STEP_SUMMARY if that is set)",
            ),
            Argument(
                "--action-benchmark",
                type=Path,
                metavar="FILE",
                help="write the overheads for github-action-benchmark (customSmallerIsBetter)",
            ),
            Argument(
                "--annotations",
                action=argparse.BooleanOptionalAction,
                default=os.environ.get("GITHUB_ACTIONS") == "true",
                help="print GitHub's ::error and ::warning (default: if $GITHUB_ACTIONS is true)",
            ),
            JSON,
        ),
    ),
)
