"""wrk's command line and output."""

import pytest

from sidelab.bench.clients import wrk
from sidelab.lab.errors import PodError

OUTPUT = """\
Running 1s test @ http://10.244.0.2:80/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.38ms    3.10ms  44.05ms   96.30%
    Req/Sec    37.33k     1.20k   38.91k    80.00%
  Latency Distribution
     50%  848.00us
     75%    0.93ms
     90%    1.10ms
     99%   1.02s
  37121 requests in 1.00s, 17.35MB read
Requests/sec:  37062.24
Transfer/sec:     17.32MB
"""


def test_every_figure_is_read_in_microseconds() -> None:
    """Percentiles come in several units, and all end up as µs."""
    assert wrk.parse(OUTPUT) == wrk.WrkOutcome(37121, 0, 37062.24, 848.0, 1100.0, 1_020_000.0)


def test_failures_are_counted_whatever_their_kind() -> None:
    """Socket errors and answers other than 2xx and 3xx are one count."""
    failures = "  Socket errors: connect 1, read 2, write 3, timeout 4\n  Non-2xx or 3xx responses: 5\n"
    assert wrk.parse(OUTPUT.replace("Requests/sec", failures + "Requests/sec")).failed == 15


@pytest.mark.parametrize("text", ["", "unable to connect to 10.244.0.2:80 Connection refused\n", OUTPUT[:200]])
def test_output_without_figures_is_an_error_that_shows_it(text: str) -> None:
    """What wrk said instead is in the message."""
    with pytest.raises(PodError, match="wrk gave no figures"):
        wrk.parse(text)


def test_the_load_is_one_thread_on_the_clients_cpu() -> None:
    """The generator is pinned, because its placement is part of the measurement."""
    argv = wrk.command("http://10.244.0.2:80/", 32, 2, 1)
    expected = "taskset --cpu-list 1 wrk --threads 1 --connections 32 --duration 2s --latency http://10.244.0.2:80/"
    assert " ".join(argv) == expected
