"""The command line: a table of verbs, each a thin call into a package.

Imports happen inside the verbs, because `up` has 0.3 s for everything and `bench` needs half of that for pandas alone.
That is also why it is argparse: typer would take 0.09 s (it imports pydantic).
"""

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from lab.errors import InputError, SidelabError

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.manifest import Manifest

Given = argparse.Namespace


def up(given: Given) -> None:
    """Start a lab in the background and wait until every pod is ready."""
    from dataclasses import replace

    from lab.blueprint import draw
    from lab.images import STANDIN, chosen, programs
    from lab.lab import background
    from sidecar.images import IMAGES as MESH
    from sidecar.podrules import warnings

    manifest = _load(given.manifests, given.rules)
    blueprint = draw(manifest, chosen(given.images) + MESH)
    if given.images != STANDIN:
        caveats = (f"image {image}: {program}" for image, program in programs(given.images).items())
        blueprint = replace(blueprint, caveats=(*blueprint.caveats, *caveats))
    for warning in warnings(manifest.expanded().pods):
        sys.stderr.write(f"warning: {warning}\n")
    with background(blueprint, given.name, timeout_s=given.timeout, progress=_progress) as lab:
        _print_status(lab, as_json=given.json)


def _load(paths: list[str], rules: str | None = None) -> "Manifest":
    from lab.manifest import load
    from sidecar.inject import inject, warnings

    manifest = inject(load(paths), rules)
    for warning in warnings(manifest):
        sys.stderr.write(f"warning: {warning}\n")
    return manifest


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        ending = "\n" if done == total else ""
        sys.stderr.write(f"\r{done} of {total} pods ready{ending}")
        sys.stderr.flush()


def list_(given: Given) -> None:
    """List your labs that are running."""
    from lab.lab import Lab, running

    rows = []
    for name in running():
        try:
            with Lab(name) as lab:
                pods = lab.status()["pods"]
                rows.append({"name": name, "pid": lab.pid, "pods": len(pods), "ready": sum(p["ready"] for p in pods)})
        except SidelabError:
            continue  # it is still starting, or has just ended
    if given.json:
        _print_json(rows)
    elif rows:
        _print_table(("LAB", "PID", "READY"), [(r["name"], r["pid"], f"{r['ready']}/{r['pods']}") for r in rows])
    else:
        sys.stdout.write("no lab is running: `sidelab up MANIFEST` starts one\n")


def status(given: Given) -> None:
    """Show a lab's pods, their addresses and their containers."""
    from lab.lab import find

    with find(given.which) as found:
        _print_status(found, as_json=given.json)


def _print_status(lab: "Lab", *, as_json: bool) -> None:
    state = {"name": lab.name, "pid": lab.pid, **lab.status()}
    if as_json:
        _print_json(state)
        return
    rows = []
    for pod in state["pods"]:
        containers = pod["containers"]
        ready = f"{sum(each['ready'] for each in containers)}/{len(containers)}"
        restarts = sum(each["restarts"] for each in containers)
        reasons = [pod["reason"], *(each["reason"] for each in containers)]
        reason = next(filter(None, reasons), "")
        rows.append((pod["namespace"], pod["name"], ready, pod["phase"], restarts, pod["ipv4"], pod["ipv6"], reason))
    _print_table(("NAMESPACE", "POD", "READY", "PHASE", "RESTARTS", "IPV4", "IPV6", ""), rows)
    if state["services"]:
        sys.stdout.write("\n")
        _print_services(state["services"])
    for caveat in state["caveats"]:
        sys.stderr.write(f"note: {caveat}\n")


def _print_services(services: list[dict[str, Any]]) -> None:
    rows = []
    for each in services:
        ports = ",".join(f"{port['port']}/{port['protocol']}" for port in each["ports"])
        ready = f"{sum(endpoint['ready'] for endpoint in each['endpoints'])}/{len(each['endpoints'])}"
        addresses = (each["ipv4"] or "none", each["ipv6"] or "none")
        rows.append((each["namespace"], each["name"], ready, *addresses, ports))
    _print_table(("NAMESPACE", "SERVICE", "READY", "IPV4", "IPV6", "PORTS"), rows)


def logs(given: Given) -> None:
    """Print what a container has written."""
    from lab.lab import find
    from lab.logs import copy

    with find(given.lab) as found:
        copy(found, found.pod(given.pod), given.container, sys.stdout.buffer, follow=given.follow)


def exec_(given: Given) -> None:
    """Run a program of this machine inside a pod, as the container's user; its exit status is ours."""
    from lab.lab import find

    if not given.command:
        raise InputError("exec: no command given: put it behind `--`, as in `sidelab exec client -- curl -s URL`")
    with find(given.lab) as found:
        _leave_as(found.execute(found.pod(given.pod), given.command, (0, 1, 2), given.container))


