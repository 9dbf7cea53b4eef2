"""CPU time and memory of processes."""

import os

from sidelab.bench.arms import proxy_processes


def test_cpu_time_is_read_behind_any_name() -> None:
    """A name with spaces and parentheses does not shift the fields."""
    stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 250 50 6 7 20 0 1 0 100 200 300"
    assert 300 == proxy_processes._ticks(stat)


def test_own_figures_are_plausible() -> None:
    """This process has spent time and has memory, and counts twice when named twice."""
    own = os.getpid()
    assert proxy_processes.peak_kib([own]) > 1000
    assert proxy_processes.private_kib([own]) > 0
    assert 0 < proxy_processes.cpu_s([own]) <= proxy_processes.cpu_s([own, own])
    assert (0.0, 0, 0) == (proxy_processes.cpu_s([]), proxy_processes.peak_kib([]), proxy_processes.private_kib([]))
