"""The filter of system calls that programs of a manifest do without."""

import errno
import subprocess
import sys

import pytest

from sidelab.lab.sandbox.call_filter import _CALLS, program

_ALLOW = 0x7FFF0000

# Without privileges: no_new_privs, the filter, then the calls, and one that is none of them (getpid).
_FILTERED = """
import ctypes, os, sys
from sidelab.lab.base import syscalls
from sidelab.lab.sandbox import call_filter
syscalls._prctl(38, 1)
call_filter.forbid()
libc = ctypes.CDLL(None, use_errno=True)
for number in (*next(iter(call_filter._CALLS[os.uname().machine].values())),):
    print(libc.syscall(number, 0, 0, 0, 0, 0), ctypes.get_errno())
print(os.getpid() > 0)
"""


def _verdict(code: bytes, kind: int, number: int) -> int:
    """Run a filter as the kernel does, for the instructions that it is made of."""
    at, accumulator = 0, 0
    while True:
        what, otherwise = int.from_bytes(code[at : at + 2], "little"), code[at + 3]
        value = int.from_bytes(code[at + 4 : at + 8], "little")
        at += 8
        if what == 0x06:
            return value
        if what == 0x20:
            accumulator = {0: number, 4: kind}[value]
        elif what == 0x54:
            accumulator &= value
        elif what == 0x15 and accumulator != value:
            at += 8 * otherwise


@pytest.mark.parametrize("machine", _CALLS)
def test_only_these_calls_are_refused(machine: str):
    """Of all numbers of every kind of call, x32's too, those few fail as if the kernel had none of them."""
    code = program(machine)
    for kind, numbers in _CALLS[machine].items():
        for bit in (0, 0x40000000):
            refused = [number for number in range(600) if _verdict(code, kind, number | bit) != _ALLOW]
            assert list(numbers) == refused
            assert {0x50000 | errno.ENOSYS} == {_verdict(code, kind, number | bit) for number in refused}


def test_a_kind_of_call_that_is_not_known_is_let_through():
    """On a machine without an entry, and for a kind of call without one, nothing is refused."""
    assert _ALLOW == _verdict(program("riscv64"), 0xC00000F3, 219)
    assert _ALLOW == _verdict(program("x86_64"), 0xC00000F3, 250)


def test_the_kernel_takes_the_filter():
    """A process that has set it finds none of the calls, and goes on."""
    done = subprocess.run([sys.executable, "-c", _FILTERED], capture_output=True, text=True, check=True)
    assert [f"-1 {errno.ENOSYS}"] * 5 + ["True"] == done.stdout.splitlines()
