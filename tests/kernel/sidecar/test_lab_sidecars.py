"""Native sidecars: init containers that go on running, from before the others start until after they have ended."""

import json
import os
import signal
from typing import Any

import pytest
from command_line import CommandLine, await_true, running_with

pytestmark = pytest.mark.kernel

WAIT = "trap 'exit 0' TERM; while :; do sleep 0.05; done"


def _named(name: str, script: str = WAIT, **rest: Any) -> dict[str, Any]:
    return {"name": name, "image": "any", "command": ["sh", "-c", script], **rest}


def _sidecar(name: str, script: str = WAIT, **rest: Any) -> dict[str, Any]:
    return _named(name, script, restartPolicy="Always", **rest)


def _asks(script: str) -> dict[str, Any]:
    return {"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 1}


def _pod(*containers: dict[str, Any], init: list[dict[str, Any]], **spec: Any) -> str:
    spec = {"initContainers": init, "containers": containers, **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec})


def test_the_next_begins_when_a_sidecar_has_started(sidelab: CommandLine):
    """After its postStart hook and its startup probe; it goes on running beside the others."""
    side = _sidecar(
        "side",
        f"sleep 0.2; echo up >> /tmp/order; {WAIT}",
        startupProbe=_asks("test -e /tmp/order"),
        lifecycle={"postStart": {"exec": {"command": ["touch", "/tmp/hook"]}}},
    )
    init = [side, _named("init", "test -e /tmp/hook && echo init >> /tmp/order")]
    main = _named("main", f"echo main >> /tmp/order; {WAIT}", readinessProbe=_asks("grep main /tmp/order"))
    assert sidelab.up(sidelab.manifest(_pod(main, init=init))).returncode == 0
    assert sidelab.exec("pod", "cat", "/tmp/order").stdout == "up\ninit\nmain\n"
    states = [(each["name"], each["state"], each["ready"]) for each in sidelab.pod("pod")["init_containers"]]
    assert states == [("side", "running", True), ("init", "terminated", False)]


def test_a_sidecar_that_does_not_start_holds_up_the_pod(sidelab: CommandLine):
    """The reason names it, and nothing behind it is started."""
    init = [_sidecar("side", startupProbe={**_asks("exit 3"), "failureThreshold": 100})]
    done = sidelab.up(sidelab.manifest(_pod(_named("main"), init=init)), "--timeout", "2")
    assert (done.returncode, done.stderr) == (
        5,
        "sidelab: not ready within 2 s:\npod default/pod: container side: startup probe failed: exit status 3\n",
    )


def test_a_sidecars_readiness_is_the_pods(sidelab: CommandLine):
    """The pod is unready while its sidecar is."""
    init = [_sidecar("side", readinessProbe={**_asks("test ! -e /tmp/busy"), "failureThreshold": 1})]
    assert sidelab.up(sidelab.manifest(_pod(_named("main"), init=init))).returncode == 0
    assert sidelab.exec("pod", "touch", "/tmp/busy").returncode == 0
    await_true(lambda: not sidelab.pod("pod")["ready"], "it is unready")
    assert sidelab.pod("pod")["containers"][0]["ready"]


def test_a_sidecar_restarts_on_its_own(sidelab: CommandLine):
    """Whatever the pod's policy is; the containers don't notice."""
    init = [_sidecar("side", "exec sleep 6666")]
    text = _pod(_named("main"), init=init, restartPolicy="Never")
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    before = sidelab.pod("pod")
    [victim] = await_true(lambda: running_with(b"6666"), "the sidecar runs")
    os.kill(victim, signal.SIGKILL)
    await_true(lambda: sidelab.pod("pod")["init_containers"][0]["restarts"] == 1, "it is restarted")
    await_true(lambda: sidelab.pod("pod")["ready"], "the pod is ready again")
    after = sidelab.pod("pod")
    assert before["containers"] == after["containers"]


@pytest.mark.parametrize(("status", "phase"), [(0, "Succeeded"), (3, "Failed")])
def test_when_the_containers_have_ended_the_sidecars_are_ended(sidelab: CommandLine, status: int, phase: str):
    """So that a job finishes: programs and stand-ins alike, and their own statuses don't count."""
    init = [
        _sidecar("side", "trap 'exit 9' TERM; while :; do sleep 0.05; done"),
        {"name": "client", "image": "curl", "restartPolicy": "Always"},
    ]
    main = _named("main", f"until test -e /tmp/done; do sleep 0.02; done; exit {status}")
    assert sidelab.up(sidelab.manifest(_pod(main, init=init, restartPolicy="Never"))).returncode == 0
    assert sidelab.exec("pod", "touch", "/tmp/done").returncode == 0
    await_true(lambda: sidelab.pod("pod")["phase"] == phase, f"the pod has {phase}")
    ended = [(each["state"], each["exit_status"], each["pid"]) for each in sidelab.pod("pod")["init_containers"]]
    assert ended == [("terminated", 9, 0), ("terminated", 0, 0)]


def test_sidecars_end_after_the_containers_and_the_last_first(sidelab: CommandLine):
    """At `down` each writes its name when it is asked; the first sidecar waits until a witness has read them."""

    def ending(name: str, rest: str = "") -> str:
        return f"trap 'echo {name} >> /tmp/order; {rest} exit 0' TERM; while :; do sleep 0.05; done"

    init = [
        _sidecar("one", ending("one", "until test -e /tmp/seen; do sleep 0.02; done;")),
        _sidecar("two", ending("two", "sleep 0.2;")),
    ]
    text = _pod(_named("main", ending("main", "sleep 0.2;")), init=init)
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    script = "touch /tmp/here; until grep -qs one /tmp/order; do sleep 0.02; done; cat /tmp/order; touch /tmp/seen"
    witness = sidelab.start("exec", "pod", "-c", "one", "--lab", sidelab.name, "--", "sh", "-c", script)
    assert sidelab.exec("pod", "sh", "-c", "until test -e /tmp/here; do sleep 0.02; done").returncode == 0
    assert sidelab.run("down", sidelab.name).returncode == 0
    output, _ = witness.communicate(timeout=20)
    sidelab.started.remove(witness)
    assert output == "main\ntwo\none\n"


def test_a_deployment_comes_up_as_its_pods(sidelab: CommandLine):
    """Numbered from 1, each with an address of its own."""
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    text = json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec})
    done = sidelab.up(sidelab.manifest(text), "--json")
    pods = json.loads(done.stdout)["pods"]
    assert [("web-1", True), ("web-2", True), ("web-3", True)] == [(each["name"], each["ready"]) for each in pods]
    assert len({each["ipv4"] for each in pods}) == 3
