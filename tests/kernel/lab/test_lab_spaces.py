"""What a manifest runs has processes, users and IPC of its own; pods of one lab share none of them."""

import os
import signal
from pathlib import Path

import pytest
from command_line import EXAMPLE, CommandLine, await_true, descendants

from sidelab.lab.client.lab import Lab

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec:
  containers:
    - {name: main, image: any, command: [sh, -c, 'sleep 1000; true'], env: [{name: SECRET, value: ofone}]}
    - {name: beside, image: any, command: [sleep, "1000"]}
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  containers: [{name: main, image: any, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: sharing}
spec:
  shareProcessNamespace: true
  containers:
    - {name: main, image: any, command: [sleep, "1000"]}
    - {name: web, image: nginx}
---
apiVersion: v1
kind: Pod
metadata: {name: standin}
spec:
  containers: [{name: client, image: curl}]
"""


def _said(line: CommandLine, pod: str, script: str, container: str = "") -> str:
    which = ("-c", container) if container else ()
    done = line.run("exec", pod, *which, "--lab", line.name, "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


_NAMES = "for each in /proc/[0-9]*; do tr '\\0' ' ' < $each/cmdline; echo; done"


def _processes(line: CommandLine, pod: str, container: str = "") -> set[str]:
    return {each.strip() for each in _said(line, pod, _NAMES, container).splitlines()} - {"", f"sh -c {_NAMES}", "sh"}


def test_a_container_sees_its_own_processes_alone(shared: CommandLine):
    """Its program is the first of them; what the pod's other containers run is not there."""
    found = {each for each in _processes(shared, "one") if "cmdline" not in each}
    assert {"sh -c sleep 1000; true", "sleep 1000"} == found
    assert "sh -c sleep 1000; true" == _said(shared, "one", "tr '\\0' ' ' < /proc/1/cmdline").strip()


def test_a_pod_that_shares_its_processes_sees_those_of_all_its_containers(shared: CommandLine):
    """The first of them only waits for orphans, and says nothing of who started the lab."""
    assert "pause" == _said(shared, "sharing", "tr -d '\\0' < /proc/1/cmdline", "web").strip()
    assert "sleep 1000" in _processes(shared, "sharing", "web")


def test_a_command_beside_a_stand_in_sees_none_of_the_lab(shared: CommandLine):
    """It has a pid namespace that is made for such commands, and is not the first in it: a signal ends it."""
    assert not {each for each in _processes(shared, "standin") if "cmdline" not in each} - {"pause"}
    assert _said(shared, "standin", "sh -c 'kill -INT $$'; echo $?") == "130\n"


@pytest.mark.parametrize("pod", ["one", "standin"])
def test_nothing_of_the_starters_environment_is_in_a_pod(sidelab: CommandLine, pod: str):
    """A token in the environment of `up` is in that of no process which a container can look at."""
    sidelab.env["OF_CI"] = "of-the-starter"
    assert sidelab.up(sidelab.manifest(MANIFEST)).returncode == 0
    found = _said(sidelab, pod, "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n'")
    assert "PATH=" in found
    assert "of-the-starter" not in found


@pytest.mark.parametrize("line", ["sidelab", "rootless"])
def test_a_containers_root_is_nobody_of_this_machine(line: str, request: pytest.FixtureRequest):
    """Its uid 0 is neither root nor the person who started the lab, which is 0 where the supervisor is."""
    sidelab: CommandLine = request.getfixturevalue(line)
    assert sidelab.up(EXAMPLE).returncode == 0
    inside, outside, count = map(int, _said(sidelab, "client", "cat /proc/self/uid_map").split())
    assert (0, 65535) == (inside, count)
    assert outside > 0


def test_host_ids_have_containers_run_as_who_starts_the_lab(sidelab: CommandLine):
    """That is said, on standard error, before anything is started."""
    done = sidelab.up(EXAMPLE, "--host-ids")
    assert (0, True) == (done.returncode, done.stderr.startswith("warning: --host-ids: uid 0 of a container is "))
    mapped = _said(sidelab, "client", "cat /proc/self/uid_map").split()
    expected = ["0", str(os.getuid())] if os.getuid() else Path("/proc/self/uid_map").read_text().split()
    assert expected == mapped[: len(expected)]


def test_system_v_ipc_is_a_pods_own(shared: CommandLine):
    """A queue that one container makes is there for the pod's other one, and not for another pod."""
    _said(shared, "one", "ipcmk -Q")
    places = (("one", "main"), ("one", "beside"), ("two", "main"))
    found = [bool(_said(shared, pod, "tail -n +2 /proc/sysvipc/msg", container)) for pod, container in places]
    assert [True, True, False] == found


def test_a_program_that_ignores_being_asked_to_end_is_not_waited_for(sidelab: CommandLine):
    """The first process of a pid namespace gets no SIGTERM without a handler: no grace period changes that."""
    text = MANIFEST.replace("spec:\n", "spec:\n  terminationGracePeriodSeconds: 3600\n")
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    assert sidelab.run("down", sidelab.name).returncode == 0


def _named(name: str, line: CommandLine) -> list[int]:
    with Lab(line.name) as lab:
        return [each.pid for each in descendants(lab.pid).values() if each.name == name]


@pytest.mark.parametrize("name", ["sidelab-spaces", "pause"])
def test_what_makes_and_holds_namespaces_is_started_again(sidelab: CommandLine, name: str):
    """Killed, it is there again for the next command that needs it."""
    assert sidelab.up(sidelab.manifest(MANIFEST)).returncode == 0
    assert _said(sidelab, "standin", "echo before") == "before\n"
    before = {*_named("pause", sidelab), *_named(name, sidelab)}
    for pid in _named(name, sidelab):
        os.kill(pid, signal.SIGKILL)
    await_true(lambda: not before & set(descendants()), "pid namespaces end with it")
    assert _said(sidelab, "standin", "echo after") == "after\n"
