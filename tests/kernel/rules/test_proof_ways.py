import os
import socket

import pytest
from command_line import nothing_left
from msgspec import structs
from rules_held import require

from sidelab.bench.arms import pods_of_arms
from sidelab.bench.measure import path_proof
from sidelab.bench.plan import plan
from sidelab.lab.client.lab import Lab
from sidelab.lab.client.starting import foreground
from sidelab.lab.errors import PodError
from sidelab.lab.keys import PodKey
from sidelab.lab.manifest import load
from sidelab.lab.plan.blueprint import draw
from sidelab.lab.standins.standin_images import IMAGES as PLAIN
from sidelab.sidecar.interception.options.options import WAYS, Way
from sidelab.sidecar.istio_images import IMAGES as MESH

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("_subreaper", "_able")]

CONNECTIONS = 3


def ask(lab: Lab, client: PodKey, target: tuple[str, int]) -> bytes:
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
    smoke = plan.load("smoke")
    chosen = structs.replace(
        smoke, arms=tuple(structs.replace(arm, way=way) if arm.has_rules else arm for arm in smoke.arms)
    )
    manifest, pods = pods_of_arms.build(chosen, load([pods_of_arms.default_manifest()]))

    with nothing_left(), foreground(draw(manifest, PLAIN + MESH), f"t{os.getpid()}-proof-{way}") as lab:
        addresses = {(pod["namespace"], pod["name"]): pod["ipv4"] for pod in lab.status()["pods"]}
        at = path_proof.addresses(lab, 4)
        before = {arm.name: path_proof.read(lab, arm, pods[arm.name], None) for arm in chosen.arms}
        answers = {
            ask(lab, ends.client, (addresses[ends.server], ends.port))
            for ends in pods.values()
            for _ in range(CONNECTIONS)
        }
        after = {arm.name: path_proof.read(lab, arm, pods[arm.name], at) for arm in chosen.arms}

    assert {b"HTTP/1.1 200 OK"} == answers
    for arm in chosen.arms:
        path_proof.check(arm, before[arm.name], after[arm.name], path_proof.Opened.exactly(CONNECTIONS))
        if arm.client == "injected" or arm.server != "plain":
            with pytest.raises(PodError, match="did not take its path"):
                path_proof.check(arm, before[arm.name], after[arm.name], path_proof.Opened.exactly(CONNECTIONS + 1))
