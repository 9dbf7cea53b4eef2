"""Labs: this machine's fitness for them, their life, and what is done inside."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidelab.cli import output
from sidelab.cli.command import (
    IMAGES,
    JSON,
    LAB,
    POD,
    WHICH,
    Argument,
    Given,
    Verb,
    leave_as,
    print_json,
    print_table,
    reader_may_leave,
)
from sidelab.lab.base import identity
from sidelab.lab.base.text.escaping_stream import LogText, styled
from sidelab.lab.errors import InputError, SidelabError

if TYPE_CHECKING:
    from sidelab.lab.client.lab import Lab
    from sidelab.lab.manifest import Manifest


def doctor(given: Given) -> None:
    """Check what this machine can do and how to cure the rest; with --pod, whether its traffic reaches its proxy."""
    if given.pod is not None:
        _validate(given)
        return
    if given.lab is not None:
        raise InputError("doctor: --lab needs a pod: name it with --pod")
    from sidelab.lab.doctor import doctor as machine
    from sidelab.sidecar.envoy.find_binary import runnable_envoy

    findings = (*machine.examine(), machine.tool("envoy", runnable_envoy))
    works = machine.works(findings)
    with reader_may_leave():
        if given.json:
            print_json({"ok": works, "findings": [each.to_json() for each in findings]})
        else:
            for each in findings:
                answer = "yes" if each.ok else "NO" if each.needed else "no"
                sys.stdout.write(f"{answer:5}{each.name:23}{each.found}\n")
                sys.stdout.write(f"{'':5}{'':23}cure: {each.cure}\n" if each.cure else "")
            sys.stdout.write("labs and their rules work here\n" if works else "no lab can be made here: see each NO\n")
    leave_as(0 if works else 3)


def _validate(given: Given) -> None:
    """Do what istio-iptables' --run-validation does; a failure ends with status 1."""
    from sidelab.evidence.validate import validate
    from sidelab.lab.client.lab import find

    with find(given.lab) as found:
        pod = found.pod(given.pod)
        checks = validate(found, pod)
    good = all(check.ok for check in checks)
    with reader_may_leave():
        if given.json:
            print_json({"pod": "/".join(pod), "ok": good, "checks": [check._asdict() for check in checks]})
        else:
            for check in checks:
                sys.stdout.write(f"IPv{check.family} {'ok' if check.ok else 'FAILED'}\n")
                for name in ("expected", "seen", "cure"):
                    said = getattr(check, name)
                    sys.stdout.write(f"  {name:9} {said}\n" if said else "")
    leave_as(0 if good else 1)


def _starter() -> str:
    return "you" if os.getuid() else "this machine's root, and its capabilities are the machine's"


def up(given: Given) -> None:
    """Start a lab in the background and wait until every pod is ready."""
    from dataclasses import replace

    from sidelab.cli.registered_kinds import known
    from sidelab.lab.client.lab import background
    from sidelab.lab.manifest.registered import doubts
    from sidelab.lab.plan.blueprint import draw
    from sidelab.lab.standins.standin_images import STANDIN, chosen, programs
    from sidelab.sidecar.istio_images import IMAGES as MESH
    from sidelab.sidecar.pod_rules import warnings

    if not 0 < given.timeout < float("inf"):
        raise InputError(f"up: --timeout {given.timeout:g}: give a number of seconds greater than 0")
    identity.decide(identity.read())
    manifest = _injected(given.manifests, given.rules)
    kinds = known()
    blueprint = draw(manifest, chosen(given.images) + MESH, kinds)
    if given.images != STANDIN:
        caveats = (f"image {image}: {program}" for image, program in programs(given.images).items())
        blueprint = replace(blueprint, caveats=(*blueprint.caveats, *caveats))
    whole = blueprint.manifest
    for warning in (*warnings(whole.pods), *doubts(whole.objects, whole, kinds)):
        sys.stderr.write(f"warning: {warning}\n")
    if given.host_ids:
        sys.stderr.write(f"warning: --host-ids: uid 0 of a container is {_starter()}; trust this manifest\n")

    def report(lab: "Lab") -> None:
        progress.close()
        try:
            _print_status(lab, as_json=given.json)
            sys.stdout.flush()
        except BrokenPipeError:  # its reader has seen enough of a lab that is up
            output.discard()

    with ExitStack() as progress:
        background(
            blueprint,
            given.lab,
            timeout_s=given.timeout,
            progress=progress.enter_context(_progress()),
            exposed=[Path(each).absolute() for each in given.expose],
            host_ids=given.host_ids,
            log_bytes=_bytes_of("--log-max", given.log_max),
            report=report,
        ).close()


