"""A pod's own view of the file system: empty /tmp and /run, its own hosts and resolv.conf, the rest the sandbox's.

Made only for pods in which a program of the host runs; the stand-ins touch no file.
"""

import os
import sys
from pathlib import Path

from lab.sandbox import RUN
from lab.syscalls import CLONE_NEWNS, MS_BIND, MS_NODEV, MS_NOSUID, make_read_only, mount, setns, unshare
from lab.topology import PodAddress

_TMP_SIZE = "64m"

# File modes let uid 0 write to these without any capability, and what is written there holds for the whole machine.
_KERNEL_SWITCHES = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs")

_RESOLV_CONF = "# This lab has no name server yet: use addresses.\n"


class PodMounts:
    """The mount namespaces of a lab's pods, each made when first asked for."""

    def __init__(self) -> None:
        self._own = _current()
        self._pods: dict[tuple[str, str], int] = {}

    def descriptor(self, address: PodAddress, hostname: str) -> int:
        """Return the descriptor of a pod's mount namespace; it stays ours."""
        if address.key not in self._pods:
            self._pods[address.key] = self._make(address, hostname)
        return self._pods[address.key]

    def _make(self, address: PodAddress, hostname: str) -> int:
        files = Path(RUN, "etc", *address.key)
        files.mkdir(parents=True)
        (files / "hosts").write_text(_hosts(address, hostname))
        (files / "resolv.conf").write_text(_RESOLV_CONF)
        unshare(CLONE_NEWNS)
        try:
            for name in ("hosts", "resolv.conf"):
                target = Path("/etc", name)
                if target.exists():  # a link into /run dangles here, and then there is nothing to hide
                    mount(str(files / name), str(target.resolve()), "", MS_BIND)
            for target in (Path("/tmp"), Path("/run"), Path("/dev/shm")):
                _cover(target)
            for path in _KERNEL_SWITCHES:
                if Path(path).exists():
                    mount(path, path, "", MS_BIND)
                    make_read_only(path)
            return _current()
        finally:
            setns(self._own, CLONE_NEWNS)


def _cover(target: Path) -> None:
    """Mount an empty tmpfs on `target`; only our own environment (Envoy's wheel is in it) stays visible below it."""
    inside = [path for path in (Path(sys.prefix), Path(sys.base_prefix)) if path.is_relative_to(target)]
    kept = {path: os.open(path, os.O_PATH | os.O_CLOEXEC) for path in inside}
    mount("tmpfs", str(target), "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={_TMP_SIZE}")
    for path, fd in kept.items():
        path.mkdir(parents=True, exist_ok=True)
        mount(f"/proc/self/fd/{fd}", str(path), "", MS_BIND)
        os.close(fd)


def _hosts(address: PodAddress, hostname: str) -> str:
    return (
        "127.0.0.1\tlocalhost\n"
        "::1\tlocalhost ip6-localhost ip6-loopback\n"
        f"{address.ipv4}\t{hostname}\n"
        f"{address.ipv6}\t{hostname}\n"
    )


def _current() -> int:
    return os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
