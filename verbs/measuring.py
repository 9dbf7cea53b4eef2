"""What interception costs: measuring, drawing, judging, and whether the instrument is right."""

import argparse
import os
import sys
from pathlib import Path

from lab import identity
from lab.errors import InputError
from verbs.verb import IMAGES, JSON, Argument, Given, Verb, leave_as, reader_may_leave


def bench(given: Given) -> None:
    """Measure what interception costs: every arm at once, request by request in random order."""
    from bench import builds
    from bench.plan import load
    from bench.run import run

    identity.decide(identity.read())  # before numpy and pandas are imported, and long before anything starts
    compared = given.head is not None or given.base is not None
    plan = load(given.plan or ("compare" if compared else "overhead"))
    if compared:
        if given.head is None or given.base is None:
            raise InputError("bench: --head and --base go together: give both builds")
        plan = builds.compare(plan, given.head, given.base)
    run(
        plan,
        results=given.results,
        seed=given.seed,
        client=given.client,
        images=given.images,
        budget_s=given.budget_s,
        require_all=given.require_all,
    )


def selftest(given: Given) -> None:
    """Test the harness with known delays: it has to find what was put in, and nothing where there is nothing."""
    from bench.selftest import selftest as test

    identity.decide(identity.read())
    leave_as(test(rebuilds=given.rebuilds, seed=given.seed, results=given.results, as_json=given.json))


def report(given: Given) -> None:
    """Draw a run's tables, figures and page again from its files, or the history of several runs."""
    if (given.run is None) == (given.history is None):
        raise InputError("report: give a RUN, or --history with the directory of several")
    if given.history is not None:
        from bench.history import history

        paths = tuple(history(given.history))
    else:
        from bench.report import report as redraw

        paths = redraw(given.run).paths
    for path in paths:
        sys.stdout.write(f"{path}\n")


def gate(given: Given) -> None:
    """Judge a run for CI by a budget or another run: 0 passed, 1 a regression is proven, 4 inconclusive."""
    from bench.exports import Files, annotations, text, write
    from bench.gate import judge

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
        sys.stdout.write(text.as_json(result) if given.json else text.render(result))
        if given.annotations:
            # GitHub reads both streams; JSON has the first for itself.
            (sys.stderr if given.json else sys.stdout).write(annotations.render(result))
    leave_as(result.exit_status)


# Looked for here, because `bench.plan` takes 30 ms to import and every verb's help would wait for it.
_PLANS = ", ".join(sorted(path.stem for path in (Path(__file__).parents[1] / "bench" / "plans").glob("*.toml")))

VERBS = (
    Verb(
        "bench",
        bench,
        "sidelab bench smoke",
        (
            Argument("plan", nargs="?", metavar="PLAN", help=f"a TOML file, or one of {_PLANS} (default: overhead)"),
            Argument(
                "--results", type=Path, default=Path("results"), metavar="DIR", help="where the run's directory is made"
            ),
            Argument("--seed", type=int, metavar="N", help="repeat the order of another run"),
            IMAGES,
            Argument("--client", default="own", metavar="CLIENT", help="own, or curl (libcurl, a cross-check)"),
            Argument("--budget-s", type=float, metavar="N", help="end after N seconds, whole rebuilds only"),
            Argument("--require-all", action="store_true", help="fail where an arm can't run here, not leave it out"),
            Argument(
                "--head",
                metavar="BUILD",
                help="measure this build against --base (plan: compare): a proxy's path, git:REVISION, envoy:VERSION, "
                "profile:istio|classic or bundled",
            ),
            Argument("--base", metavar="BUILD", help="the build that --head is held against"),
        ),
    ),
    Verb(
        "selftest",
        selftest,
        "sidelab selftest",
        (
            Argument("--rebuilds", type=int, default=15, metavar="N", help="lab builds per client (default: 15)"),
            Argument("--seed", type=int, metavar="N", help="repeat the order of another one"),
            Argument(
                "--results", type=Path, default=Path("results"), metavar="DIR", help="where table and figure are put"
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
            Argument("--history", type=Path, metavar="DIR", help="draw every plan's runs below DIR over time instead"),
        ),
    ),
    Verb(
        "gate",
        gate,
        "sidelab gate results/RUN --budget budget.toml",
        (
            Argument("run", type=Path, metavar="RUN", help="a directory that `sidelab bench` wrote"),
            Argument("--budget", type=Path, metavar="FILE", help="what the run may cost: a TOML file (docs/ci.md)"),
            Argument(
                "--against", type=Path, metavar="BASE", help="a run of the same plan that this one may not exceed"
            ),
            Argument("--junit", type=Path, metavar="FILE", help="write JUnit XML, a test case a row"),
            Argument(
                "--markdown",
                type=Path,
                metavar="FILE",
                help="write Markdown (default: add it to $GITHUB_STEP_SUMMARY where that is set)",
            ),
            Argument(
                "--action-benchmark",
                type=Path,
                metavar="FILE",
                help="write the overheads as github-action-benchmark's customSmallerIsBetter",
            ),
            Argument(
                "--annotations",
                action=argparse.BooleanOptionalAction,
                default=os.environ.get("GITHUB_ACTIONS") == "true",
                help="print GitHub's ::error and ::warning (default: where $GITHUB_ACTIONS is true)",
            ),
            JSON,
        ),
    ),
)
