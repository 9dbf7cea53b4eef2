from dataclasses import replace

import pytest

from lab.errors import MachineError
from lab.identity import IdRange, Readings, Root, Subordinate, decide

USER = Readings(
    uid=1000,
    gid=1001,
    user="anna",
    capabilities=0,
    newuidmap="/usr/bin/newuidmap",
    newgidmap="/usr/bin/newgidmap",
    subuid="bert:100000:65536\nanna:165536:65536\n",
    subgid="1000:265536:65536\n",
    max_user_namespaces="96365\n",
    unprivileged_userns_clone=None,
    apparmor_restricts_userns=None,
)
ROOT = replace(USER, uid=0, gid=0, user="root", capabilities=(1 << 41) - 1)


def test_root_needs_nothing_else():
    """Root with CAP_SYS_ADMIN makes namespaces without a user namespace, whatever else the machine says."""
    bare = replace(ROOT, newuidmap=None, subuid=None, subgid=None, max_user_namespaces="0\n")
    assert decide(bare) == Root()


def test_a_user_takes_the_ranges_that_are_theirs():
    """Lines name their owner by name or number; the first that is large enough counts."""
    assert decide(USER) == Subordinate(1000, 1001, IdRange(165536, 65536), IdRange(265536, 65536))


def test_a_range_that_is_too_small_is_passed_over():
    """A later line may be large enough."""
    text = "anna:1000:100\nanna:nonsense\nanna:x:y\n\nanna:400000:65535\n"
    assert decide(replace(USER, subuid=text)) == Subordinate(1000, 1001, IdRange(400000, 65535), IdRange(265536, 65536))


@pytest.mark.parametrize(
    ("readings", "reason", "cure"),
    [
        (replace(ROOT, capabilities=0x00000000A80425FB), "this root has no CAP_SYS_ADMIN", "--privileged"),
        (replace(USER, newuidmap=None), "newuidmap and newgidmap are not installed", "apt-get install uidmap"),
        (replace(USER, newgidmap=None), "newuidmap and newgidmap are not installed", "apt-get install uidmap"),
        (replace(USER, subuid=None), "/etc/subuid gives user anna no range", "usermod --add-subuids"),
        (replace(USER, subuid="bert:100000:65536\n"), "/etc/subuid gives user anna no range", "usermod --add-subuids"),
        (replace(USER, subgid=""), "/etc/subgid gives user anna no range", "usermod --add-subgids"),
        (replace(USER, subgid="anna:1:100\n"), "/etc/subgid gives user anna no range", "usermod --add-subgids"),
        (replace(USER, max_user_namespaces="0\n"), "user.max_user_namespaces=0", "sysctl user.max_user_namespaces="),
        (replace(USER, unprivileged_userns_clone="0\n"), "unprivileged_userns_clone=0", "unprivileged_userns_clone=1"),
        (replace(USER, apparmor_restricts_userns="1\n"), "AppArmor forbids", "restrict_unprivileged_userns=0"),
    ],
)
def test_each_refusal_has_its_reason_and_its_cure(readings: Readings, reason: str, cure: str):
    """What this machine can't do is exit status 3, with the way out in the same message."""
    with pytest.raises(MachineError) as refusal:
        decide(readings)
    assert refusal.value.exit_status == 3
    assert reason in str(refusal.value)
    assert cure in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_switches_that_allow_refuse_nothing():
    """The same files with the other value are no reason to refuse."""
    allowed = replace(USER, unprivileged_userns_clone="1\n", apparmor_restricts_userns="0\n")
    assert decide(allowed) == decide(USER)
