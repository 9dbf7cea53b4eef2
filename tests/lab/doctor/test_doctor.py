"""What the doctor concludes from what it reads; what it tries is tried in tests/kernel."""

from dataclasses import replace

import pytest

from sidelab.lab.base.identity import Readings
from sidelab.lab.doctor import doctor
from sidelab.lab.doctor.doctor import Finding
from sidelab.lab.errors import MachineError

ROOT = Readings(0, 0, "root", (1 << 41) - 1, None, None, None, None, "96365\n", None, None)
RANGE = "somebody:100000:65536\n"
USER = Readings(1000, 1000, "somebody", 0, "newuidmap", "newgidmap", RANGE, RANGE, "96365\n", "1\n", "0\n")


def test_who_may_make_a_sandbox():
    """Root may, and a user with subordinate ids; the finding says which."""
    root, user = doctor.judge_identity(ROOT), doctor.judge_identity(USER)
    assert (True, "root, who needs no user namespace") == (root.ok, root.found)
    assert (True, "user somebody with 65536 subordinate ids from 100000") == (user.ok, user.found)


@pytest.mark.parametrize(
    ("readings", "cure"),
    [
        (replace(ROOT, capabilities=0), "--privileged"),
        (replace(USER, newuidmap=None), "apt-get install uidmap"),
        (replace(USER, subuid=""), "usermod --add-subuids"),
        (replace(USER, max_user_namespaces="0\n"), "sysctl user.max_user_namespaces=15000"),
        (replace(USER, apparmor_restricts_userns="1\n"), "sysctl kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_who_may_not_is_told_the_cure(readings: Readings, cure: str):
    """A refusal is needed for the main job, and comes with what to do."""
    found = doctor.judge_identity(readings)
    assert (False, True) == (found.ok, found.needed)
    assert cure in found.cure


@pytest.mark.parametrize(
    ("release", "ok"),
    [("5.11.22", False), ("5.12.0-rc1", True), ("6.18.44-fc", True), ("4.19", False), ("?", False)],
)
def test_the_kernel_must_be_new_enough(release: str, ok: bool):
    """5.12 is the first with mount_setattr's MOUNT_ATTR_RDONLY; an older one has a cure."""
    found = doctor.judge_kernel(release)
    assert (ok, True, not ok) == (found.ok, found.needed, bool(found.cure))


def test_user_namespaces_that_ordinary_users_may_not_make_have_a_switch_as_their_cure():
    """Root may make them all the same."""
    found = [doctor.judge_user_namespaces(replace(USER, uid=uid, apparmor_restricts_userns="1\n")) for uid in (1000, 0)]
    cure = "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    assert [(False, True, cure), (True, True, "")] == [(each.ok, each.needed, each.cure) for each in found]


@pytest.mark.parametrize("uid", [0, 1000])
def test_a_machine_without_user_namespaces_can_have_no_lab(uid: int):
    """The limit of 0 holds for root too, whose pods have users of their own."""
    found = doctor.judge_user_namespaces(replace(USER, uid=uid, max_user_namespaces="0\n"))
    assert (False, True) == (found.ok, found.needed)


def test_one_cpu_is_a_doubt_with_a_cure():
    """Fewer than two CPUs make a no that the main job can live with."""
    one, two = doctor.judge_cpus(1), doctor.judge_cpus(2)
    assert [(False, False, True), (True, False, False)] == [(x.ok, x.needed, bool(x.cure)) for x in (one, two)]


def test_the_least_limit_decides_and_is_named():
    """Of several limits the smallest is told, with where it comes from and what to raise it to."""
    found = doctor.judge_limit("processes", {"pid_max": 32768, "pids.max": 100}, 2100)
    assert Finding("processes", False, "100 (pids.max)", "raise pids.max to 2100 for a lab of 1000 pods") == found
    assert doctor.judge_limit("processes", {}, 2100).ok


def test_a_missing_tool_is_told_with_its_package():
    """No program, or an error that says how to get it: both end in a cure."""

    def fail() -> object:
        raise MachineError("there is no Envoy here: pip install it")

    assert Finding("wrk", False, "not installed", "`sudo apt-get install wrk`, for load") == doctor.tool(
        "wrk", lambda: None, "wrk", "load"
    )
    assert Finding("envoy", False, "there is no Envoy here", "pip install it") == doctor.tool("envoy", fail)
    assert Finding("nft", True, "/usr/sbin/nft") == doctor.tool("nft", lambda: "/usr/sbin/nft")


def test_only_what_the_main_job_needs_decides():
    """A no among optional findings leaves the machine able; one among the needed does not."""
    optional, needed = Finding("netem", False, "", "x"), Finding("veth", False, "", "x", needed=True)
    assert (True, False) == (doctor.works((optional,)), doctor.works((optional, needed)))
