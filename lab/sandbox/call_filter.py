"""A system call filter (seccomp(2)) that denies a program what namespaces do not keep separate between pods.

A process inherits the session keyring that it was started with, including the keys of the user that started the lab,
and shares its user's keyring with every pod in which the same user runs (keyrings(7)); container runtimes remove these
calls as well. listmount(2) and statmount(2) show the owner of a user namespace all mount namespaces in it, and any
program may create one and own it.
"""

import ctypes
import errno
import os

from sidelab.lab.base.syscalls import _check, _libc  # the same library, and the same way to fail

_PR_SET_SECCOMP, _MODE_FILTER = 22, 2

# By machine: how the kernel names the kinds of system call that it has (AUDIT_ARCH_…, include/uapi/linux/audit.h), and
# the numbers of add_key, request_key and keyctl in each (arch/*/entry/syscalls, include/uapi/asm-generic/unistd.h).
_MOUNTS = (457, 458)  # statmount and listmount, the same everywhere
_CALLS = {
    "x86_64": {0xC000003E: (248, 249, 250, *_MOUNTS), 0x40000003: (286, 287, 288, *_MOUNTS)},
    "aarch64": {0xC00000B7: (217, 218, 219, *_MOUNTS), 0x40000028: (309, 310, 311, *_MOUNTS)},
}
_X32 = 0x40000000  # the bit that says "x32" in a number of x86_64's

# struct seccomp_data (include/uapi/linux/seccomp.h); classic BPF (include/uapi/linux/bpf_common.h).
_NUMBER_AT, _KIND_AT = 0, 4
_LOAD, _AND, _JUMP_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("code", ctypes.c_void_p))


def _instruction(code: int, value: int, otherwise: int = 0) -> bytes:
    """Encode a struct sock_filter; a comparison that fails skips `otherwise` instructions."""
    return code.to_bytes(2, "little") + bytes((0, otherwise)) + value.to_bytes(4, "little")


def program(machine: str) -> bytes:
    """Return the filter for a machine (as uname(2) names it): these calls do not exist, all others are unchanged."""
    code = _instruction(_LOAD, _KIND_AT)
    for kind, numbers in _CALLS.get(machine, {}).items():
        block = _instruction(_LOAD, _NUMBER_AT) + _instruction(_AND, 0xFFFFFFFF & ~_X32)
        for number in numbers:
            block += _instruction(_JUMP_EQUAL, number, otherwise=1) + _instruction(_RETURN, _FAIL | errno.ENOSYS)
        block += _instruction(_RETURN, _ALLOW)
        code += _instruction(_JUMP_EQUAL, kind, otherwise=len(block) // 8) + block
    return code + _instruction(_RETURN, _ALLOW)


def forbid() -> None:
    """Deny these calls to this process and all that it starts; no_new_privs must be set (`drop_to` does that)."""
    code = program(os.uname().machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    filled = _Program(len(code) // 8, ctypes.addressof(buffer))
    _check(_libc.prctl(_PR_SET_SECCOMP, ctypes.c_ulong(_MODE_FILTER), ctypes.byref(filled), 0, 0), "prctl(seccomp)")