def shell(given: Given) -> None:
    """Open a shell inside a pod, at this terminal."""
    from lab.attach import attach
    from lab.lab import find

    if not sys.stdin.isatty():
        raise InputError("standard input is no terminal: use `sidelab exec POD -- sh` for a script")
    with find(given.lab) as found:
        _leave_as(attach(found, found.pod(given.pod), [os.environ.get("SHELL", "/bin/sh")], given.container))


def _leave_as(status: int) -> NoReturn:
    raise SystemExit(128 - status if status < 0 else status)


def apply(given: Given) -> None:
    """Change a running lab: Services, labels, and the annotations that a running pod follows; the rest is refused."""
    from lab.lab import find
    from sidecar.inject import LIVE

    manifest = _load(given.manifests, given.rules)
    with find(given.lab) as found:
        outcomes = found.apply(manifest, LIVE, prune=given.prune)
    for name, outcome in outcomes:
        sys.stdout.write(f"{name} {outcome}\n")
    for caveat in manifest.caveats:
        sys.stderr.write(f"note: {caveat}\n")


def down(given: Given) -> None:
    """End a lab; returns when its last process is gone."""
    from lab.lab import find, running

    if given.all and given.which is not None:
        raise InputError("give either a lab's name or --all, not both")
    for name in running() if given.all else [given.which]:
        find(name).stop()


def inject(given: Given) -> None:
    """Print a manifest as the sidecar injector makes it: each pod and Deployment that asks for one has a sidecar."""
    from lab.manifest import encode

    sys.stdout.write(encode(_load(given.manifests)))


def rules_show(given: Given) -> None:
    """Show a pod's rules as the kernel has them and counts them, in the form of `iptables -t nat -L -v`."""
    from lab.lab import find
    from sidecar import liverules
    from sidecar.rules import listing

    family: Any = 6 if given.ipv6 else 4
    with find(given.lab) as found:
        tables = liverules.tables(found, found.pod(given.pod), family)
    if given.json:
        _print_json(listing.data(tables, family))
        return
    text = listing.listing(tables, given.table, family, numeric=given.numeric)
    sys.stdout.write(text or f"pod {given.pod} has no rules in table {given.table}\n")


def rules_check(given: Given) -> None:
    """Hold a pod's rules, routes and addresses against what it asks for; 1 and the difference where they are others."""
    from lab.lab import find
    from sidecar import liverules

    with find(given.lab) as found:
        drift = liverules.check(found, found.pod(given.pod))
    if given.json:
        _print_json({"pod": given.pod, "drifted": bool(drift), **drift.data})
    else:
        sys.stdout.write(drift.diff or f"pod {given.pod} has the rules that it asks for\n")
    raise SystemExit(int(bool(drift)))


def rules_reconcile(given: Given) -> None:
    """Put a pod's rules right where they are not what it asks for; foreign rules in tables shared with others stay."""
    from lab.lab import find
    from sidecar import liverules

    with find(given.lab) as found:
        changed = liverules.reconcile(found, found.pod(given.pod))
    sys.stdout.write(f"pod {given.pod}: {'put right' if changed else 'nothing to do'}\n")


def rules_clean(given: Given) -> None:
    """Take all interception rules out of a pod, with the routes and addresses that go with them."""
    from lab.lab import find
    from sidecar import liverules

    with find(given.lab) as found:
        liverules.clean(found, found.pod(given.pod))


