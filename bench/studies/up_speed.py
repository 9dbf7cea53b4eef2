"""How long labs take to start and to end: one meshed pod, many of them, many plain pods; beside mininet's hosts.

    python -m sidelab.bench.studies.up_speed [REPETITIONS]

Each time is that of a whole command, from Python's start until it returns; `sidelab up` returns when all pods are
ready, `sidelab down` when the last process is gone. mininet (Debian package, Linux bridge) takes turns with us. Run it
as root on a quiet machine.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sidelab.lab.manifest import Container, Manifest, Metadata, Pod, PodSpec, Port, encode
from sidelab.sidecar.config.annotations import INJECT

_TARGETS_S = {"1 meshed": 0.3, "100 meshed": 1.2}
_DOWN_TARGET_S = 0.3
_MININET_RATIO = 0.25
_MININET_HOSTS = 100
_MININET = """
import time
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge
start = time.perf_counter()
net = Mininet(switch=LinuxBridge, controller=None, build=False)
switch = net.addSwitch("s1")
for number in range({hosts}):
    net.addLink(net.addHost(f"h{{number}}"), switch)
net.build()
net.start()
print(time.perf_counter() - start)
net.stop()
"""


def manifest(pods: int, *, meshed: bool) -> str:
    """Return a manifest of `pods` web servers, injected if `meshed`."""
    labels = {INJECT.name: "true"} if meshed else {}
    server = Container(name="nginx", image="nginx", ports=(Port(container_port=80),))
    return encode(
        Manifest(
            pods=tuple(
                Pod(metadata=Metadata(name=f"pod-{number}", labels=labels), spec=PodSpec(containers=(server,)))
                for number in range(pods)
            )
        )
    )


def up_and_down(path: Path) -> tuple[float, float]:
    """Return the seconds that `up` and `down` of a manifest take."""
    command = [sys.executable, "-m", "sidelab"]
    return _timed([*command, "up", str(path), "--name", "study"]), _timed([*command, "down", "study"])


def _timed(command: Sequence[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[2])
    return time.perf_counter() - start


def mininet_host_s() -> float:
    """Return mininet's seconds per host, for its own start-up only, without its teardown."""
    script = _MININET.format(hosts=_MININET_HOSTS)
    done = subprocess.run(["/usr/bin/python3", "-c", script], check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) / _MININET_HOSTS


def main() -> None:
    """Measure every size in turn, `REPETITIONS` times, and print medians beside the targets."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    sizes = {"1 meshed": (1, True), "100 meshed": (100, True), "100 plain": (100, False), "1000 plain": (1000, False)}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sizes}
    mininet: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        for name, (pods, meshed) in sizes.items():
            Path(directory, name).write_text(manifest(pods, meshed=meshed))
        for _ in range(repetitions):
            for name in sizes:
                times[name].append(up_and_down(Path(directory, name)))
            mininet.append(mininet_host_s())
    print(f"{'pods':<12}{'up, s':>10}{'down, s':>10}   median of {repetitions}; whole commands")
    medians = {}
    for name, pairs in times.items():
        up_s, down_s = (statistics.median(values) for values in zip(*pairs, strict=True))
        medians[name] = up_s
        target = f"   target up <= {_TARGETS_S[name]}" if name in _TARGETS_S else ""
        print(f"{name:<12}{up_s:>10.3f}{down_s:>10.3f}{target}")
    host_s = statistics.median(mininet)
    print(f"\nmininet, per host: {host_s * 1e3:.1f} ms ({_MININET_HOSTS} hosts, Linux bridge)")
    pod_s = medians["1000 plain"] / 1000
    print(
        f"sidelab, per plain pod at 1000: {pod_s * 1e3:.2f} ms = {pod_s / host_s:.3f} x mininet's (<= {_MININET_RATIO})"
    )
    growth = pod_s / (medians["100 plain"] / 100)
    print(f"cost of a pod at 1000 against at 100: {growth:.2f} x (target <= 1.5); down target <= {_DOWN_TARGET_S} s")


if __name__ == "__main__":
    main()