def _bytes_of(option: str, text: str | None) -> int | None:
    """Return the bytes that a quantity of Kubernetes' stands for, such as 512Ki or 10M; None for None."""
    if text is None:
        return None
    digits = text.rstrip("KMGik")
    unit = _UNITS.get(text[len(digits) :])
    if not digits.isascii() or not digits.isdigit() or unit is None or len(digits) > 18:
        raise InputError(f"{option} {text!r} is not a valid size: write it as 512Ki, 10Mi or 1G")
    return int(digits) * unit


def _injected(paths: list[str], rules: str | None = None) -> "Manifest":
    from sidelab.cli.registered_kinds import known
    from sidelab.lab.manifest import load
    from sidelab.sidecar.inject import inject, warnings

    manifest = inject(load(paths, known().types), rules)
    for warning in warnings(manifest):
        sys.stderr.write(f"warning: {warning}\n")
    return manifest


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show at a terminal how many pods are ready, for the length of the block; then the line is empty again."""
    shown = ""

    def show(done: int, total: int) -> None:
        nonlocal shown
        shown = f"{done} of {total} pods ready"
        styled(sys.stderr).write(f"\r{shown}")

    def stay_quiet(_done: int, _total: int) -> None: ...

    try:
        yield show if sys.stderr.isatty() else stay_quiet
    finally:
        if shown:
            styled(sys.stderr).write(f"\r{'':{len(shown)}}\r")


def list_(given: Given) -> None:
    """List your labs that are running."""
    from sidelab.lab.client.lab import Lab
    from sidelab.lab.client.lab_names import running

    rows = []
    for name in running():
        try:
            with Lab(name) as lab:
                pods = lab.status()["pods"]
                rows.append({"name": name, "pid": lab.pid, "pods": len(pods), "ready": sum(p["ready"] for p in pods)})
        except SidelabError:
            continue  # it is still starting, or has just ended
    if given.json:
        print_json(rows)
    elif rows:
        print_table(("LAB", "PID", "READY"), [(r["name"], r["pid"], f"{r['ready']}/{r['pods']}") for r in rows])
    else:
        sys.stdout.write("no lab is running: `sidelab up MANIFEST` starts one\n")


def status(given: Given) -> None:
    """Show a lab's pods, their addresses and their containers."""
    from sidelab.lab.client.lab import find

    with find(_which(given), choose="`sidelab status {}`") as found:
        _print_status(found, as_json=given.json)


def _which(given: Given) -> str | None:
    """Return which lab is meant where its name is the whole argument; --lab says it as elsewhere."""
    if given.which is not None and given.lab is not None:
        raise InputError("give the lab's name once, as an argument or with --lab")
    which: str | None = given.lab if given.which is None else given.which
    return which


