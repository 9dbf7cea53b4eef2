"""Containers as the manifest asks for them: init containers, readiness, and how a lab that can't get ready says so."""

import json
import os
import signal

import pytest
from command_line import CommandLine, await_true, running_with
from tools import needs

pytestmark = pytest.mark.kernel


def _pod(containers: str, rest: str = "") -> str:
    return f"apiVersion: v1\nkind: Pod\nmetadata: {{name: pod}}\nspec: {{{rest} containers: [{containers}]}}\n"


WEB = "{name: web, image: nginx, ports: [{name: http, containerPort: 80}]}"


def _probed(probe: str) -> str:
    return f"{{name: web, image: nginx, ports: [{{name: http, containerPort: 80}}], readinessProbe: {probe}}}"


def test_init_containers_run_in_order_before_the_others(sidelab: CommandLine):
    """Each ends before the next begins, and the containers begin after the last; all share the pod's /tmp."""
    init = ", ".join(
        f"{{name: i{number}, image: any, command: [sh, -c, 'ls /tmp | wc -l; touch /tmp/{number}']}}"
        for number in range(3)
    )
    main = "{name: main, image: any, command: [sh, -c, 'ls /tmp | wc -l; exec sleep 1000']}"
    assert sidelab.up(sidelab.manifest(_pod(main, f"initContainers: [{init}],"))).returncode == 0
    seen = [
        sidelab.run("logs", "pod", "-c", name, "--lab", sidelab.name).stdout.strip()
        for name in ("i0", "i1", "i2", "main")
    ]
    base = int(seen[0])  # an environment that lies in /tmp shows through
    assert [str(base + number) for number in range(4)] == seen
    states = [(each["state"], each["exit_status"]) for each in sidelab.pod("pod")["init_containers"]]
    assert states == [("terminated", 0)] * 3


def test_a_failing_init_container_fails_the_lab_with_the_end_of_its_log(sidelab: CommandLine):
    """`up` ends with status 5 and shows what the container wrote; later ones don't run."""
    init = "{name: bad, image: any, command: [sh, -c, 'echo the reason; exit 4']}"
    done = sidelab.up(sidelab.manifest(_pod(WEB, f"initContainers: [{init}],")))
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr == (
        "sidelab: pod default/pod: init container bad failed: exit status 4; its log ends:\nthe reason\n"
    )


@pytest.mark.parametrize(
    "probe",
    [
        "{httpGet: {path: /, port: http}}",
        "{httpGet: {path: /size/10, port: 80}, timeoutSeconds: 2}",
        "{tcpSocket: {port: http}}",
        "{exec: {command: [sh, -c, 'test $HOSTNAME = pod']}}",
    ],
)
def test_each_kind_of_probe_makes_a_container_ready(sidelab: CommandLine, probe: str):
    """httpGet, tcpSocket and exec, with ports by name or number."""
    done = sidelab.up(sidelab.manifest(_pod(_probed(probe))))
    assert (done.returncode, done.stderr) == (0, "")
    assert sidelab.pod("pod")["ready"]


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        ("{httpGet: {path: /nothing, port: http}}", "status 404"),
        ("{tcpSocket: {port: 81}}", "Connection refused"),
        ("{exec: {command: ['false']}}", "exit status 1"),
        ("{exec: {command: [no-such-program]}}", "exit status 127"),
        ("{exec: {command: [sleep, '1000']}, timeoutSeconds: 1}", "timed out"),
        ("{httpGet: {path: /, port: http, host: 192.0.2.1}}", "Network is unreachable"),
    ],
)
def test_a_container_that_never_gets_ready_fails_the_lab_with_the_reason(sidelab: CommandLine, probe: str, reason: str):
    """`up --timeout` ends with status 5, naming pod, container and what the probe met."""
    seconds = "4" if reason == "timed out" else "2"
    done = sidelab.up(sidelab.manifest(_pod(_probed(probe))), "--timeout", seconds)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.startswith(
        f"sidelab: not ready within {seconds} s:\npod default/pod: container web: readiness probe"
    )
    assert reason in done.stderr


