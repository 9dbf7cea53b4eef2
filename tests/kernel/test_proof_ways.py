import os
import socket
from dataclasses import replace

import pytest
from command_line import nothing_left
from msgspec import structs
from rules_held import require

from bench import arms, plan, proof
from lab.blueprint import draw
from lab.errors import PodError
from lab.images import IMAGES as PLAIN
from lab.lab import Key, Lab, foreground
from lab.manifest import Pod, load
from sidecar.images import IMAGES as MESH
from sidecar.inject import RULES
from sidecar.rules.options import WAYS, Way

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("_subreaper", "_able")]

CONNECTIONS = 3


def by_way(pod: Pod, way: Way) -> Pod:
    """Return `pod` with the annotation that chooses `way`."""
    metadata = structs.replace(pod.metadata, annotations={**pod.metadata.annotations, RULES: way})
    return structs.replace(pod, metadata=metadata)


def ask(lab: Lab, client: Key, target: tuple[str, int]) -> bytes:
    """Return the start of the answer to one request, on a connection of its own out of the client's pod."""
    with lab.open_socket(client, socket.AF_INET, socket.SOCK_STREAM) as link:
        link.settimeout(5)
        link.connect(target)
        link.sendall(b"GET / HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n")
        return link.recv(15)


@pytest.mark.parametrize("way", WAYS)
def test_an_arm_is_proven_by_whichever_way_its_rules_came(way: Way) -> None:
    """Every arm of a benchmark passes its proof with the connections that were made, and fails it with one more."""
    require(way)
    chosen = plan.load("smoke")
    base = load([arms.default_manifest()])
    manifest, pods = arms.build(chosen, replace(base, pods=tuple(by_way(pod, way) for pod in base.pods)))

    with nothing_left(), foreground(draw(manifest, PLAIN + MESH), f"t{os.getpid()}-proof-{way}") as lab:
        addresses = {(pod["namespace"], pod["name"]): pod["ipv4"] for pod in lab.status()["pods"]}
        before = {arm.name: proof.read(lab, arm, pods[arm.name]) for arm in chosen.arms}
        answers = {
            ask(lab, ends.client, (addresses[ends.server], ends.port))
            for ends in pods.values()
            for _ in range(CONNECTIONS)
        }
        after = {arm.name: proof.read(lab, arm, pods[arm.name]) for arm in chosen.arms}

    assert {b"HTTP/1.1 200 OK"} == answers
    for arm in chosen.arms:
        proof.check(arm, before[arm.name], after[arm.name], CONNECTIONS)
        if arm.client == "injected" or arm.server != "plain":
            with pytest.raises(PodError, match="did not take its path"):
                proof.check(arm, before[arm.name], after[arm.name], CONNECTIONS + 1)
