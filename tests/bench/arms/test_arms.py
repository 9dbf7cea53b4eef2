from typing import Any

import pytest

from sidelab.bench.arms import pods_of_arms
from sidelab.bench.arms.pods_of_arms import ArmTarget
from sidelab.bench.plan import plan as plans
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Manifest, Pod, load
from sidelab.sidecar import pod_rules

BASE = load([pods_of_arms.default_manifest()])
TCP: dict[str, Any] = {"server": "injected", "proxy": "bundled", "protocol": "tcp"}


def built(programs: dict[str, str] | None = None, **arm: Any) -> tuple[Pod, Pod, pods_of_arms.ArmPods]:
    """Build a plan whose third arm is `arm`, and return that one's server, client and keys."""
    names = [{"name": "direct"}, {"name": "direct-twin"}]
    plan = plans.from_dict({"name": "p", "arms": [*names, {"name": "arm", **arm}]}, "here")
    manifest, pods = pods_of_arms.build(plan, BASE, programs)
    by_key = {pod.key: pod for pod in manifest.pods}
    return by_key[pods["arm"].server], by_key[pods["arm"].client], pods["arm"]


def test_arms_differ_in_nothing_but_their_arm():
    """The pods of a twin are the reference's in another namespace, and none has a probe of the application."""
    plan = plans.load("smoke")
    manifest, pods = pods_of_arms.build(plan, BASE)
    assert 2 * len(plan.arms) == len(manifest.pods)
    first, twin = (next(pod for pod in manifest.pods if pod.key == pods[name].server) for name in ("direct", plan.twin))
    assert first.spec == twin.spec
    assert {()} == {
        tuple(each.probes) for pod in manifest.pods for each in pod.spec.containers if each.name != "istio-proxy"
    }


@pytest.mark.parametrize(
    ("arm", "server", "client"),
    [
        ({"server": "rules-only"}, "-d 15090,15021,80,15020", None),
        ({"client": "rules-only"}, None, "-o 80"),
        ({"server": "redirected"}, "-m REDIRECT", None),
        ({**TCP, "rules": "tproxy"}, "-m TPROXY", None),
        ({**TCP, "client": "injected", "rules": "tproxy"}, "-m TPROXY", "-m REDIRECT"),
        ({**TCP, "profile": "classic"}, "--profile classic", None),
        ({**TCP, "family": 6}, "--enable-ipv6", None),
        ({**TCP, "extra_rules": 2}, "-d 15090,15021,20000,20001,15020", None),
        (
            {**TCP, "server": "plain", "client": "injected", "extra_rules": 2},
            None,
            "-x 198.18.0.0/32,198.18.0.1/32",
        ),
    ],
)
def test_rules_are_what_the_arm_says(arm: dict[str, Any], server: str | None, client: str | None):
    """Each side's istio-iptables is told what the arm says of it, and a side without rules has none."""
    found = [pod_rules.of_pod(pod) for pod in built(**arm)[:2]]
    for rules, wanted in zip(found, (server, client), strict=True):
        assert (wanted is None) == (rules is None)
        assert rules is None or wanted in " ".join(rules.arguments)


def test_the_way_is_the_arms():
    """Rules come in by the way that the arm names."""
    rules = pod_rules.of_pod(built(**TCP, way="iptables-legacy")[0])
    assert "iptables-legacy" == (rules and rules.way)


def test_a_redirected_server_listens_where_connections_arrive():
    """Without a proxy, what the rules redirect arrives at a second port of the server's own container."""
    (container,) = built(server="redirected")[0].spec.containers
    assert [80, 15006] == [port.container_port for port in container.ports]


def test_an_explicit_proxy_is_dialled_at_its_own_port():
    """An explicit proxy stands in a pod without rules, and the client asks its port, not the application's."""
    server, _, pods = built(**{**TCP, "server": "explicit"})
    assert () == server.spec.init_containers
    assert ["sidelab/explicit-proxy"] == [each.image for each in server.spec.containers[1:]]
    assert 15006 == pods.port


def test_a_revisions_proxy_is_a_program():
    """An arm with another revision's proxy runs the program that was made of it."""
    server = built({"git:main": "/var/tmp/x/sidelab-proxy"}, **{**TCP, "proxy": "git:main"})[0]
    assert "/var/tmp/x/sidelab-proxy" == server.metadata.annotations["sidelab.io/proxy"]


def test_targets():
    """A client asks its own server, at the address of the arm's family, for the arm's path or the plan's."""
    arm = {"name": "six", "family": 6, "path": "/size/9"}
    plan = plans.from_dict({"name": "p", "arms": [{"name": "direct"}, {"name": "direct-twin"}, arm]}, "here")
    _, pods = pods_of_arms.build(plan, BASE)
    status = {
        "pods": [
            {"namespace": space, "name": name, "ipv4": f"10.0.0.{number}", "ipv6": f"fd00::{number}"}
            for number, (space, name) in enumerate(key for each in pods.values() for key in (each.client, each.server))
        ]
    }
    found = pods_of_arms.targets(plan, pods, status)
    assert ArmTarget("10.0.0.1", 80, "/") == found["direct"]
    assert "http://[fd00::5]:80/size/9" == found["six"].url


def test_two_servers_are_no_benchmark():
    """A manifest without exactly one server and one client is refused."""
    server = next(pod for pod in BASE.pods if pod.spec.containers[0].ports)
    with pytest.raises(InputError, match=r"one server .* and one client"):
        pods_of_arms.build(plans.load("smoke"), Manifest(pods=(server,)))