def _print_status(lab: "Lab", *, as_json: bool) -> None:
    state = {"name": lab.name, "pid": lab.pid, **lab.status()}
    if as_json:
        print_json(state)
        return
    rows = []
    for pod in state["pods"]:
        containers = pod["containers"]
        ready = f"{sum(each['ready'] for each in containers)}/{len(containers)}"
        restarts = sum(each["restarts"] for each in containers)
        reasons = [pod["reason"], *(each["reason"] for each in containers)]
        reason = next(filter(None, reasons), "")
        rows.append((pod["namespace"], pod["name"], ready, pod["phase"], restarts, pod["ipv4"], pod["ipv6"], reason))
    print_table(("NAMESPACE", "POD", "READY", "PHASE", "RESTARTS", "IPV4", "IPV6", ""), rows)
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
    print_table(("NAMESPACE", "SERVICE", "READY", "IPV4", "IPV6", "PORTS"), rows)


def logs(given: Given) -> None:
    """Print a container's log, escaped at a terminal and in CI."""
    from sidelab.lab.client.lab import find
    from sidelab.lab.client.logs import Output, copy

    if given.tail is not None and given.tail < -1:
        raise InputError(f"logs: --tail {given.tail}: give a number of lines; -1 means all")
    tail = None if given.tail == -1 else given.tail
    with find(given.lab) as found:
        output: Output = LogText(sys.stdout) if _is_looked_at() and not given.raw else sys.stdout.buffer
        copy(found, found.pod(given.pod), given.container, output, follow=given.follow, tail=tail)


def _is_looked_at() -> bool:
    """Tell whether standard output is a terminal's, or that of a step of a CI system, which obeys lines of it."""
    in_ci = any(os.environ.get(name) for name in ("CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION"))
    return sys.stdout.isatty() or (in_ci and not stat.S_ISREG(os.fstat(1).st_mode))


def exec_(given: Given) -> None:
    """Run a program of this machine inside a pod, as the container's user, and return its exit status."""
    from sidelab.lab.client.lab import find

    if not given.command:
        raise InputError(
            f"exec: no command given: name what to run in pod {given.pod}, as in `sidelab exec {given.pod} -- ls -l`; "
            f"`sidelab shell {given.pod}` opens a shell"
        )
    terminal = given.tty and sys.stdin.isatty()
    if given.tty and not terminal:
        sys.stderr.write("warning: -t: standard input is not a terminal, so the command gets no terminal\n")
    with find(given.lab) as found:
        pod = found.pod(given.pod)
        if terminal:
            from sidelab.lab.client.attach import attach

            leave_as(attach(found, pod, given.command, given.container))
        leave_as(found.execute(pod, given.command, (0, 1, 2), given.container))


def shell(given: Given) -> None:
    """Open a shell inside a pod, on this terminal."""
    from sidelab.lab.client.attach import attach
    from sidelab.lab.client.lab import find

    if not sys.stdin.isatty():
        raise InputError("standard input is not a terminal: use `sidelab exec POD -- sh` for a script")
    with find(given.lab) as found:
        leave_as(attach(found, found.pod(given.pod), [os.environ.get("SHELL", "/bin/sh")], given.container))


def apply(given: Given) -> None:
    """Change a running lab: Services, labels, and annotations that can change live; other changes are refused."""
    from sidelab.lab.client.lab import find
    from sidelab.lab.client.object_requests import apply as changed
    from sidelab.sidecar.inject import LIVE

    manifest = _injected(given.manifests, given.rules)
    with find(given.lab) as found:
        outcomes, warnings = changed(found, manifest, LIVE, prune=given.prune)
    with reader_may_leave():
        for name, outcome in outcomes:
            sys.stdout.write(f"{name} {outcome}\n")
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    for caveat in manifest.caveats:
        sys.stderr.write(f"note: {caveat}\n")


def down(given: Given) -> None:
    """End a lab, and return when its last process is gone."""
    from sidelab.lab.client.ending import end
    from sidelab.lab.client.lab_names import running

    which = _which(given)
    if given.all and which is not None:
        raise InputError("give either a lab's name or --all, not both")
    if not given.all:
        end(which, choose="`sidelab down {}`, or end all of them with --all")
        return
    status = 0
    for name in running():
        try:
            end(name, seen=True)
        except SidelabError as error:  # the others are to end all the same
            sys.stderr.write(f"sidelab: {error}\n")
            status = max(status, error.exit_status)
    leave_as(status)


