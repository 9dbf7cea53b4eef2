"""Two builds as two arms: the builds that `--head` and `--base` name go into the arms `head` and `base`; pure."""

import re
from pathlib import Path

import msgspec

from sidelab.bench.plan.arm import PROXIES, REVISION, Arm
from sidelab.bench.plan.plan import Plan, as_dict, from_dict
from sidelab.lab.errors import InputError

HEAD, BASE = "head", "base"

_FORMS = (
    "the path of a proxy, `bundled`, `git:REVISION` (the bundled proxy of another time), `envoy:VERSION` or "
    "`envoy:/PATH`, `profile:istio` or `profile:classic`"
)


def compare(plan: Plan, head: str, base: str) -> Plan:
    """Return `plan` with its arms `head` and `base` made of these builds; everything else in them stays as it is.

    Raises `InputError` for a plan without such arms and for a build in an unknown form.
    """
    builds = {HEAD: head, BASE: base}
    missing = sorted(builds.keys() - {arm.name for arm in plan.arms})
    if missing:
        raise InputError(
            f"plan {plan.name} has no arm {' and '.join(missing)}, into which --head and --base are put; "
            "take the plan compare, or name two arms so"
        )
    arms = [_built(arm, builds[arm.name]) if arm.name in builds else arm for arm in plan.arms]
    table = as_dict(plan) | {"arms": [msgspec.to_builtins(arm) for arm in arms]}
    # Made as any plan is, so that combinations that do not fit are refused.
    return from_dict(table, f"{plan.name} with --head {head} --base {base}")


def _built(arm: Arm, build: str) -> Arm:
    kind, _, rest = build.partition(":")
    changes: dict[str, str] = {}
    if kind == "envoy" and (not rest or rest.startswith("/") or re.fullmatch(r"\d+\.\d+\.\d+", rest)):
        changes = {"proxy": "envoy", "envoy": rest, "proxy_args": ""}
    elif kind == "profile" and rest in ("istio", "classic"):
        changes = {"profile": rest}
    elif build.startswith(REVISION) or build in PROXIES[1:]:
        changes = {"proxy": build, "envoy": "", "proxy_args": ""}
    elif "/" in build:
        path = Path(build).absolute()
        if not path.is_file():
            raise InputError(f"--{arm.name} {build}: there is no such file; give {_FORMS}")
        changes = {"proxy": str(path), "envoy": ""}
    else:
        raise InputError(f"--{arm.name} {build}: not a build; give {_FORMS}")
    try:
        return msgspec.convert(msgspec.to_builtins(arm) | changes, Arm)
    except msgspec.ValidationError as error:
        raise InputError(f"--{arm.name} {build}: {error}; give {_FORMS}") from None
