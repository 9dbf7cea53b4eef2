"""Which program stands for an image in which arm, and which arms this machine cannot run, with the reason.

It looks for programs and kernel features; it starts nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sidelab.bench.arms import explicit_proxy
from sidelab.bench.arms.pods_of_arms import awaited
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Plan
from sidelab.lab.errors import InputError, MachineError
from sidelab.lab.manifest import Container, Manifest, Pod
from sidelab.lab.plan.registry import Program, Registry, Standin
from sidelab.lab.standins import real_nginx, standin_images
from sidelab.sidecar import pod_rules
from sidelab.sidecar.config import contract
from sidelab.sidecar.envoy.find_binary import envoy_version, find_envoy, require_runnable
from sidelab.sidecar.interception.apply import tools
from sidelab.sidecar.istio_images import IMAGES as MESH


def registry(plan: Plan, choice: str) -> Registry:
    """Return the programs of all arms: an arm gets the server that it names, else that of `choice` (`--images`).

    Raises what `lab.standins.standin_images.chosen` raises.
    """
    usual = standin_images.chosen(choice)
    named = {
        arm.name: standin_images.chosen("real" if arm.image == "nginx" else arm.image) for arm in plan.arms if arm.image
    }

    def server(pod: Pod, container: Container) -> Program:
        program = named.get(pod.namespace, usual).program(pod, container)
        if isinstance(program, Standin):
            # Like a real server, on every port that its container names.
            return replace(program, args=tuple(str(each.container_port) for each in container.ports))
        return program

    return Registry((("nginx*", server),)) + usual + explicit_proxy.IMAGES + MESH


def awaiting(plan: Plan, manifest: Manifest, choice: str) -> Manifest:
    """Return `manifest` with a wait for the port of every real server, which has no other ready signal.

    Raises `InputError` if a real server is to serve a page that only the stand-in has.
    """
    usual = standin_images.chosen(choice) is not standin_images.IMAGES
    real_ones = {arm.name for arm in plan.arms if arm.image == "nginx" or (usual and not arm.image)}
    for arm in plan.arms:
        if arm.name in real_ones and plan.path_of(arm).startswith("/size/"):
            raise InputError(
                f"arm {arm.name} asks a real nginx for {plan.path_of(arm)}, and only the stand-in has that page: "
                "leave --images at standin, or ask for /"
            )
    pods = (
        awaited(pod) if pod.namespace in real_ones and pod.spec.containers[0].ports else pod for pod in manifest.pods
    )
    return replace(manifest, pods=tuple(pods))


def versions(plan: Plan, choice: str) -> dict[str, str]:
    """Return the versions to record: of the programs of `choice`, and of those that single arms name."""
    found = standin_images.programs(choice)
    for arm in plan.arms:
        if arm.image:
            found |= {f"{arm.name}: {image}": said for image, said in _named(arm).items()}
    return found


def envoys(plan: Plan) -> dict[str, str]:
    """Return the version of Envoy in each arm that has one."""
    return {arm.name: envoy_version(find_envoy(arm.envoy)) for arm in plan.arms if arm.proxy == "envoy"}


def _named(arm: Arm) -> Mapping[str, str]:
    return standin_images.programs("real" if arm.image == "nginx" else arm.image)


def lacking(plan: Plan, manifest: Manifest) -> dict[str, str]:
    """Return what this machine lacks for arms of `plan`, whose pods are in `manifest`: a sentence by the arm's name.

    This covers programs and address families, before anything is started. The rest only a trial can tell.
    """
    reasons: dict[str, str] = {}
    for arm in plan.arms:
        try:
            _require(arm, [pod for pod in manifest.pods if pod.namespace == arm.name])
        except MachineError as error:
            reasons[arm.name] = str(error)
    return reasons


def _require(arm: Arm, pods: Iterable[Pod]) -> None:
    if arm.image == "nginx":
        real_nginx.find()
    if arm.proxy == "envoy":
        require_runnable(find_envoy(arm.envoy), contract.UID)
    if arm.family == 6 and not Path("/proc/net/if_inet6").exists():
        raise MachineError("this kernel has IPv6 switched off: boot without ipv6.disable=1")
    for pod in pods:
        rules = pod_rules.of_pod(pod)
        if rules is not None and rules.way != "nft":
            tools.require(rules.way, rules.ruleset)
