"""A pod's own view of the file system: empty /tmp and /run, its own names in /etc, the rest the sandbox's.

Below /run it finds, read-only, what is published about the cluster and about itself. Made only for pods in which
something sees files.
"""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from lab.blueprint import PodPlan
from lab.cluster import files
from lab.cluster.podinfo import PODINFO
from lab.cluster.publish import CLUSTER_DIRECTORY
from lab.cluster.state import STATE
from lab.sandbox import RUN
from lab.syscalls import CLONE_NEWNS, MS_BIND, MS_NODEV, MS_NOSUID, make_read_only, mount, setns, unshare

_TMP_SIZE = "64m"

# File modes let uid 0 write to these without any capability, and what is written there holds for the whole machine.
_KERNEL_SWITCHES = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")

_NSSWITCH = Path("/etc/nsswitch.conf")


class PodMounts:
    """The mount namespaces of a lab's pods, each made when first asked for."""

    def __init__(self, podinfo: Callable[[PodPlan], Path]) -> None:
        """`podinfo` has a pod's file about itself written, and returns the directory that holds it."""
        self._podinfo = podinfo
        self._own = _current()
        self._pods: dict[tuple[str, str], int] = {}

    def descriptor(self, plan: PodPlan) -> int:
        """Return the descriptor of a pod's mount namespace; it stays ours."""
        if plan.key not in self._pods:
            self._pods[plan.key] = self._make(plan)
        return self._pods[plan.key]

    def _make(self, plan: PodPlan) -> int:
        shown = {
            **{f"/etc/{name}": path for name, path in _etc(plan).items()},
            str(Path(STATE).parent): CLUSTER_DIRECTORY,
            str(Path(PODINFO).parent): self._podinfo(plan),
        }
        unshare(CLONE_NEWNS)
        try:
            sources = {target: os.open(path, os.O_PATH | os.O_CLOEXEC) for target, path in shown.items()}
            for target in (Path("/tmp"), Path("/run"), Path("/dev/shm")):
                _cover(target)
            for where, source in sources.items():
                _show(source, Path(where))
                os.close(source)
            for path in _KERNEL_SWITCHES:
                if Path(path).exists():
                    mount(path, path, "", MS_BIND)
                    make_read_only(path)
            return _current()
        finally:
            setns(self._own, CLONE_NEWNS)


def _cover(target: Path) -> None:
    """Mount an empty tmpfs on `target`; only this program and its environment (Envoy's wheel) stay visible below it."""
    ours = (Path(__file__).parents[1], Path(sys.prefix), Path(sys.base_prefix))
    inside = [path for path in ours if path.is_relative_to(target)]
    kept = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in inside}
    mount("tmpfs", str(target), "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={_TMP_SIZE}")
    for path, fd in kept.items():
        path.mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", str(path), "", MS_BIND)
        os.close(fd)


def _etc(plan: PodPlan) -> dict[str, Path]:
    """Write the pod's own files of /etc; return them by name."""
    texts = {
        "hosts": files.hosts(plan.source, plan.address, plan.hostname),
        "resolv.conf": files.resolv_conf(plan.source),
    }
    if _NSSWITCH.exists():
        texts[_NSSWITCH.name] = files.nsswitch_conf(_NSSWITCH.read_text())
    directory = Path(RUN, "etc", *plan.key)
    directory.mkdir(parents=True)
    for name, text in texts.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o644)
    return {name: directory / name for name in texts}


def _show(source: int, target: Path) -> None:
    """Bind what the descriptor `source` stands for to `target`, read-only; below /run the place is made first.

    A file of /etc that the host has not can't be shown: there is no place for it. One that is a link into /run, as
    systemd-resolved's, gets its place there.
    """
    target = target.resolve()
    if target.is_relative_to("/run"):
        target.parent.mkdir(parents=True, exist_ok=True)
        if stat.S_ISDIR(os.fstat(source).st_mode):
            target.mkdir()
        else:
            target.touch()
    if target.exists():
        mount(f"/proc/self/fd/{source}", str(target), "", MS_BIND)
        make_read_only(str(target))


def _current() -> int:
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
