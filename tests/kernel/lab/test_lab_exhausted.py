"""Labs on a machine that runs out of descriptors, processes or room: they refuse to start, or go on."""

import contextlib
import os
import signal
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import CommandLine, await_true, descendants
from tools import tool

from sidelab.lab.client.lab import Lab
from sidelab.lab.client.lab_names import addresses
from sidelab.lab.client.logs import Reader
from sidelab.lab.sandbox.sandbox import RUN

pytestmark = pytest.mark.kernel

SERVICE = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: nginx
    readinessProbe: {exec: {command: [test, "!", -e, /tmp/down]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec: {containers: [{name: web, image: nginx}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""

CRASHES = """
apiVersion: v1
kind: Pod
metadata: {name: tool}
spec:
  containers: [{name: main, image: any, command: [sleep, "1000"]}]
"""


def limited(line: CommandLine, limit: str) -> CommandLine:
    """Return `line` with what it starts under a limit, such as `nofile=90` (prlimit(1))."""
    return replace(line, prefix=(*line.prefix, tool("prlimit"), f"--{limit}", "--"))


def supervisor(line: CommandLine) -> int:
    """Return the supervisor's pid."""
    with Lab(line.name) as lab:
        return lab.pid


def pods_with_commands(count: int) -> str:
    """Return a manifest of pods that each see files."""
    return "---".join(CRASHES.replace("name: tool", f"name: p{number}") for number in range(count))


@pytest.mark.parametrize("limit", [80, 170, 240])
def test_too_few_files_for_the_pods_are_told_before_anything_starts(sidelab: CommandLine, limit: int):
    """The guard counts what pods really take: status 3 and the cure, never a bug."""
    done = limited(sidelab, f"nofile={limit}").up(sidelab.manifest(pods_with_commands(100)))
    assert (3, "") == (done.returncode, done.stdout)
    assert f"open files and the hard limit is {limit}: raise it" in done.stderr
    assert "Traceback" not in done.stderr


def test_as_many_files_as_the_guard_asks_for_are_enough(sidelab: CommandLine):
    """It does not promise too much."""
    manifest = sidelab.manifest(pods_with_commands(20))
    refused = limited(sidelab, "nofile=70").up(manifest).stderr
    needed = int(refused.partition("this lab needs ")[2].split()[0])
    done = limited(sidelab, f"nofile={needed}").up(manifest)
    assert (0, "") == (done.returncode, done.stderr)
    assert 0 == sidelab.exec("p7", "true").returncode


def test_silent_connections_hold_up_neither_commands_nor_restarts(sidelab: CommandLine):
    """A user's hundreds of idle connections are closed for others, and containers are restarted meanwhile."""
    assert 0 == limited(sidelab, "nofile=90").up(sidelab.manifest(CRASHES)).returncode
    pid = supervisor(sidelab)
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            link = stack.enter_context(socket.socket(socket.AF_UNIX))
            link.connect(addresses(sidelab.name)[0])
        os.kill(_inside(pid, b"sleep"), signal.SIGKILL)
        await_true(lambda: sidelab.pod("tool")["containers"][0]["restarts"] == 1, "it is restarted")
        assert 0 == sidelab.exec("tool", "true").returncode
        assert len(list(Path(f"/proc/{pid}/fd").iterdir())) < 90
    assert 0 == sidelab.run("down", sidelab.name).returncode


def _inside(pid: int, name: bytes) -> int:
    """Return the pid, as it is here, of the program called `name` of the lab whose supervisor is `pid`."""
    for found in descendants(pid):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{found}/cmdline").read_bytes().startswith(name + b"\0"):
                return found
    pytest.fail(f"no {name!r} runs there")


def test_without_a_free_descriptor_a_restart_waits_and_the_lab_goes_on(sidelab: CommandLine):
    """The container that can't be started says why, commands wait, and with room again all is well."""
    assert 0 == sidelab.up(sidelab.manifest(CRASHES)).returncode
    pid = supervisor(sidelab)
    program = _inside(pid, b"sleep")
    used = max(int(each.name) for each in Path(f"/proc/{pid}/fd").iterdir()) + 1
    with Lab(sidelab.name) as lab:
        _limit_files(pid, used + 1)
        os.kill(program, signal.SIGKILL)
        await_true(lambda: "can't be started" in lab.status()["pods"][0]["containers"][0]["last_reason"], "it says so")
        assert lab.status()["pods"][0]["containers"][0]["state"] == "waiting"
        waiting = sidelab.start("exec", "tool", "--lab", sidelab.name, "--", "true")
        _limit_files(pid, 1024)
        waiting.communicate(timeout=60)
        assert waiting.returncode in (0, 3)
        assert any("can't be started: Too many open files" in each for each in lab.status()["caveats"])
    assert 0 == sidelab.exec("tool", "true").returncode


def _limit_files(pid: int, most: int) -> None:
    import resource  # noqa: PLC0415  # of this test alone

    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, 4096))


def test_where_no_process_can_be_forked_a_lab_is_refused(rootless: CommandLine):
    """At whichever of its processes the limit is met: status 3 with the cure, nothing left, and no bug."""
    if os.getuid():
        pytest.skip("the limit counts all processes of a user, and this one has others")
    manifest = str(Path(__file__).parents[3] / "examples" / "services.yaml")
    statuses = set()
    for most in (2, 3, 4, 5, 6, 7):
        done = limited(rootless, f"nproc={most}").up(manifest, "--timeout", "10")
        statuses.add(done.returncode)
        assert "Traceback" not in done.stderr
        assert "forked" in done.stderr, done.stderr
    assert {3} == statuses


@pytest.fixture
def full(sidelab: CommandLine) -> CommandLine:
    """Return a lab with a Service in which there is no room for another file."""
    if os.getuid():
        pytest.skip("only root may write to the file system that the supervisor alone sees")
    assert 0 == sidelab.up(sidelab.manifest(SERVICE)).returncode
    with _filler(sidelab).open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 20)):
            pass
    return sidelab


