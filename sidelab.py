"""The command line: a table of verbs, each a thin call into a package.

Imports happen inside the verbs, because `up` has 0.3 s for everything and `bench` needs half of that for pandas alone.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lab.errors import InputError, SidelabError

if TYPE_CHECKING:
    from lab.lab import Lab
    from lab.manifest import Manifest
    from lab.program import Registry

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A service-mesh interception lab on one machine: how traffic gets into the sidecar, and what that costs.\n\n"
    "Example: sidelab up examples/nginx-injected.yaml",
)
rules_app = typer.Typer(no_args_is_help=True, help="The interception rules: as text, or as the kernel has them.")
app.add_typer(rules_app, name="rules")

Manifests = Annotated[list[str], typer.Argument(metavar="MANIFEST…", help="YAML files; - is standard input.")]
LabName = Annotated[str | None, typer.Option("--lab", "-l", metavar="LAB", help="Which lab, where several run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PodName = Annotated[str, typer.Argument(metavar="POD", help="A pod: NAME or NAMESPACE/NAME.")]
ContainerName = Annotated[
    str | None, typer.Option("--container", "-c", metavar="NAME", help="Which container; the first by default.")
]


def _registry() -> "Registry":
    from lab.images import IMAGES as PLAIN
    from sidecar.images import IMAGES as MESH

    return PLAIN + MESH


def _load(paths: list[str]) -> "Manifest":
    from lab.manifest import load
    from sidecar.inject import inject

    return inject(load(paths))


@app.command()
def up(
    manifests: Manifests,
    name: Annotated[str, typer.Option("--name", "-n", metavar="LAB", help="What to call the lab.")] = "lab",
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long all pods may take to be ready.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Start a lab in the background and wait until every pod is ready.

    Example: sidelab up examples/nginx-injected.yaml
    """
    from lab.blueprint import draw
    from lab.lab import background

    blueprint = draw(_load(manifests), _registry())
    with background(blueprint, name, timeout_s=timeout, progress=_progress) as lab:
        _print_status(lab, as_json=as_json)


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        ending = "\n" if done == total else ""
        sys.stderr.write(f"\r{done} of {total} pods ready{ending}")
        sys.stderr.flush()


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List your labs that are running.

    Example: sidelab list --json
    """
    from lab.lab import Lab, running

    rows = []
    for name in running():
        try:
            with Lab(name) as lab:
                pods = lab.status()["pods"]
                rows.append({"name": name, "pid": lab.pid, "pods": len(pods), "ready": sum(p["ready"] for p in pods)})
        except SidelabError:
            continue  # it is still starting, or has just ended
    if as_json:
        _print_json(rows)
    elif rows:
        _print_table(("LAB", "PID", "READY"), [(r["name"], r["pid"], f"{r['ready']}/{r['pods']}") for r in rows])
    else:
        sys.stdout.write("no lab is running: `sidelab up MANIFEST` starts one\n")


@app.command()
def status(lab: Annotated[str | None, typer.Argument(metavar="[LAB]")] = None, as_json: AsJson = False) -> None:
    """Show a lab's pods, their addresses and their containers.

    Example: sidelab status
    """
    from lab.lab import find

    with find(lab) as found:
        _print_status(found, as_json=as_json)


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
        rows.append(
            (
                pod["namespace"],
                pod["name"],
                ready,
                pod["phase"],
                restarts,
                pod["ipv4"],
                pod["ipv6"],
                next(filter(None, reasons), ""),
            )
        )
    _print_table(("NAMESPACE", "POD", "READY", "PHASE", "RESTARTS", "IPV4", "IPV6", ""), rows)
    for caveat in state["caveats"]:
        sys.stderr.write(f"note: {caveat}\n")


@app.command()
def logs(
    pod: PodName,
    lab: LabName = None,
    container: ContainerName = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as the container writes.")] = False,
) -> None:
    """Print what a container has written.

    Example: sidelab logs nginx -c istio-proxy -f
    """
    from lab.lab import find
    from lab.logs import copy

    with find(lab) as found:
        copy(found, found.pod(pod), container, sys.stdout.buffer, follow=follow)


@app.command("exec")
def exec_(
    pod: PodName,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND…")],
    lab: LabName = None,
    container: ContainerName = None,
) -> None:
    """Run a program of this machine inside a pod, as the container's user; its exit status is ours.

    Example: sidelab exec client -- curl -s http://10.244.0.2/
    """
    from lab.lab import find

    with find(lab) as found:
        _leave_as(found.execute(found.pod(pod), command, (0, 1, 2), container))


@app.command()
def shell(pod: PodName, lab: LabName = None, container: ContainerName = None) -> None:
    """Open a shell inside a pod, at this terminal.

    Example: sidelab shell nginx
    """
    from lab.attach import attach
    from lab.lab import find

    if not sys.stdin.isatty():
        raise InputError("standard input is no terminal: use `sidelab exec POD -- sh` for a script")
    with find(lab) as found:
        _leave_as(attach(found, found.pod(pod), [os.environ.get("SHELL", "/bin/sh")], container))


def _leave_as(status: int) -> NoReturn:
    raise typer.Exit(128 - status if status < 0 else status)


@app.command()
def apply(manifests: Manifests, lab: LabName = None) -> None:
    """Change a running lab; not possible yet.

    Example: sidelab apply examples/nginx.yaml
    """
    from lab.lab import find

    _load(manifests)
    with find(lab) as found:
        raise InputError(f"a running lab can't be changed yet: `sidelab down {found.name}`, then `sidelab up` again")


@app.command()
def down(
    lab: Annotated[str | None, typer.Argument(metavar="[LAB]")] = None,
    every: Annotated[bool, typer.Option("--all", help="End all of your labs.")] = False,
) -> None:
    """End a lab; returns when its last process is gone.

    Example: sidelab down
    """
    from lab.lab import find, running

    if every and lab is not None:
        raise InputError("give either a lab's name or --all, not both")
    for name in running() if every else [lab]:
        find(name).stop()


@app.command()
def inject(manifests: Manifests) -> None:
    """Print a manifest as the sidecar injector would make it; every pod that is not opted out gets a sidecar.

    Example: sidelab inject examples/nginx-injected.yaml
    """
    from lab.manifest import encode

    sys.stdout.write(encode(_load(manifests)))


@rules_app.command("show")
def rules_show(
    pod: PodName,
    lab: LabName = None,
    table: Annotated[str, typer.Option("--table", "-t", help="nat, mangle or raw.")] = "nat",
    numeric: Annotated[bool, typer.Option("--numeric", "-n", help="Addresses and ports as numbers.")] = False,
    ipv6: Annotated[bool, typer.Option("--ipv6", "-6", help="What applies to IPv6.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a pod's rules as the kernel has them, with what each has counted, in the form of `iptables -t nat -L -v`.

    Example: sidelab rules show nginx
    """
    import socket

    from lab.lab import find
    from lab.nftables import NETLINK_NETFILTER
    from sidecar.rules import kernel, listing

    with find(lab) as found:
        link = found.open_socket(found.pod(pod), socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with link:
        tables = kernel.counters(link)
    family: Any = 6 if ipv6 else 4
    if as_json:
        _print_json(listing.data(tables, family))
        return
    text = listing.listing(tables, table, family, numeric=numeric)
    sys.stdout.write(text or f"pod {pod} has no rules in table {table}\n")


@rules_app.command(
    "render",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": ["--help"]},
)
def rules_render(
    context: typer.Context,
    form: Annotated[str, typer.Option(metavar="FORM", help="iptables, ip6tables, nft or table.")] = "iptables",
) -> None:
    """Print the rules that istio-iptables' flags stand for; looks at nothing on this machine.

    Example: sidelab rules render -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -b '*' -d 15090,15021,15020 --form table
    """
    from sidecar.rules import Options, build, render

    options = Options.from_args(context.args, os.environ)
    for warning in options.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(render(build(options), form))


@app.command()
def bench(
    plan: Annotated[
        str, typer.Argument(metavar="[PLAN]", help="The name of a shipped plan, or a TOML file.")
    ] = "overhead",
    results: Annotated[Path, typer.Option(metavar="DIR", help="Where the run's directory is made.")] = Path("results"),
    seed: Annotated[int | None, typer.Option(help="Repeat the order of another run.")] = None,
    client: Annotated[str, typer.Option(metavar="CLIENT", help="own, or curl (libcurl, a cross-check).")] = "own",
) -> None:
    """Measure what interception costs: every arm at once, request by request in random order.

    Example: sidelab bench smoke
    """
    from bench.run import run

    run(plan, results=results, seed=seed, client=client)


@app.command()
def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="A directory under results/.")]) -> None:
    """Draw a run's summary and figures again, from its files alone.

    Example: sidelab report results/reference
    """
    from bench.report import report as redraw

    for path in redraw(run).paths:
        sys.stdout.write(f"{path}\n")


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
        app()
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
