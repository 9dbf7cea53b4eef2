from pathlib import Path

import msgspec
import pytest

from sidelab.bench.record import environment
from sidelab.bench.record.environment import Environment

FILES = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Example CPU\nflags\t\t: fpu tsc hypervisor sse\n",
    "proc/meminfo": "MemTotal:        8192000 kB\nMemFree: 1 kB\n",
    "proc/loadavg": "3.50 1.00 0.50 1/100 1234\n",
    "proc/stat": "cpu  100 0 100 700 0 0 0 100 0 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
    "proc/sys/kernel/osrelease": "6.1.0-example\n",
    "sys/class/dmi/id/sys_vendor": "QEMU\n",
    "sys/devices/system/cpu/smt/active": "1\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "acpi_pm\n",
    "sys/devices/system/cpu/vulnerabilities/spectre_v2": "Mitigation: Retpolines\n",
    "sys/devices/system/cpu/vulnerabilities/meltdown": "Not affected\n",
}


@pytest.fixture
def machine(tmp_path: Path):
    """Lay out the /proc and /sys of a machine that has everything."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def whats(read: Environment):
    """Join what all caveats say."""
    return " | ".join(caveat.what for caveat in environment.caveats(read))


def test_reads_what_the_kernel_says(machine: Path):
    """CPU, memory, kernel, hypervisor, steal, governor, clock, load and mitigations are read from /proc and /sys."""
    read = environment.read(machine)
    assert ("Example CPU", 8000, "6.1.0-example", "QEMU", 0.1) == (
        read.cpu_model,
        read.memory_mib,
        read.kernel,
        read.hypervisor,
        read.steal_ratio,
    )
    assert ("powersave", "acpi_pm", 3.5, True) == (read.governor, read.clock_source, read.load_1min, read.smt)
    assert {"spectre_v2": "Mitigation: Retpolines"} == read.mitigations
    assert "numpy" in read.packages


def test_every_doubt_has_a_cure(machine: Path):
    """A noisy machine's doubts are each named, with a next step."""
    read = msgspec.structs.replace(environment.read(machine), cpus=(0,))
    assert [] == [
        word
        for word in ("share one CPU", "virtual machine (QEMU)", "10.0%", "powersave", "load average 3.5", "acpi_pm")
        if word not in whats(read)
    ]
    assert all(caveat.cure for caveat in environment.caveats(read))


def test_a_good_machine_raises_no_doubt(machine: Path):
    """Bare metal at a fixed frequency, idle, with a steady clock, has no caveat."""
    quiet = {"hypervisor": None, "steal_ratio": 0.0, "governor": "performance", "clock_source": "tsc", "load_1min": 0.1}
    assert "" == whats(msgspec.structs.replace(environment.read(machine), cpus=(0, 1), **quiet))


def test_a_silent_kernel_is_not_an_error(tmp_path: Path):
    """Where /proc and /sys say nothing, as in some containers, the facts are unknown and reading goes on."""
    read = environment.read(tmp_path)
    assert (None, None, None, None, {}) == (
        read.hypervisor,
        read.steal_ratio,
        read.governor,
        read.load_1min,
        read.mitigations,
    )
    assert "governor unknown" in whats(read)


def test_this_machine_goes_through_json():
    """What is read here is plain JSON and comes back equal, as it must for run.json."""
    read = environment.read()
    assert read == msgspec.json.decode(msgspec.json.encode(read), type=Environment)


@pytest.mark.parametrize("layout", ["loose", "packed", "detached"])
def test_git_revision_without_git(tmp_path: Path, layout: str):
    """The revision is read from a working tree with loose refs, packed refs or a detached head."""
    revision = "a" * 40
    git = tmp_path / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n" if layout != "detached" else revision + "\n")
    if layout == "loose":
        (git / "refs/heads/main").write_text(revision + "\n")
    if layout == "packed":
        (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{revision} refs/heads/main\n")
    assert revision == environment.read(checkout=tmp_path).git_revision
    assert environment.read(checkout=tmp_path / "nowhere").git_revision is None