def _filler(line: CommandLine) -> Path:
    return Path("/proc", str(supervisor(line)), f"root{RUN}", "filler")


def _ready(line: CommandLine) -> list[bool]:
    return [each["ready"] for each in line.state()["services"][0]["endpoints"]]


def test_a_full_file_system_delays_what_is_published_and_ends_nothing(full: CommandLine):
    """A pod's readiness is published once there is room; until then `status` says what is wrong."""
    assert 0 == full.exec("web", "touch", "/tmp/down").returncode
    await_true(lambda: any("is tried again: No space left" in each for each in full.state()["caveats"]), "it is told")
    assert [True] == _ready(full)
    _filler(full).unlink()
    await_true(lambda: _ready(full) == [False], "it is published")


def test_a_change_without_room_is_refused_whole(full: CommandLine):
    """`apply` ends with 3, and the node's rules, Services and labels are as before; with room it is carried out."""
    before = full.state()["services"]
    changed = full.manifest(SERVICE.replace("port: 80", "port: 81"))
    refused = full.run("apply", changed, "--lab", full.name)
    assert (3, "") == (refused.returncode, refused.stdout)
    assert "No space left on device" in refused.stderr
    assert before == full.state()["services"]
    _filler(full).unlink()
    assert 0 == full.run("apply", changed, "--lab", full.name).returncode
    assert 81 == full.state()["services"][0]["ports"][0]["port"]


def test_a_program_that_finds_no_room_can_be_run_once_there_is_some(full: CommandLine):
    """What a pod is first shown of its files is made again where an attempt has failed."""
    assert 3 == full.exec("plain", "true").returncode
    _filler(full).unlink()
    assert 0 == full.exec("plain", "true").returncode


def test_a_log_that_is_full_concerns_its_writer_alone(sidelab: CommandLine):
    """Its writer fails until the oldest part is freed, and writes on; `status` says that lines are missing."""
    script = "head -c 30M /dev/zero; until echo && echo last words; do sleep 0.01; done; sleep 1000"
    manifest = SERVICE + "---" + CRASHES.replace('[sleep, "1000"]', f'[sh, -c, "{script}"]')
    assert 0 == sidelab.up(sidelab.manifest(manifest), "--log-max", "128Ki").returncode
    await_true(lambda: _last_line(sidelab) == "last words\n", "it writes on")
    lost = [each for each in sidelab.state()["caveats"] if "lines are missing" in each]
    assert ["pod default/tool: container main wrote more at once"] == [each.partition(" than")[0] for each in lost]


def _last_line(line: CommandLine) -> str:
    return line.run("logs", "tool", "--lab", line.name, "--tail", "1").stdout


def test_a_log_is_read_on_while_it_loses_its_front(sidelab: CommandLine):
    """`logs --follow` from the beginning misses no line of a container that writes ten times what is kept."""
    script = "for i in $(seq 20000); do until printf '%063d\\n' $i; do sleep 0.01; done; done; sleep 1000"
    assert (
        0
        == sidelab.up(
            sidelab.manifest(CRASHES.replace('[sleep, "1000"]', f'[sh, -c, "{script}"]')), "--log-max", "128Ki"
        ).returncode
    )
    with Lab(sidelab.name) as lab:
        log = lab.log(("default", "tool"))
        reader, found = Reader(log), bytearray()

        def whole() -> bool:
            found.extend(b"".join(reader.news()))
            return found.endswith(b"%063d\n" % 20000)

        await_true(whole, "the last line")
        os.close(log)
    assert list(range(1, 20001)) == [int(line) for line in found.splitlines()]


def test_a_container_may_open_its_output_again(sidelab: CommandLine):
    """/dev/stdout and /dev/stderr can be appended to by the container's user, as programs with log files there do."""
    script = "echo one; echo two >> /dev/stdout; echo three >> /dev/stderr; sleep 1000"
    manifest = CRASHES.replace('[sleep, "1000"]', f'[sh, -c, "{script}"]').replace(
        "{name: main", "{name: main, securityContext: {runAsUser: 1234}"
    )
    assert 0 == sidelab.up(sidelab.manifest(manifest)).returncode
    await_true(lambda: _last_line(sidelab) == "three\n", "the last line")
    assert "one\ntwo\nthree\n" == sidelab.run("logs", "tool", "--lab", sidelab.name).stdout


def test_a_report_that_is_longer_than_a_message_is_told_whole_at_both_ends(sidelab: CommandLine):
    """A pod whose containers fail with much to say ends `up` with status 5, and not as a bug."""
    failing = (
        "- {name: c%d, image: any, command: [sh, -c, \"head -c 4000 /dev/zero | tr '\\\\0' '\\\\033'; exit 1\"]}\n  "
    )
    containers = "".join(failing % number for number in range(40))
    # All forty may run for a moment before the first one fails: one more is never ready.
    containers += (
        "- {name: never, image: any, command: [sleep, '1000'], readinessProbe: {exec: {command: ['false']}}}\n"
    )
    manifest = CRASHES.partition("  containers")[0] + "  containers:\n  " + containers
    done = sidelab.up(sidelab.manifest(manifest), "--timeout", "10")
    assert (5, False) == (done.returncode, "Traceback" in done.stderr)
    assert "container c0" in done.stderr
    assert "container c39" in done.stderr
