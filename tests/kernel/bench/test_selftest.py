"""The selftest as a user runs it. What it finds depends on the machine's noise; that it looks everywhere does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import ROOT, nothing_left

from sidelab.bench.measure import awake

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("_subreaper", "_able")]


def test_every_client_looks_for_every_delay(tmp_path: Path) -> None:
    """Each client has a row for each delay and connection, each row is judged, and table and figure are written."""
    command = (sys.executable, ROOT / "sidelab.py", "selftest", "--rebuilds", "5", "--json", "--results", tmp_path)
    with nothing_left():
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1, 4), done.stderr
    found = json.loads(done.stdout)
    clients = {"own", "libcurl"} | ({"polling"} if awake.hindrance() else set())
    assert {(client, kind, us) for client in clients for kind in ("new", "keep-alive") for us in (5.0, 20.0, 50.0)} == {
        (row["client"], row["connection"], row["injected_us"]) for row in found["calibration"] if row["client"] != "wrk"
    }
    assert 1 + 3 * len(clients) + 1 <= len(found["checks"])
    files = {path.name for path in Path(found["directory"]).iterdir()}
    assert {"selftest.json", "calibration.png", "calibration.svg", "calibration-dark.svg"} == {
        each for each in files if "samples" not in each
    }
    assert {f"samples-{client}.csv.gz" for client in clients} == {each for each in files if "samples" in each}


def test_too_few_rebuilds_leave_nothing(tmp_path: Path) -> None:
    """It is refused before a directory is made."""
    command = (sys.executable, ROOT / "sidelab.py", "selftest", "--rebuilds", "4", "--results", tmp_path / "results")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (2, "sidelab: --rebuilds 4: give 5 or more, an interval needs them\n") == (done.returncode, done.stderr)
    assert not (tmp_path / "results").exists()


def test_the_kernel_keeps_the_cpus_awake_for_the_block() -> None:
    """While it lasts the kernel's own answer is 0 µs, and afterwards what it was."""
    if reason := awake.hindrance():
        pytest.skip(reason)

    def latency_us() -> int:
        with Path("/dev/cpu_dma_latency").open("rb") as file:
            return int.from_bytes(file.read(4), sys.byteorder, signed=True)

    before_us = latency_us()
    with awake.kept(True):
        assert 0 == latency_us()
    assert before_us == latency_us()