def test_a_failing_probe_makes_a_container_unready_and_a_passing_one_ready_again(sidelab: CommandLine):
    """Readiness follows the probe while the lab runs; the container is not restarted for it."""
    probe = "{exec: {command: [sh, -c, 'test ! -e /tmp/broken']}, periodSeconds: 1, failureThreshold: 1}"
    assert sidelab.up(sidelab.manifest(_pod(_probed(probe)))).returncode == 0
    assert sidelab.exec("pod", "touch", "/tmp/broken").returncode == 0
    await_true(lambda: not sidelab.pod("pod")["ready"], "it is unready")
    container = sidelab.pod("pod")["containers"][0]
    assert ("running", 0, "readiness probe failed: exit status 1") == tuple(
        container[key] for key in ("state", "restarts", "reason")
    )
    assert sidelab.exec("pod", "rm", "/tmp/broken").returncode == 0
    await_true(lambda: sidelab.pod("pod")["ready"], "it is ready again")


def test_an_unknown_image_starts_nothing(sidelab: CommandLine):
    """It is an input error that lists the known images."""
    done = sidelab.up(sidelab.manifest(_pod("{name: db, image: 'postgres:16'}")))
    assert (done.returncode, done.stdout) == (2, "")
    assert "pod pod: container db: no stand-in for image 'postgres:16'" in done.stderr
    assert "use one of: nginx*, " in done.stderr


def test_a_stand_in_that_crashes_at_its_start_is_told_with_its_log(sidelab: CommandLine):
    """Two nginx containers want port 80: one of them can't have it, and says so."""
    done = sidelab.up(
        sidelab.manifest(_pod(f"{WEB}, {WEB.replace('web', 'twin').replace('name: http, ', '')}")), "--timeout", "3"
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert ": exit status " in done.stderr
    assert "Address already in use" in done.stderr


def test_a_program_that_no_container_made_never_counts_as_ready(sidelab: CommandLine):
    """In the pod's /tmp another container could have put it; if none did, the lab fails in time, with the reason."""
    other = "{name: other, image: any, command: [sleep, '1000']}"
    text = _pod(f"{other}, {{name: main, image: any, command: [/tmp/no/such]}}")
    done = sidelab.up(sidelab.manifest(text), "--timeout", "2")
    assert (done.returncode, done.stdout) == (5, "")
    assert "container main: /tmp/no/such: No such file or directory" in done.stderr


def test_a_pod_that_has_succeeded_counts_as_up(sidelab: CommandLine):
    """With restartPolicy Never or OnFailure a command that ends with 0 is no failure."""
    text = _pod("{name: job, image: any, command: [echo, done]}", "restartPolicy: OnFailure,")
    done = sidelab.up(sidelab.manifest(text), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    await_true(lambda: sidelab.pod("pod")["phase"] == "Succeeded", "it has succeeded")
    assert sidelab.run("logs", "pod", "--lab", sidelab.name).stdout == "done\n"


def test_containers_that_ignore_sigterm_are_killed_after_their_grace(sidelab: CommandLine):
    """`down` waits for the grace period and no longer."""
    text = _pod(
        "{name: deaf, image: any, command: [sh, -c, \"trap '' TERM; while :; do sleep 1000; done\"]}",
        "terminationGracePeriodSeconds: 1,",
    )
    assert sidelab.up(sidelab.manifest(text)).returncode == 0
    done = sidelab.run("down", sidelab.name)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_container_has_started_ends_with_it(sidelab: CommandLine):
    """When its first process dies, the rest of the container is killed before it is restarted: no port stays taken."""
    script = "sleep 4444 & exec sleep 5555"
    assert (
        sidelab.up(sidelab.manifest(_pod(f"{{name: main, image: any, command: [sh, -c, '{script}']}}"))).returncode == 0
    )
    first = await_true(lambda: running_with(b"4444"), "the first child runs")
    [leader] = await_true(lambda: running_with(b"5555"), "the container runs")
    os.kill(leader, signal.SIGKILL)
    await_true(lambda: sidelab.pod("pod")["containers"][0]["restarts"] == 1, "it is restarted")
    await_true(lambda: len(running_with(b"4444")) == 1 and running_with(b"4444") != first, "there is one child again")


@needs("curl")
def test_a_server_of_an_ordinary_uid_may_have_port_80(sidelab: CommandLine):
    """As container runtimes allow it, without any capability."""
    text = _pod("{name: web, image: nginx, securityContext: {runAsUser: 4321}}")
    done = sidelab.up(sidelab.manifest(text), "--json")
    address = json.loads(done.stdout)["pods"][0]["ipv4"]
    assert sidelab.exec(
        "pod", "sh", "-c", f"id -u; curl -s -o /dev/null -w %{{http_code}} http://{address}/"
    ).stdout == ("4321\n200")
