"""Whether this machine can run labs, and whether a pod's traffic reaches its proxy."""

import sys

from sidelab.cli.command import JSON, LAB, Argument, Given, Verb, leave_as, print_json, reader_may_leave
from sidelab.lab.errors import InputError


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
)
