"""CPUs kept awake, and machines on which they can't be."""

from pathlib import Path

import pytest

from sidelab.bench.measure import awake


def machine(directory: Path, monkeypatch: pytest.MonkeyPatch, driver: str) -> Path:
    """Make up a machine with this cpuidle driver; returns the file that takes requests."""
    device = directory / "cpu_dma_latency"
    device.write_bytes(b"")
    (directory / "driver").write_text(driver + "\n")
    monkeypatch.setattr(awake, "_DEVICE", device)
    monkeypatch.setattr(awake, "_DRIVER", directory / "driver")
    return device


def test_a_kernel_that_could_not_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a cpuidle driver the request would be taken and change nothing."""
    machine(tmp_path, monkeypatch, "none")
    assert "no cpuidle driver" in awake.hindrance()
    (tmp_path / "driver").unlink()
    assert "no cpuidle driver" in awake.hindrance()


def test_a_user_who_may_not_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the file and the cure."""
    machine(tmp_path, monkeypatch, "haltpoll").unlink()
    assert awake.hindrance().endswith(
        "cpu_dma_latency: No such file or directory; run as root, or without placement.awake"
    )


def test_the_request_is_for_no_latency_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four bytes of zero, and only where it is asked for."""
    device = machine(tmp_path, monkeypatch, "haltpoll")
    assert "" == awake.hindrance()
    with awake.kept(False):
        assert b"" == device.read_bytes()
    with awake.kept(True):
        assert b"\0\0\0\0" == device.read_bytes()
