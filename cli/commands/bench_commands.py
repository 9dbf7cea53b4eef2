"""Verbs that measure what interception costs, and test whether the instrument is right."""

from pathlib import Path

from sidelab.cli.command import IMAGES, JSON, Argument, Given, Verb, leave_as, print_json, reader_may_leave
from sidelab.cli.commands.results_commands import present_run
from sidelab.cli.interruptible import interruptible, say
from sidelab.lab.base import identity
from sidelab.lab.errors import InputError


def bench(given: Given) -> None:
    """Measure what interception costs: all arms at once, request by request in random order."""
    with interruptible("stopped before anything was measured; nothing is kept"):
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
            say(f"stopped {done}; what was measured is drawn in {found.directory} (Ctrl-C again leaves at once)")
        present_run(found.directory, as_json=given.json, draw=True)
    if found.stopped is not None:
        leave_as(found.stopped.exit_status)


def selftest(given: Given) -> None:
    """Test the harness with known delays: it must find each delay, and none where there is none."""
    with interruptible("stopped; an incomplete selftest keeps nothing"):
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


# Listed here, because importing `bench.plan.plan` takes 30 ms, and every verb's help would wait for it.
PLANS = sorted(path.stem for path in (Path(__file__).parents[2] / "bench" / "plan" / "shipped").glob("*.toml"))
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
)
