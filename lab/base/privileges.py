"""Which privileges root needs for a lab, and the refusals that name the one that is missing.

Pure: what this process has is read in `lab.base.identity`, and the kernel's refusals come as `OSError`. A lab does not
need all of root: it runs as well without the capabilities that are not listed here. An ordinary user needs none of
them, because the user namespace of its labs grants all of them. Sources: capabilities(7), user_namespaces(7).
"""

import errno
from collections.abc import Collection

from sidelab.lab.base.syscalls import CAPABILITIES, CLONE_NEWUSER
from sidelab.lab.errors import MachineError, NotPermittedError

NOT_PERMITTED = frozenset({errno.EPERM, errno.EACCES})
FORBIDDEN = (
    "a seccomp filter, AppArmor or SELinux forbids it here: in a container, start that with `--privileged` (or "
    "`--security-opt seccomp=unconfined --security-opt apparmor=unconfined`), or run sidelab outside of it"
)

# By name: what a lab does with it.
NEEDED = {
    "SYS_ADMIN": "to make namespaces and mounts",
    "NET_ADMIN": "to make links, addresses and interception rules",
    "SYS_CHROOT": "to enter the mount namespaces of pods",
    "SETUID": "to run containers as the users that manifests name",
    "SETGID": "to run containers in the groups that manifests name",
    "SETPCAP": "to take from containers what their manifest does not give them",
    "KILL": "to end containers that run as other users",
}

IDS_NEEDED = 65_535  # 0…65534, so that any uid of a manifest up to nobody's exists


def refuse_missing(mask: int, needed: Collection[str] = tuple(NEEDED), purpose: str = "") -> None:
    """Raise `MachineError` naming each of `needed` that is not in `mask` (as CapEff of proc_pid_status(5) has it).

    `purpose` says what they are needed for, where that is not a lab's own.
    """
    missing = [name for name in needed if not mask >> CAPABILITIES.index(name) & 1]
    if not missing:
        return
    names = " and ".join(f"CAP_{name}" for name in missing)
    if len(missing) > 2:
        names = ", ".join(f"CAP_{name}" for name in missing)
    why = purpose or "; ".join(NEEDED[name] for name in missing[:2]) + (" …" if len(missing) > 2 else "")
    options = " ".join(f"--cap-add {name}" for name in missing)
    raise NotPermittedError(
        f"this root lacks {names}, {'which is' if len(missing) == 1 else 'which are'} needed {why}: in a container, "
        f"start that with `{options}` or `--privileged`; elsewhere, use a shell or a service that does not drop it"
    )


def refuse_few_ids(uid_map: str, gid_map: str) -> None:
    """Raise `MachineError` where the user namespace that root is in lacks ids; the texts are those of /proc/self."""
    for name, text in (("uid_map", uid_map), ("gid_map", gid_map)):
        count = _mapped(text)
        if count < IDS_NEEDED:
            raise MachineError(
                f"this root is of a user namespace in which only {count} of the ids 0…{IDS_NEEDED - 1} exist "
                f"(/proc/self/{name}), and pods run as uid 1337 and others: run sidelab outside of it, as root or as "
                "an ordinary user with subordinate ids; or map more (unshare: `--map-root-user --map-auto`; podman, "
                "docker: 65536 subordinate ids for who starts it)"
            )


def refuse_setgroups(setgroups: str | None) -> None:
    """Raise `MachineError` where processes may not give up their groups (/proc/self/setgroups says `deny`)."""
    if setgroups is not None and setgroups.strip() == "deny":
        raise MachineError(
            "this root is of a user namespace that forbids setgroups(2) (/proc/self/setgroups), which every container "
            "needs to leave the groups of its starter: run sidelab outside of it, or have its ids mapped by newgidmap "
            "(unshare: `--map-root-user --map-auto`)"
        )


def refuse_no_new_privileges(tool: str) -> None:
    """Raise `MachineError` for an ordinary user's process that no set-uid program can help any more."""
    raise MachineError(
        f"no_new_privs is set for this process, so {tool}, which is set-uid root, can't map ids for it: start it "
        "without (docker, podman: drop `--security-opt no-new-privileges`; systemd: `NoNewPrivileges=no`), or as root"
    )


def refused_namespaces(error: OSError) -> MachineError:
    """Return what unshare(2)'s refusal means for a process that has the capabilities for it."""
    if error.errno in NOT_PERMITTED:
        chroot = "; in a chroot only root can make them" if f"unshare({CLONE_NEWUSER:#x})" in str(error) else ""
        return NotPermittedError(f"new namespaces are not permitted: {error}: {FORBIDDEN}{chroot}")
    if error.errno in {errno.ENOSPC, errno.EUSERS}:
        return MachineError(
            f"this machine refuses new namespaces: {error}: the limits on them are reached: raise `sysctl "
            "user.max_net_namespaces`, `user.max_mnt_namespaces`, `user.max_pid_namespaces` and their like"
        )
    return MachineError(
        f"this machine refuses new namespaces: {error}: boot a kernel that has all kinds of them (CONFIG_NET_NS, "
        "CONFIG_PID_NS, CONFIG_UTS_NS, CONFIG_IPC_NS, CONFIG_USER_NS)"
    )


def refused_pod_users(error: OSError) -> MachineError:
    """Return what the refusal of a user namespace for pods means to who may make all other namespaces."""
    return MachineError(
        f"pods can't have users of their own: {error}: allow user namespaces (`sudo sysctl "
        "user.max_user_namespaces=15000`), leave the chroot (`systemd-nspawn -D DIR`), or, where you trust the "
        "manifest as yourself, start it with `sidelab up --host-ids`"
    )


def refused_mount(error: OSError) -> MachineError:
    """Return what the refusal of one of the sandbox's mounts means; its text names the call."""
    problem = f"the sandbox's file system can't be made: {error}"
    if error.errno == errno.ENOSYS:
        return MachineError(f"{problem}: boot Linux 5.12 or newer (or a container runtime that knows mount_setattr)")
    if error.errno == errno.EINVAL and "mount(/, " in str(error):
        return MachineError(
            f"{problem}: the root directory is no mount point, as in a chroot: bind-mount it onto itself before the "
            "chroot (`mount --bind DIR DIR`), or use `systemd-nspawn -D DIR`"
        )
    if error.errno in NOT_PERMITTED and "mount(/proc, " in str(error):
        return NotPermittedError(
            f"{problem}: inside a container, /proc must not be masked: start that with `--security-opt "
            "systempaths=unconfined` (podman: `unmask=ALL`) or `--privileged`, or run sidelab outside of it"
        )
    if error.errno in NOT_PERMITTED:
        return NotPermittedError(f"{problem}: {FORBIDDEN}")
    return MachineError(f"{problem}: boot Linux 5.12 or newer, or use the Vagrantfile's machine")


def _mapped(text: str) -> int:
    """Return how many ids from 0 on, up to those needed, a uid_map has: ranges of first, outside, count."""
    ranges = sorted((int(first), int(count)) for first, _, count in (line.split() for line in text.splitlines()))
    end = 0
    for first, count in ranges:
        if first > end:
            break
        end = max(end, first + count)
    return min(end, IDS_NEEDED)
