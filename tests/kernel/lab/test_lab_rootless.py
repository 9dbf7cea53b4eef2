"""An ordinary user with a subordinate id range has the same lab, and leaves as little behind."""

import json
import os
import signal

import pytest
from command_line import EXAMPLE, CommandLine, await_true, descendants
from tools import needs

pytestmark = pytest.mark.kernel


@needs("curl")
def test_an_ordinary_user_has_the_whole_lab(rootless: CommandLine):
    """up, a request through the sidecar, its rules with their counters, and down."""
    done = rootless.up(EXAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    address = json.loads(done.stdout)["pods"][0]["ipv4"]
    answer = rootless.exec("client", "curl", "-s", f"http://{address}/whoami")
    assert (answer.returncode, json.loads(answer.stdout)["pod"]) == (0, "nginx")
    rules = rootless.run("rules", "show", "nginx", "--lab", rootless.name)
    assert "Chain ISTIO_IN_REDIRECT" in rules.stdout
    assert rootless.run("down", rootless.name).returncode == 0
    assert not descendants()


def test_the_sidecar_runs_as_its_own_user(rootless: CommandLine):
    """Uid 1337 of the manifest is a subordinate one out here, and neither root nor the user."""
    assert rootless.up(EXAMPLE).returncode == 0
    assert rootless.exec("client", "id", "-u").stdout == "0\n"
    done = rootless.run("exec", "nginx", "-c", "istio-proxy", "--lab", rootless.name, "--", "id", "-u")
    assert done.stdout == "1337\n"
    outside = {os.stat(f"/proc/{pid}").st_uid for pid in descendants()}  # noqa: PTH116  # /proc, not a file
    assert not outside & {0, 1337}


def test_killing_a_rootless_supervisor_removes_the_lab(rootless: CommandLine):
    """Kill -9 of the supervisor takes every process with it, as for root."""
    assert rootless.up(EXAMPLE).returncode == 0
    os.kill(rootless.state()["pid"], signal.SIGKILL)
    await_true(lambda: not descendants(), "every process is gone", 10.0)


def test_another_user_finds_no_lab_of_ours(rootless: CommandLine, sidelab: CommandLine):
    """Users don't see each other's labs, nor clash with their names."""
    if rootless.uid == os.getuid():
        pytest.skip("there is one user only: this is not root")
    assert rootless.up(EXAMPLE).returncode == 0
    assert rootless.name not in sidelab.run("list").stdout
    assert sidelab.run("status", rootless.name).returncode == 2
    assert rootless.run("down", rootless.name).returncode == 0
