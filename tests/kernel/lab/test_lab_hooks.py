"""Lifecycle hooks: postStart before the next container, preStop before SIGTERM, and what their failure means."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from command_line import CommandLine, await_true

pytestmark = pytest.mark.kernel

WAIT = "trap 'touch /tmp/termed; exit 0' TERM; while :; do sleep 0.05; done"
# It returns when a witness has seen that it runs.
SEEN = "touch /tmp/stopping; until test -e /tmp/seen; do sleep 0.02; done"
WITNESS = "touch /tmp/here; until test -e /tmp/stopping; do sleep 0.02; done; ls /tmp/termed 2>&1; touch /tmp/seen"


def _sh(script: str) -> dict[str, Any]:
    return {"exec": {"command": ["sh", "-c", script]}}


def _named(name: str, script: str = WAIT, **rest: Any) -> dict[str, Any]:
    return {"name": name, "image": "any", "command": ["sh", "-c", script], **rest}


def _pod(*containers: dict[str, Any], **spec: Any) -> str:
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": {"containers": containers, **spec}}
    )


def test_the_next_container_waits_for_the_post_start_hook(sidelab: CommandLine):
    """What holdApplicationUntilProxyStarts relies on: the hook has returned when the next program begins."""
    first = _named("first", lifecycle={"postStart": _sh("sleep 0.3; echo hook >> /tmp/order")})
    text = _pod(first, _named("second", f"echo second >> /tmp/order; {WAIT}"))
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    assert sidelab.exec("pod", "sh", "-c", "until test $(wc -l < /tmp/order) = 2; do sleep 0.02; done").returncode == 0
    assert sidelab.exec("pod", "cat", "/tmp/order").stdout == "hook\nsecond\n"


def test_a_container_is_not_ready_before_its_post_start_hook_has_returned(sidelab: CommandLine):
    """A lab that waits for one says so when its time is over."""
    text = _pod(_named("main", lifecycle={"postStart": {"sleep": {"seconds": 100}}}))
    done = sidelab.up(sidelab.manifest(text), "--timeout", "2")
    assert "container main: its postStart hook has not returned yet" in done.stderr


def test_a_post_start_hook_that_fails_ends_the_container_and_not_the_pod(sidelab: CommandLine):
    """It is killed and restarted by policy; the next container starts nevertheless, as on a node."""
    script = "test -e /tmp/again || { touch /tmp/again; exit 3; }; until test -e /tmp/second; do sleep 0.02; done"
    first = _named("first", lifecycle={"postStart": _sh(script)})
    assert sidelab.up(sidelab.manifest(_pod(first, _named("second", f"touch /tmp/second; {WAIT}")))).returncode == 0
    container = sidelab.pod("pod")["containers"][0]
    assert container["restarts"] == 1
    assert container["last_reason"] == "postStart hook failed: exit status 3; exit status 0"


def test_a_hook_over_http_goes_to_the_pod(sidelab: CommandLine):
    """Its status does not matter: the kubelet looks at none either."""
    server = {
        "name": "server",
        "image": "any",
        "command": [sys.executable, "-u", "-m", "http.server", "8000"],
        "workingDir": "/tmp",
        "restartPolicy": "Always",
        "startupProbe": {"tcpSocket": {"port": 8000}},
    }
    main = _named("main", lifecycle={"postStart": {"httpGet": {"port": 8000, "path": "/no-such-file"}}})
    assert sidelab.up(sidelab.manifest(_pod(main, initContainers=[server]))).returncode == 0
    log = sidelab.run("logs", "pod", "-c", "server", "--lab", sidelab.name).stdout
    assert "10.244.0.1 - - [" in log
    assert '"GET /no-such-file HTTP/1.1" 404' in log


def _witnessed(line: CommandLine, end: Callable[[], None]) -> str:
    """Watch from inside the pod while it is ended; return what the witness saw of SIGTERM meanwhile."""
    witness = line.start("exec", "pod", "--lab", line.name, "--", "sh", "-c", WITNESS)
    assert line.exec("pod", "sh", "-c", "until test -e /tmp/here; do sleep 0.02; done").returncode == 0
    end()
    output, _ = witness.communicate(timeout=20)
    line.started.remove(witness)
    return output


def test_a_pre_stop_hook_runs_before_a_program_is_asked_to_end(sidelab: CommandLine):
    """At `down` the hook has its time, and SIGTERM comes after it."""
    text = _pod(_named("main", lifecycle={"preStop": _sh(SEEN)}))
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    down: list[int] = []
    seen = _witnessed(sidelab, lambda: down.append(sidelab.run("down", sidelab.name).returncode))
    assert "No such file" in seen
    assert down == [0]


def test_a_stand_ins_pre_stop_hook_runs_too(sidelab: CommandLine):
    """Nothing else is asked of a stand-in at `down`."""
    text = _pod({"name": "web", "image": "nginx", "lifecycle": {"preStop": _sh(SEEN)}})
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    assert "No such file" in _witnessed(sidelab, lambda: sidelab.run("down", sidelab.name) and None)


@pytest.mark.parametrize("hook", [{"sleep": {"seconds": 1}}, _sh("sleep 1000"), _sh("exit 1")])
def test_no_pre_stop_hook_keeps_a_lab_longer_than_its_grace(sidelab: CommandLine, hook: dict[str, Any]):
    """A hook that takes too long, or fails, is left behind."""
    text = _pod(_named("main", lifecycle={"preStop": hook}), terminationGracePeriodSeconds=1)
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    assert sidelab.run("down", sidelab.name).returncode == 0


def test_a_pre_stop_hook_runs_before_a_restart(sidelab: CommandLine):
    """A container that is not alive any more is told before it is asked."""
    script = "trap 'echo termed; exit 0' TERM; while :; do sleep 0.05; done"
    probe = {**_sh("if test -e /tmp/sick; then rm /tmp/sick; exit 1; fi"), "periodSeconds": 1, "failureThreshold": 1}
    text = _pod(_named("main", script, livenessProbe=probe, lifecycle={"preStop": _sh("echo hook")}))
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    assert sidelab.exec("pod", "touch", "/tmp/sick").returncode == 0
    await_true(lambda: sidelab.pod("pod")["containers"][0]["restarts"] == 1, "it is restarted")
    words = sidelab.run("logs", "pod", "--lab", sidelab.name).stdout.split()
    assert [word for word in words if word in ("hook", "termed")] == ["hook", "termed"]  # shells have more to say


def test_a_hook_by_tcp_is_refused_before_anything_starts(sidelab: CommandLine):
    """Kubernetes accepts it, and every node fails it."""
    done = sidelab.up(sidelab.manifest(_pod(_named("main", lifecycle={"preStop": {"tcpSocket": {"port": 80}}}))))
    assert done.returncode == 2
    assert done.stderr.startswith(
        "sidelab: pod pod: container main: lifecycle.preStop.tcpSocket: Kubernetes accepts it"
    )
