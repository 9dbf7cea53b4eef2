"""What the kernel's refusals mean to a person who wants a lab."""

import errno
import os

import pytest

from sidelab.lab.base import syscalls
from sidelab.lab.base.privileges import refused_mount, refused_namespaces
from sidelab.lab.errors import MachineError, NotPermittedError


def _error(number: int, call: str) -> OSError:
    return OSError(number, f"{call}: {os.strerror(number)}")


@pytest.mark.parametrize(
    ("number", "kind", "cure"),
    [
        (errno.EPERM, NotPermittedError, "seccomp=unconfined"),
        (errno.ENOSPC, MachineError, "user.max_net_namespaces"),
        (errno.EUSERS, MachineError, "user.max_net_namespaces"),
        (errno.EINVAL, MachineError, "CONFIG_NET_NS"),
    ],
)
def test_refused_namespaces_are_explained_by_the_kernels_reason(number: int, kind: type, cure: str):
    """Forbidden, too many, or not built into the kernel: each has a cure of its own."""
    error = refused_namespaces(_error(number, "unshare(0x4)"))
    assert (kind, 3, True) == (type(error), error.exit_status, cure in str(error))


def test_a_chroot_is_named_where_a_user_namespace_is_refused():
    """Of all namespaces only that one is refused in a chroot (user_namespaces(7), EPERM)."""
    error = refused_namespaces(_error(errno.EPERM, f"unshare({syscalls.CLONE_NEWUSER:#x})"))
    assert str(error).endswith("; in a chroot only root can make them")


@pytest.mark.parametrize(
    ("number", "call", "cure"),
    [
        (errno.ENOSYS, "mount_setattr(/, read-only)", "Linux 5.12"),
        (errno.EINVAL, "mount(/, 0x44000)", "mount --bind DIR DIR"),
        (errno.EPERM, "mount(/proc, proc)", "systempaths=unconfined"),
        (errno.EACCES, "mount(/run, tmpfs)", "apparmor=unconfined"),
        (errno.ENODEV, "mount(/dev, tmpfs)", "Vagrantfile"),
    ],
)
def test_a_refused_mount_is_explained_by_the_call_and_the_reason(number: int, call: str, cure: str):
    """An old kernel, a chroot, a masked /proc and a security module are told apart."""
    assert cure in str(refused_mount(_error(number, call)))