def rules_conntrack(given: Given) -> None:
    """Show the connections that a pod's kernel tracks, both tuples of each, in the form of `conntrack -L`."""
    import socket
    from dataclasses import asdict

    from lab import conntrack
    from lab.lab import find
    from lab.nftables import NETLINK_NETFILTER

    with find(given.lab) as found:
        link = found.open_socket(found.pod(given.pod), socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with link:
        entries, statistics = conntrack.dump(link), conntrack.statistics(link)
    if given.json:
        _print_json({"entries": [each.to_json() for each in entries], "statistics": asdict(statistics)})
    elif given.statistics:
        sys.stdout.write(f"{statistics}\n")
    else:
        sys.stdout.write("".join(f"{each}\n" for each in entries) or f"pod {given.pod} tracks no connection now\n")


def rules_render(given: Given) -> None:
    """Print the rules that istio-iptables' flags stand for; looks at nothing on this machine."""
    from sidecar.rules import Options, build, render

    options = Options.from_args(given.flags, os.environ)
    for warning in options.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(render(build(options), given.form))


def doctor(given: Given) -> None:
    """Tell what this machine can do, each no with its cure; with --pod, whether a pod's traffic gets into its proxy."""
    if given.pod is not None:
        _validate(given)
        return
    if given.lab is not None:
        raise InputError("doctor: --lab says in which lab a pod is: give the pod with --pod")
    from lab import doctor as machine
    from sidecar.envoy import find_envoy

    findings = (*machine.examine(), machine.tool("envoy", find_envoy))
    works = machine.works(findings)
    if given.json:
        _print_json({"ok": works, "findings": [each.to_json() for each in findings]})
    else:
        for each in findings:
            answer = "yes" if each.ok else "NO" if each.needed else "no"
            sys.stdout.write(f"{answer:5}{each.name:23}{each.found}\n")
            sys.stdout.write(f"{'':5}{'':23}cure: {each.cure}\n" if each.cure else "")
        sys.stdout.write("labs and their rules work here\n" if works else "no lab can be made here: see each NO\n")
    _leave_as(0 if works else 3)


def _validate(given: Given) -> None:
    """Do what istio-iptables' --run-validation does; a failure ends with status 1."""
    from lab.lab import find
    from sidecar.validate import validate

    with find(given.lab) as found:
        pod = found.pod(given.pod)
        checks = validate(found, pod)
    good = all(check.ok for check in checks)
    if given.json:
        _print_json({"pod": "/".join(pod), "ok": good, "checks": [check._asdict() for check in checks]})
    else:
        for check in checks:
            sys.stdout.write(f"IPv{check.family} {'ok' if check.ok else 'FAILED'}\n")
            for name in ("expected", "seen", "cure"):
                said = getattr(check, name)
                sys.stdout.write(f"  {name:9} {said}\n" if said else "")
    _leave_as(0 if good else 1)


def bench(given: Given) -> None:
    """Measure what interception costs: every arm at once, request by request in random order."""
    from bench import builds
    from bench.plan import load
    from bench.run import run

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

    _leave_as(test(rebuilds=given.rebuilds, seed=given.seed, results=given.results, as_json=given.json))


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
    sys.stdout.write(text.as_json(result) if given.json else text.render(result))
    if given.annotations:
        # GitHub reads both streams; JSON has the first for itself.
        (sys.stderr if given.json else sys.stdout).write(annotations.render(result))
    _leave_as(result.exit_status)


class Argument:
    """What argparse's `add_argument` is given."""

    def __init__(self, *names: str, **how: Any) -> None:
        self.names = names
        self.how = how


class Verb(NamedTuple):
    """A verb of the command line: `call`'s docstring is its help."""

    name: str
    call: Callable[[Given], None]
    example: str
    arguments: Sequence[Argument] = ()


_MANIFESTS = Argument("manifests", nargs="+", metavar="MANIFEST", help="YAML files; - is standard input")
_WHICH = Argument("which", nargs="?", metavar="LAB", help="which lab, where several run")
_LAB = Argument("--lab", "-l", metavar="LAB", help="which lab, where several run")
_POD = Argument("pod", metavar="POD", help="a pod: NAME or NAMESPACE/NAME")
_CONTAINER = Argument("--container", "-c", metavar="NAME", help="which container (default: the first)")
_JSON = Argument("--json", action="store_true", help="print JSON")
_IMAGES = Argument(
    "--images",
    default="standin",
    metavar="CHOICE",
    help="real: this machine's nginx in the place of the stand-in; or for each image, as nginx=real (default: standin)",
)
_RULES = Argument(
    "--rules",
    metavar="WAY",
    help="nft, iptables or iptables-legacy: how rules get into pods that don't say (default: nft)",
)
_IN_POD = (_POD, _LAB, _CONTAINER)

VERBS = (
    Verb(
        "doctor",
        doctor,
        "sidelab doctor --pod nginx",
        (
            Argument("--pod", "-p", metavar="POD", help="ask whether this pod's traffic gets into its proxy"),
            _LAB,
            _JSON,
        ),
    ),
    Verb(
        "up",
        up,
        "sidelab up examples/nginx-injected.yaml",
        (
            _MANIFESTS,
            Argument("--name", "-n", default="lab", metavar="LAB", help="what to call the lab (default: lab)"),
            Argument(
                "--timeout",
                type=float,
                default=60.0,
                metavar="SECONDS",
                help="how long all pods may take to be ready (default: 60)",
            ),
            _RULES,
            _IMAGES,
            _JSON,
        ),
    ),
    Verb("list", list_, "sidelab list --json", (_JSON,)),
    Verb("status", status, "sidelab status", (_WHICH, _JSON)),
    Verb(
        "logs",
        logs,
        "sidelab logs nginx -c istio-proxy -f",
        (*_IN_POD, Argument("--follow", "-f", action="store_true", help="go on as the container writes")),
    ),
    Verb("exec", exec_, "sidelab exec client -- curl -s http://10.244.0.2/", _IN_POD),
    Verb("shell", shell, "sidelab shell nginx", _IN_POD),
    Verb(
        "apply",
        apply,
        "sidelab apply examples/services.yaml",
        (
            _MANIFESTS,
            _LAB,
            Argument("--prune", action="store_true", help="remove the Services that the manifests do not mention"),
            _RULES,
        ),
    ),
    Verb("down", down, "sidelab down", (_WHICH, Argument("--all", action="store_true", help="end all of your labs"))),
    Verb("inject", inject, "sidelab inject examples/tutorial.yaml", (_MANIFESTS,)),
    Verb(
        "rules show",
        rules_show,
        "sidelab rules show nginx",
        (
            _POD,
            _LAB,
            Argument(
                "--table", "-t", default="nat", choices=("nat", "mangle", "raw"), help="which table (default: nat)"
            ),
            Argument("--numeric", "-n", action="store_true", help="addresses and ports as numbers"),
            Argument("--ipv6", "-6", action="store_true", help="what applies to IPv6"),
            _JSON,
        ),
    ),
    Verb("rules check", rules_check, "sidelab rules check nginx", (_POD, _LAB, _JSON)),
    Verb("rules reconcile", rules_reconcile, "sidelab rules reconcile nginx", (_POD, _LAB)),
    Verb("rules clean", rules_clean, "sidelab rules clean nginx", (_POD, _LAB)),
    Verb(
        "rules conntrack",
        rules_conntrack,
        "sidelab rules conntrack nginx",
        (
            _POD,
            _LAB,
            Argument("--statistics", "-S", action="store_true", help="how full the table is, and what went wrong"),
            _JSON,
        ),
    ),
    Verb(
        "rules render",
        rules_render,
        "sidelab rules render -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -b '*' -d 15090,15021,15020 --form table",
        (
            Argument(
                "--form",
                default="iptables",
                metavar="FORM",
                help="iptables, ip6tables, nft or table (default: iptables); all other flags are istio-iptables' own",
            ),
        ),
    ),
    Verb(
        "bench",
        bench,
        "sidelab bench smoke",
        (
            Argument("plan", nargs="?", metavar="PLAN", help="a shipped plan (default: overhead), or a TOML file"),
            Argument(
                "--results", type=Path, default=Path("results"), metavar="DIR", help="where the run's directory is made"
            ),
            Argument("--seed", type=int, metavar="N", help="repeat the order of another run"),
            _IMAGES,
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
            _JSON,
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
            _JSON,
        ),
    ),
)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are ours: one line, with the cure, exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}: see `{self.prog} --help`")


