from dataclasses import replace

import pytest

from sidelab.lab.base.identity import IdRange, Readings, Root, Subordinate, decide
from sidelab.lab.base.privileges import NEEDED
from sidelab.lab.base.syscalls import CAPABILITIES
from sidelab.lab.errors import MachineError

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
WHOLE = "0 0 4294967295\n"
ROOT = replace(
    USER, uid=0, gid=0, user="root", capabilities=(1 << 41) - 1, uid_map=WHOLE, gid_map=WHOLE, setgroups="allow\n"
)


def test_root_needs_nothing_else():
    """Root with CAP_SYS_ADMIN makes namespaces without a user namespace, whatever else the machine says."""
    bare = replace(ROOT, newuidmap=None, subuid=None, subgid=None, max_user_namespaces="0\n")
    assert decide(bare) == Root()


@pytest.mark.parametrize("name", CAPABILITIES)
def test_of_roots_capabilities_each_is_either_not_needed_or_named(name: str):
    """Without one that a lab needs root is refused, by its name and how to get it; without another nothing changes."""
    readings = replace(ROOT, capabilities=ROOT.capabilities & ~(1 << CAPABILITIES.index(name)))
    if name not in NEEDED:
        assert decide(readings) == Root()
        return
    with pytest.raises(MachineError) as refusal:
        decide(readings)
    assert str(refusal.value).startswith(f"this root lacks CAP_{name}, which is needed {NEEDED[name]}: ")
    assert f"--cap-add {name}`" in str(refusal.value)


def test_a_container_whose_ids_are_mapped_in_pieces_has_them():
    """Rootless podman maps 0 to the user and the rest to its subordinate ids."""
    pieces = "1 100000 65536\n0 1000 1\n"
    assert decide(replace(ROOT, uid_map=pieces, gid_map=pieces)) == Root()


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
        (replace(ROOT, capabilities=0x00000000A80425FB), "lacks CAP_SYS_ADMIN and CAP_NET_ADMIN", "--privileged"),
        (replace(ROOT, uid_map="0 1000 1\n"), "only 1 of the ids", "--map-auto"),
        (replace(ROOT, gid_map="0 0 1000\n1001 1001 90000\n"), "only 1000 of the ids", "--map-auto"),
        (replace(ROOT, setgroups="deny\n"), "forbids setgroups", "--map-auto"),
        (replace(USER, no_new_privileges=True), "no_new_privs is set", "NoNewPrivileges=no"),
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