def inject(given: Given) -> None:
    """Print a manifest after injection: each pod and Deployment that asks for a sidecar has one."""
    from sidelab.lab.manifest import encode

    sys.stdout.write(encode(_injected(given.manifests)))


_UNITS = {"": 1, "k": 1000, "M": 1000**2, "G": 1000**3, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
_MANIFESTS = Argument("manifests", nargs="+", metavar="MANIFEST", help="YAML files; - is standard input")
_CONTAINER = Argument("--container", "-c", metavar="CONTAINER", help="which container (default: the first)")
_RULES = Argument(
    "--rules",
    metavar="WAY",
    help="nft, iptables or iptables-legacy: how to install rules in pods whose annotations don't say (default: nft)",
)
_IN_POD = (POD, LAB, _CONTAINER)

VERBS = (
    Verb(
        "doctor",
        doctor,
        "sidelab doctor --pod nginx",
        (
            Argument("--pod", "-p", metavar="POD", help="check whether this pod's traffic reaches its proxy"),
            LAB,
            JSON,
        ),
    ),
    Verb(
        "up",
        up,
        "sidelab up examples/nginx-injected.yaml",
        (
            _MANIFESTS,
            Argument(
                "--lab", "-l", "--name", "-n", default="lab", metavar="NAME", help="the lab's name (default: lab)"
            ),
            Argument(
                "--timeout",
                type=float,
                default=60.0,
                metavar="SECONDS",
                help="how long to wait until all pods are ready (default: 60)",
            ),
            Argument(
                "--host-ids",
                action="store_true",
                help="make a container's root you (this machine's root if you are root): for manifests that you trust",
            ),
            _RULES,
            IMAGES,
            Argument(
                "--expose",
                action="append",
                default=[],
                metavar="PATH",
                help="show this file or directory to pods, read-only, as in --expose ~/data (repeatable)",
            ),
            Argument(
                "--log-max",
                metavar="SIZE",
                help="how much of each container's log to keep; the oldest part is dropped (default: 10Mi)",
            ),
            JSON,
        ),
    ),
    Verb("list", list_, "sidelab list --json", (JSON,)),
    Verb("status", status, "sidelab status", (WHICH, LAB, JSON)),
    Verb(
        "logs",
        logs,
        "sidelab logs nginx -c istio-proxy -f",
        (
            *_IN_POD,
            Argument("--follow", "-f", action="store_true", help="keep printing as the container writes"),
            Argument("--tail", type=int, metavar="N", help="only the last N lines (default: all)"),
            Argument(
                "--raw", action="store_true", help="print every byte unchanged, even control characters at a terminal"
            ),
        ),
    ),
    Verb(
        "exec",
        exec_,
        "sidelab exec client -- curl -s http://10.244.0.2/",
        (
            *_IN_POD,
            Argument(
                "--stdin",
                "-i",
                action="store_true",
                help="pass on standard input; always done, accepted for compatibility with kubectl",
            ),
            Argument("--tty", "-t", action="store_true", help="give the command a terminal of its own"),
        ),
        runs_command=True,
    ),
    Verb("shell", shell, "sidelab shell nginx", _IN_POD),
    Verb(
        "apply",
        apply,
        "sidelab apply examples/services.yaml",
        (
            _MANIFESTS,
            LAB,
            Argument("--prune", action="store_true", help="remove Services that the manifests do not mention"),
            _RULES,
        ),
    ),
    Verb(
        "down", down, "sidelab down", (WHICH, LAB, Argument("--all", action="store_true", help="end all of your labs"))
    ),
    Verb("inject", inject, "sidelab inject examples/tutorial.yaml", (_MANIFESTS,)),
)