def parse(argv: Sequence[str]) -> Given:
    """Return what the command line says, `call` being the verb's function; raises `InputError`."""
    words, command = _split(list(argv))
    given, rest = _parser().parse_known_args(words)
    if given.call is rules_render:
        given.flags = rest  # istio-iptables' flags are not ours to know
    elif rest:
        raise InputError(f"{given.verb}: {rest[0]!r} is not understood: see `sidelab {given.verb} --help`")
    if command and given.call is not exec_:
        raise InputError(f"{given.verb} runs no command: see `sidelab {given.verb} --help`")
    given.command = command
    return given


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before the first `--`, and what stands behind it."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sidelab",
        description="A service-mesh interception lab on one machine: how traffic gets into the sidecar, and what "
        "that costs.",
        epilog="example: sidelab up examples/nginx-injected.yaml",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    groups: dict[str, Any] = {"": verbs}
    for verb in VERBS:
        group, _, name = verb.name.rpartition(" ")
        if group not in groups:
            parent = verbs.add_parser(group, help="the interception rules: as text, or as the kernel has them")
            groups[group] = parent.add_subparsers(metavar="VERB", required=True)
        about = (verb.call.__doc__ or "").strip()
        each = groups[group].add_parser(
            name, help=about, description=about, epilog=f"example: {verb.example}", allow_abbrev=False
        )
        for argument in verb.arguments:
            each.add_argument(*argument.names, **argument.how)
        each.set_defaults(call=verb.call, verb=verb.name)
    return parser


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _print_table(headings: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Print aligned columns; rich would take 40 ms to import for the same."""
    cells = [headings, *(tuple(str(value) for value in row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        sys.stdout.write("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _open_standard() -> None:
    """Open what we were started without: the next socket would become some program's input."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            while os.open(os.devnull, os.O_RDWR) < fd:
                pass
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r"))


def main() -> None:
    """Run the command line; the exit status says whose fault a failure is (see `lab.errors`)."""
    _open_standard()
    try:
        given = parse(sys.argv[1:] or ["--help"])
        given.call(given)
    except SidelabError as error:
        sys.stderr.write(f"sidelab: {error}\n")
        raise SystemExit(error.exit_status) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has had enough of it
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception:  # noqa: BLE001  # a bug: whatever it is, its status is not that of a failed check
        traceback.print_exc()
        raise SystemExit(70) from None


if __name__ == "__main__":
    main()
