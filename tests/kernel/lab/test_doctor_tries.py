"""`sidelab doctor`: what the machine can do is tried in a sandbox that leaves nothing behind."""

import json
from typing import Any

import pytest
from command_line import CommandLine
from tools import tool

pytestmark = pytest.mark.kernel


def findings(line: CommandLine) -> tuple[int, dict[str, Any]]:
    """Return the exit status, and the findings by name."""
    done = line.run("doctor", "--json")
    told = json.loads(done.stdout)
    assert told["ok"] == (done.returncode == 0), done.stderr
    return done.returncode, {each["name"]: each for each in told["findings"]}


def test_where_labs_work_the_doctor_says_so(sidelab: CommandLine):
    """Where these tests can run at all, everything that the main job needs is a yes, and the status is 0."""
    status, found = findings(sidelab)
    needed = {name for name, each in found.items() if each["needed"]}
    assert {"sandbox", "mount_setattr", "IPv6", "pod network", "nftables", "nft redirect", "nft owner"} <= needed
    assert (0, []) == (status, [name for name in needed if not found[name]["ok"]])


def test_every_no_has_its_cure(sidelab: CommandLine):
    """Whatever is missing here is told together with what to do about it."""
    _, found = findings(sidelab)
    assert [] == [name for name, each in found.items() if bool(each["cure"]) == each["ok"]]


def test_an_ordinary_user_is_examined_as_such(rootless: CommandLine):
    """With subordinate ids the same is found to work, inside a user namespace."""
    status, found = findings(rootless)
    assert (0, True) == (status, found["identity"]["found"].startswith("user "))
    assert found["nft redirect"]["ok"]


def test_a_root_of_one_id_alone_is_told_so(sidelab: CommandLine):
    """Root in a user namespace that maps only itself can run no process of uid 1337, and nothing else is tried."""
    sidelab.prefix = (tool("unshare"), "--user", "--map-root-user")
    done = sidelab.run("doctor", "--json")
    if done.stderr.startswith("unshare"):
        pytest.skip(done.stderr)
    found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert (3, False, True) == (done.returncode, found["identity"]["ok"], "sandbox" not in found)
    assert "only 1 of the ids 0…65534 exist (/proc/self/uid_map)" in found["identity"]["found"]


def test_without_namespaces_the_sandbox_is_the_no(rootless: CommandLine):
    """Where the kernel refuses another network namespace, nothing inside is tried, and the reason is told."""
    limit = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$0" "$@"'
    rootless.prefix += (tool("unshare"), "--user", "--map-root-user", "--map-auto", "sh", "-c", limit)
    done = rootless.run("doctor", "--json")
    if done.stderr.startswith("unshare"):  # --map-auto came with util-linux 2.38
        pytest.skip(done.stderr)
    found = {each["name"]: each for each in json.loads(done.stdout)["findings"]}
    assert (3, False, True) == (done.returncode, found["sandbox"]["ok"], "nftables" not in found)
    assert "user.max_net_namespaces" in found["sandbox"]["cure"]
    assert "raise user.max_net_namespaces to 1001 for a lab of 1000 pods" == found["namespaces"]["cure"]


def test_the_text_has_a_line_for_each_finding(sidelab: CommandLine):
    """Yes or no, the name and what was found; the last line is the answer."""
    lines = sidelab.run("doctor").stdout.splitlines()
    assert lines[0].split()[:2] == ["yes", "identity"]
    assert "labs and their rules work here" == lines[-1]


def test_a_lab_without_a_pod_is_refused(sidelab: CommandLine):
    """--lab means nothing to the machine's examination."""
    done = sidelab.run("doctor", "--lab", "x")
    assert (2, "sidelab: doctor: --lab needs a pod: name it with --pod\n") == (
        done.returncode,
        done.stderr,
    )
