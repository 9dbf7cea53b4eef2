"""What a run measures, once decided: the plan, the pods of its arms, the client, and where everything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sidelab.bench.arms.pods_of_arms import ArmPods
from sidelab.bench.base.caveats import Caveat
from sidelab.bench.plan.plan import Plan
from sidelab.lab.manifest import Manifest
from sidelab.lab.plan.blueprint import Blueprint


@dataclass(frozen=True)
class Setup:
    """What all builds of a run have in common."""

    plan: Plan
    seed: int
    client: str
    client_cpu: int
    lab_cpus: frozenset[int]
    manifest: Manifest
    blueprint: Blueprint
    pods: Mapping[str, ArmPods]
    images: Mapping[str, str]
    skipped: Mapping[str, str]
    doubts: Sequence[Caveat]
