"""Keep CPUs from sleeping while a lab is measured, for plans that ask for it (`placement.awake`).

An idle CPU sleeps, and takes longer to wake the longer it slept: on a virtual machine whose CPUs slept, a client
measured a delay of 50 µs as 50.7 µs; where they stayed awake it measured 50.1, with intervals half as wide or less.
Users of an idle machine pay that cost too, so it is part of the measurement unless a plan says otherwise.

This uses the kernel's interface for latency limits (Documentation/power/pm_qos_interface.rst): the limit holds for all
CPUs while the file is open, so it ends with this process, however that ends.
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
    """Return why the CPUs of this machine can't be kept awake; "" if they can."""
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
    """Keep all CPUs awake for the block, if `asked`; raises OSError where `hindrance` returns a reason."""
    if not asked:
        yield
        return
    descriptor = _open()
    try:
        os.write(descriptor, struct.pack("@i", 0))  # the most µs that waking up may take
        yield
    finally:
        os.close(descriptor)


def _open() -> int:
    return os.open(_DEVICE, os.O_WRONLY | os.O_CLOEXEC)
