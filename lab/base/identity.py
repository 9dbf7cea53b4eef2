"""Who we are on this machine, and whether that is enough to make namespaces: root, or a user with subordinate ids.

The decision is a pure function of `Readings`, so that every refusal can be tested without the machine that causes it.
"""

import os
import pwd
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from sidelab.lab.base import privileges
from sidelab.lab.errors import MachineError

IDS_NEEDED = privileges.IDS_NEEDED  # 1…65535 inside, so that any uid of a manifest up to nobody's exists


@dataclass(frozen=True)
class IdRange:
    """Subordinate ids: `count` of them from `start`, as a line of /etc/subuid gives them."""

    start: int
    count: int


@dataclass(frozen=True)
class Readings:
    """What the machine says, each as read; `None` where the file does not exist.

    `capabilities` are the effective ones, as a mask; `uid_map`, `gid_map` and `setgroups` are files of /proc/self.
    """

    uid: int
    gid: int
    user: str
    capabilities: int
    newuidmap: str | None
    newgidmap: str | None
    subuid: str | None
    subgid: str | None
    max_user_namespaces: str | None
    unprivileged_userns_clone: str | None
    apparmor_restricts_userns: str | None
    no_new_privileges: bool = False
    uid_map: str | None = None
    gid_map: str | None = None
    setgroups: str | None = None


@dataclass(frozen=True)
class Root:
    """Root with the capabilities that a lab needs (`lab.base.privileges`): no user namespace is needed."""


@dataclass(frozen=True)
class Subordinate:
    """An ordinary user: a user namespace in which 0 is this user and 1… are the subordinate ids."""

    uid: int
    gid: int
    uids: IdRange
    gids: IdRange


Identity = Root | Subordinate


def read() -> Readings:
    """Read this machine and this process."""
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return Readings(
        uid=uid,
        gid=os.getgid(),
        user=user,
        capabilities=int(status["CapEff"], 16),
        newuidmap=shutil.which("newuidmap"),
        newgidmap=shutil.which("newgidmap"),
        subuid=_text("/etc/subuid"),
        subgid=_text("/etc/subgid"),
        max_user_namespaces=_text("/proc/sys/user/max_user_namespaces"),
        unprivileged_userns_clone=_text("/proc/sys/kernel/unprivileged_userns_clone"),
        apparmor_restricts_userns=_text("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
        no_new_privileges=status.get("NoNewPrivs", "0").strip() == "1",
        uid_map=_text("/proc/self/uid_map"),
        gid_map=_text("/proc/self/gid_map"),
        setgroups=_text("/proc/self/setgroups"),
    )


def decide(readings: Readings) -> Identity:
    """Return how a sandbox can be made here.

    Raises `MachineError` with the reason and its cure where it can't.
    """
    if readings.uid == 0:
        privileges.refuse_missing(readings.capabilities)
        if readings.uid_map is not None and readings.gid_map is not None:  # else the kernel has no user namespaces
            privileges.refuse_few_ids(readings.uid_map, readings.gid_map)
        privileges.refuse_setgroups(readings.setgroups)
        return Root()
    _refuse_disabled(readings)
    for tool in (readings.newuidmap, readings.newgidmap):
        if tool is None:
            raise MachineError(
                "newuidmap and newgidmap are not installed, and an ordinary user's lab needs them to map uid 1337: "
                "`sudo apt-get install uidmap` (Fedora: shadow-utils), or run as root"
            )
    if readings.no_new_privileges:
        privileges.refuse_no_new_privileges("newuidmap")
    return Subordinate(
        uid=readings.uid,
        gid=readings.gid,
        uids=_range(readings.subuid, "/etc/subuid", readings),
        gids=_range(readings.subgid, "/etc/subgid", readings),
    )


def require(names: Collection[str], purpose: str) -> None:
    """Raise `MachineError` where this process is root and lacks one of these capabilities (names without CAP_).

    An ordinary user has all of them in the user namespace of its labs. `purpose` completes "needed …".
    """
    readings = read()
    if readings.uid == 0:
        privileges.refuse_missing(readings.capabilities, names, purpose)


def apparmor_refusal() -> MachineError:
    """Return the error for a user namespace that AppArmor has emptied of capabilities (Ubuntu 23.10 and later)."""
    return MachineError(
        "AppArmor forbids unprivileged user namespaces here (kernel.apparmor_restrict_unprivileged_userns=1): "
        "`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`, or run as root"
    )


def _refuse_disabled(readings: Readings) -> None:
    if readings.max_user_namespaces is not None and int(readings.max_user_namespaces) == 0:
        raise MachineError(
            "user namespaces are switched off (user.max_user_namespaces=0): "
            "`sudo sysctl user.max_user_namespaces=15000`, or run as root"
        )
    if readings.unprivileged_userns_clone is not None and int(readings.unprivileged_userns_clone) == 0:
        raise MachineError(
            "user namespaces are switched off for ordinary users (kernel.unprivileged_userns_clone=0): "
            "`sudo sysctl kernel.unprivileged_userns_clone=1`, or run as root"
        )
    if readings.apparmor_restricts_userns is not None and int(readings.apparmor_restricts_userns) == 1:
        raise apparmor_refusal()


def _range(text: str | None, path: str, readings: Readings) -> IdRange:
    """Return the first range of /etc/subuid or /etc/subgid (subuid(5)) that is this user's and large enough."""
    for line in (text or "").splitlines():
        owner, _, rest = line.partition(":")
        start, _, count = rest.partition(":")
        if owner in (readings.user, str(readings.uid)) and start.isdigit() and count.strip().isdigit():
            found = IdRange(int(start), int(count))
            if found.count >= IDS_NEEDED:
                return found
    option = "--add-subuids" if path.endswith("subuid") else "--add-subgids"
    raise MachineError(
        f"{path} gives user {readings.user} no range of {IDS_NEEDED} ids, and pods need uid 1337 and others: "
        f"`sudo usermod {option} 100000-165535 {readings.user}` (a range that no other user has), or run as root"
    )


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text()
    except OSError:
        return None
