"""How long one pod's rules take: by netlink, by `iptables-restore --noflush`, and by `nft -f -`, in fresh namespaces.

Run as root: `python bench/studies/rules_speed.py [ROUNDS]`. The time is from istio-iptables' arguments to rules in the
kernel; for a tool it includes making its text. Neither making the namespace nor Python's start is timed. The ways take
turns within a round, so that a busy moment affects all of them.

Netlink has four rows. *Warm* is what `up` pays for a pod, as one process makes them all: many pods in a row, with
options that no pod had before ("new rules"), and with those of an earlier pod ("same rules again", as for most pods of
a lab). *First of a row* is one new pod after other programs have used the processor and its caches. *Cold* is a
process's very first pod, with all that is imported and cached at first use.

The tools' rows are warm too, with the rules of "same rules again", which costs them least. A warm pod has to be 8 times
as fast as with either tool; the other two may take 2 ms.
"""

import ctypes
import shutil
import statistics
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from sidelab.lab.netlink import nftables
from sidelab.sidecar.interception import Options, build, render
from sidelab.sidecar.interception.apply import kernel as rules

CLONE_NEWNET = 0x40000000
# The arguments of the tutorial's istio-init.
ARGUMENTS = ("-p", "15001", "-z", "15006", "-u", "1337", "-m", "REDIRECT", "-i", "*", "-b", "*", "-d")
TUTORIAL = (*ARGUMENTS, "15090,15021,15020")
NEW, AGAIN = "netlink, warm, new rules", "netlink, warm, same rules again"
FIRST, COLD = "netlink, warm, first of a row", "netlink, cold"
PODS_IN_A_ROW = 50
COLD_ONLY = "cold"
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


def by_tool(tool: str) -> float:
    """Return the milliseconds from the tutorial's arguments to the rules, with a tool, in a fresh namespace."""
    command, form = TOOLS[tool]
    fresh_namespace()
    start = time.perf_counter()
    subprocess.run(command, input=render(build(Options.from_args(TUTORIAL)), form), text=True, check=True)
    return (time.perf_counter() - start) * 1e3


def in_new_process() -> float:
    """Return how many milliseconds the first rules of a new Python process take."""
    ran = subprocess.run([sys.executable, __file__, COLD_ONLY], capture_output=True, text=True, check=True)
    return float(ran.stdout)


def measure(rounds: int) -> dict[str, float]:
    """Return the median milliseconds of each way that this machine has; an extra first round warms up."""
    tools = [tool for tool, (command, _) in TOOLS.items() if shutil.which(command[0])]
    ports = count(20000)
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        if number == 1:
            times.clear()
        new = [by_netlink((*ARGUMENTS, f"{next(ports)},15021,15020")) for _ in range(PODS_IN_A_ROW)]
        again = [by_netlink(TUTORIAL) for _ in range(PODS_IN_A_ROW)]
        times.setdefault(NEW, []).extend(new)
        times.setdefault(AGAIN, []).extend(again)
        times.setdefault(FIRST, []).append(new[0])
        times.setdefault(COLD, []).append(in_new_process())
        for tool in tools:
            times.setdefault(tool, []).append(by_tool(tool))
    return {name: statistics.median(values) for name, values in times.items()}


def verdict(*, met: bool) -> str:
    """Return the word for a target that is met, or missed."""
    return "met" if met else "missed"


def main() -> int:
    """Print the medians, and for each target whether it is met; return 1 if one is missed."""
    if sys.argv[1:] == [COLD_ONLY]:
        print(by_netlink(TUTORIAL))
        return 0
    medians = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
    for name, ms in medians.items():
        print(f"{name:32} {ms:8.2f} ms")
    met = []
    for way in (FIRST, COLD):
        met.append(medians[way] <= TARGET_MS)
        print(f"{way}: at most {TARGET_MS:.0f} ms: {verdict(met=met[-1])}")
    for tool in ("iptables-restore", "nft -f -"):
        for way in (NEW, AGAIN):
            if tool in medians:
                ratio = medians[tool] / medians[way]
                met.append(ratio >= TARGET_RATIO)
                wanted = f"wanted: {TARGET_RATIO:.0f}"
                print(f"{way}: {ratio:.1f} times as fast as {tool} ({wanted}): {verdict(met=met[-1])}")
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
