"""How long one pod's rules take: by netlink, by `iptables-restore --noflush`, and by `nft -f -`, in fresh namespaces.

Run as root: `python bench/studies/rules_speed.py [ROUNDS]`. The ways take turns within a round, so that a busy moment
hits all of them. Timed is what turns options into rules that the kernel holds; making the namespace is not, nor is
Python's start. Of pods with equal options all but the first cost "same rules again".
"""

import ctypes
import os
import shutil
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from lab import nftables
from sidecar.rules import Options, build, render
from sidecar.rules import kernel as rules

CLONE_NEWNET = 0x40000000
# What the tutorial's istio-init is given.
ARGUMENTS = ("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-b", "*", "-d")
TUTORIAL = (*ARGUMENTS, "15090,15021,15020")
OTHER = (*ARGUMENTS, "9090,9021")
FIRST, NEW, AGAIN = "netlink, first in its process", "netlink, new rules", "netlink, same rules again"
TARGET_MS, TARGET_RATIO = 2.0, 8.0
TOOLS = {
    "iptables-restore": (("iptables-restore", "--noflush"), "iptables"),
    "iptables-legacy-restore": (("iptables-legacy-restore", "--noflush"), "iptables"),
    "nft -f -": (("nft", "-f", "-"), "nft"),
}


def fresh_namespace() -> None:
    """Move this process into a network namespace of its own."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare: run this as root")


def by_netlink(arguments: tuple[str, ...]) -> float:
    """Return the milliseconds from the arguments to the rules in a fresh namespace."""
    fresh_namespace()
    start = time.perf_counter()
    with nftables.open_socket() as sock:
        rules.apply(sock, build(Options.from_args(arguments)))
    return (time.perf_counter() - start) * 1e3


def by_tool(tool: str) -> tuple[float]:
    """Return the milliseconds that a tool takes to load the rules' text in a fresh namespace."""
    command, form = TOOLS[tool]
    text = render(build(Options.from_args(TUTORIAL)), form)
    fresh_namespace()
    start = time.perf_counter()
    subprocess.run(command, input=text, text=True, check=True)
    return ((time.perf_counter() - start) * 1e3,)


def netlink_times() -> tuple[float, ...]:
    """Return the times of a process's first rules, of other rules after them, and of those once more."""
    return by_netlink(OTHER), by_netlink(TUTORIAL), by_netlink(TUTORIAL)


def in_child(work: Callable[[], tuple[float, ...]]) -> tuple[float, ...]:
    """Return what `work` returns in a forked child, which remembers nothing of the children before it."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            times = work()
            os.write(write, struct.pack(f"={len(times)}d", *times))
        finally:
            os._exit(0)
    os.close(write)
    data = os.read(read, 4096)
    os.close(read)
    os.waitpid(child, 0)
    return struct.unpack(f"={len(data) // 8}d", data)


def measure(rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each way that this machine has."""
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, ms in zip((FIRST, NEW, AGAIN), in_child(netlink_times), strict=True):
            times.setdefault(name, []).append(ms)
        for tool, (command, _) in TOOLS.items():
            if shutil.which(command[0]):
                times.setdefault(tool, []).extend(in_child(partial(by_tool, tool)))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Print the medians, and for each target whether it is met."""
    medians = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
    for name, ms in medians.items():
        print(f"{name:32} {ms:8.2f} ms")
    print(f"new rules in at most {TARGET_MS} ms: {'met' if medians[NEW] <= TARGET_MS else 'missed'}")
    for tool in ("iptables-restore", "nft -f -"):
        for way in (NEW, AGAIN):
            if tool in medians:
                ratio = medians[tool] / medians[way]
                verdict = "met" if ratio >= TARGET_RATIO else "missed"
                print(f"{way}: {ratio:.1f} times as fast as {tool} (wanted: {TARGET_RATIO:.0f}): {verdict}")


if __name__ == "__main__":
    main()
