"""Verbs for running labs: list, show, end."""

import sys
from typing import TYPE_CHECKING, Any

from sidelab.cli.command import JSON, LAB, WHICH, Argument, Given, Verb, leave_as, print_json, print_table
from sidelab.lab.errors import InputError, SidelabError

if TYPE_CHECKING:
    from sidelab.lab.client.lab import Lab


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
        print_status(found, as_json=given.json)


def _which(given: Given) -> str | None:
    """Return the name of the lab: the argument, or as in other verbs the value of --lab."""
    if given.which is not None and given.lab is not None:
        raise InputError("give the lab's name once, as an argument or with --lab")
    which: str | None = given.lab if given.which is None else given.which
    return which


def print_status(lab: "Lab", *, as_json: bool) -> None:
    """Print a lab's pods and Services, as tables or as JSON, and its caveats on standard error."""
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
        except SidelabError as error:  # the others must end all the same
            sys.stderr.write(f"sidelab: {error}\n")
            status = max(status, error.exit_status)
    leave_as(status)


VERBS = (
    Verb("list", list_, "sidelab list --json", (JSON,)),
    Verb("status", status, "sidelab status", (WHICH, LAB, JSON)),
    Verb(
        "down", down, "sidelab down", (WHICH, LAB, Argument("--all", action="store_true", help="end all of your labs"))
    ),
)
