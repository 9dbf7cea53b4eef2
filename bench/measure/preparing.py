"""Everything that the builds of a run have in common, checked and decided before anything is measured.

It starts a trial lab only where the kernel alone can tell whether an arm runs here, and nothing else.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from sidelab.bench.arms import feasible, pods_of_arms
from sidelab.bench.base.caveats import Caveat
from sidelab.bench.measure import awake
from sidelab.bench.measure.beds.bed import Bed
from sidelab.bench.measure.beds.this_machine import HERE
from sidelab.bench.measure.setup import Setup
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record import environment
from sidelab.lab.base import identity
from sidelab.lab.errors import InputError, MachineError
from sidelab.lab.manifest import load
from sidelab.lab.plan import needs
from sidelab.lab.plan.blueprint import Blueprint, draw

CLIENTS = ("own", "curl", "polling")

_NO_WRK = "wrk is not here: `apt install wrk`"
_INSIST = "provide it, or give --require-all to insist"


def prepare(
    asked: Plan,
    *,
    seed: int | None,
    client: str,
    images: str = "standin",
    manifest: Path | None = None,
    proxies: Mapping[str, str] | None = None,
    require_all: bool = False,
    bed: Bed = HERE,
) -> Setup:
    """Check and decide everything that a run needs; `proxies` are those of git revisions (`revisions.extracted`).

    Arms that this machine can't run are left out, and `skipped` says why; without wrk loads are left out, and `doubts`
    says so. Raises `InputError`; `MachineError` for an arm or a load that is missing and required, for a
    missing reference or twin, and for CPUs that can't be kept awake.
    """
    _require(asked, client)
    asked, doubts = _without_missing_wrk(asked, require_all=require_all)
    client_cpu, lab_cpus = asked.placement.resolve(frozenset(os.sched_getaffinity(0)))
    base = load([manifest or pods_of_arms.default_manifest()])
    skipped: dict[str, str] = {}
    while True:
        every_arm, pods = pods_of_arms.build(asked, base, proxies)
        missing = feasible.lacking(asked, every_arm)
        if not missing:
            every_arm = feasible.awaiting(asked, every_arm, images)
            blueprint = draw(every_arm, feasible.registry(asked, images))
            needs.require(blueprint)
            missing = _refused(asked, blueprint, lab_cpus, bed)
        if not missing:
            break
        skipped |= missing
        asked = _without(asked, missing, require_all=require_all)
    return Setup(
        plan=asked,
        seed=_first_given(seed, asked.seed),
        client=client,
        client_cpu=client_cpu,
        lab_cpus=lab_cpus,
        manifest=every_arm,
        blueprint=blueprint,
        pods=pods,
        images=feasible.versions(asked, images),
        skipped=skipped,
        doubts=doubts,
    )


def _require(asked: Plan, client: str) -> None:
    """Refuse an unknown client, and a plan that needs more than this process may do."""
    if client not in CLIENTS:
        raise InputError(f"--client {client}: there are {', '.join(CLIENTS)}")
    if asked.idle_connections:
        identity.require(("SYS_PTRACE",), "to read how much memory proxies hold (/proc/PID/smaps_rollup)")
    if asked.placement.awake and (hindrance := awake.hindrance()):
        raise MachineError(f"plan {asked.name} keeps the CPUs awake, and can't here: {hindrance}")


def _without_missing_wrk(asked: Plan, *, require_all: bool) -> tuple[Plan, tuple[Caveat, ...]]:
    """Return the plan, without its loads if wrk is missing, and the doubt that says so."""
    if not asked.loads or shutil.which("wrk") is not None:
        return asked, ()
    if require_all:
        raise MachineError(f"plan {asked.name} puts a load on its arms with wrk: {_NO_WRK}")
    return asked.without_loads(), (Caveat(f"the loads of the plan were left out: {_NO_WRK}", _INSIST),)


def _without(asked: Plan, missing: Mapping[str, str], *, require_all: bool) -> Plan:
    if require_all:
        name, reason = next(iter(missing.items()))
        raise MachineError(f"arm {name} can't run here: {reason} (without --require-all it would be left out)")
    for name in (asked.reference, asked.twin):
        if name in missing:
            raise MachineError(f"arm {name}, which all others are held against, can't run here: {missing[name]}")
    return asked.without(missing)


def require_question(asked: Plan, setup: Setup) -> None:
    """Raise `MachineError` if missing arms leave no ratio of the plan; if it has none, no term; if neither, no arm.

    `setup` is the result of preparing `asked`.
    """
    possible = asked.without(setup.skipped)
    question: Sequence[str]
    left: Sequence[object]
    if asked.ratios:
        question, left = [f"{each.arm} with {each.against}" for each in asked.ratios], possible.ratios
    elif asked.terms:
        question, left = [each.name for each in asked.terms], possible.terms
    else:
        held = {asked.reference, asked.twin}
        question, left = ([each.name for each in plan.arms if each.name not in held] for plan in (asked, possible))
    if question and not left:
        compared = ", ".join(dict.fromkeys(question))
        name, reason = next(iter(setup.skipped.items()))
        raise MachineError(
            f"plan {asked.name} asks for {compared}, and can't have any of it: arm {name} can't run here: {reason}"
        )


def _refused(asked: Plan, blueprint: Blueprint, cpus: frozenset[int], bed: Bed) -> dict[str, str]:
    """Try which arms' pods the bed refuses, and return those arms, each with its reason.

    Only plans that need more than the usual rules are tried, each arm alone; any other failure shows while measuring.
    """
    reasons = {}
    for arm in asked.arms:
        if arm.has_rules and (arm.rules, arm.way, arm.family) != ("redirect", "nft", 4):
            pods = tuple(pod for pod in blueprint.pods if pod.key[0] == arm.name)
            reason = bed.refusal(replace(blueprint, pods=pods), cpus)
            if reason:
                reasons[arm.name] = reason
    return reasons


def _first_given(*seeds: int | None) -> int:
    return next((seed for seed in seeds if seed is not None), secrets.randbelow(1 << 32))


def facts(setup: Setup, machine: environment.Environment) -> dict[str, Any]:
    """Return what run.json says about the machine, the placement and the rules."""
    caveats = [*environment.caveats(machine), *_placement_caveats(setup), *setup.doubts]
    caveats += [Caveat(f"arm {name} was left out: {reason}", _INSIST) for name, reason in setup.skipped.items()]
    caveats += [Caveat(each, "see the manifest") for each in setup.manifest.caveats]
    return {
        "environment": msgspec.to_builtins(machine),
        "placement": {
            "client_cpu": setup.client_cpu,
            "lab_cpus": sorted(setup.lab_cpus),
            "awake": setup.plan.placement.awake,
        },
        "client": setup.client,
        "client_digest": client_digest(),
        "images": dict(setup.images),
        "versions": machine.packages,
        "envoys": feasible.envoys(setup.plan),
        "rule_sets": pods_of_arms.rule_digests(setup.manifest),
        "arms": {arm.name: arm.describe() for arm in setup.plan.arms},
        "skipped": dict(setup.skipped),
        "caveats": [msgspec.to_builtins(each) for each in caveats],
    }


def client_digest() -> str:
    """Identify the code that timestamps the requests (sha256, hex): times of different clients are not comparable."""
    here = Path(__file__).parents[1] / "clients"
    digest = hashlib.sha256()
    for name in ("client.py", "curl.py", "client_process.py", "polling_client.py"):
        digest.update((here / name).read_bytes())
    return digest.hexdigest()


def _placement_caveats(setup: Setup) -> Iterator[Caveat]:
    if setup.client_cpu in setup.lab_cpus:
        yield Caveat("client and lab share their only CPU", "use a machine with two or more")
