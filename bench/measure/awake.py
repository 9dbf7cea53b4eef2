"""CPUs that do not sleep while a lab is measured, for plans that ask for it (`placement.awake`).

An idle CPU sleeps, and one that has slept longer wakes later: a delay of 50 µs before an answer came to 50.7 µs for a
client on a virtual machine whose CPUs slept and to 50.1 where they did not, and intervals were half as wide or less.
That is part of what a user of an idle machine gets, so it is measured as it is unless a plan says otherwise.

The request is the kernel's own for those who measure latency (Documentation/power/pm_qos_interface.rst): it holds for
all CPUs and as long as the file is open, so that it ends with this process, however that ends.
"""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_DEVICE: Final = Path("/dev/cpu_dma_latency")
_DRIVER: Final = Path("/sys/devices/system/cpu/cpuidle/current_driver")


def hindrance() -> str:
    """Say why the CPUs of this machine can't be kept awake; "" if they can."""
    try:
        driver = _DRIVER.read_text(encoding="ascii").strip()
    except OSError:
        driver = "none"
    if driver == "none":
        return "the kernel has no cpuidle driver that could be asked; measure without placement.awake"
    try:
        os.close(_open())
    except OSError as error:
        return f"{_DEVICE}: {error.strerror}; run as root, or without placement.awake"
    return ""


@contextmanager
def kept(asked: bool) -> Iterator[None]:
    """Keep all CPUs awake for the block, if `asked`; raises OSError where `hindrance` would say so."""
    if not asked:
        yield
        return
    descriptor = _open()
    try:
        os.write(descriptor, struct.pack("@i", 0))  # µs that waking up may take at most
        yield
    finally:
        os.close(descriptor)


def _open() -> int:
    return os.open(_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
