"""Open loops from plan to table: rows, doubts, and what was published elsewhere."""

import io
import math
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from sidelab.bench.base.samples import RATE_COLUMNS, RateSample
from sidelab.bench.openloop.histogram import Histogram
from sidelab.bench.openloop.measure import sample
from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.plan import Rate
from sidelab.bench.record import openloop_caveats
from sidelab.bench.record.reader import read_rates
from sidelab.bench.report.openloop_table import table
from sidelab.lab.errors import InputError

SAID = {
    "latency": Histogram.of([100_000] * 1000).pairs(),
    "lag": Histogram.of([1000] * 1000).pairs(),
    "errors": 0,
    "elapsed_ns": 900_000_000,
    "warmup": 16,
}


def rows(**changes: object) -> pd.DataFrame:
    """Return two rebuilds of each of the Istio plan's arms, all alike but for `changes` to `both`."""
    found = []
    for rebuild in (1, 2):
        for arm in plans.load("istio").arms:
            row = sample(rebuild, arm.name, Rate(duration_s=1), SAID, -1.0, -1)
            found.append(row._replace(**changes) if arm.name == "both" else row)
    return pd.DataFrame(found)


def test_a_row_holds_percentiles_and_what_proxies_spent() -> None:
    """Latency is in µs, CPU is per 1000 requests including those before the measurement, the rate is over the time."""
    row = sample(3, "both", Rate(duration_s=1), SAID, 0.2032, 4096)
    assert (3, "both", 1000, 16, 1000, 0, 1000.0) == row[:7]
    assert pytest.approx((1.0, 100.0, 100.0, 100.0), rel=5e-4) == row[7:11]
    assert math.isnan(row.p999_us)
    assert pytest.approx((0.2, 4096)) == row[12:]


def test_quiet_loops_raise_no_doubt() -> None:
    """Nothing is said of loops that kept up, on time and without errors; nor where there are none."""
    assert [] == openloop_caveats.caveats(rows())
    assert [] == openloop_caveats.caveats(pd.DataFrame(columns=list(RATE_COLUMNS)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lag_p99_us": 800.0, "p99_us": 900.0}, "load generator itself was late"),
        ({"achieved_per_s": 900.0}, "not reached"),
        ({"errors": 3}, "6 requests"),
    ],
)
def test_each_doubt_is_said_once(changes: dict[str, float], said: str) -> None:
    """A late generator, a rate that was not reached and failures are caveats."""
    (found,) = openloop_caveats.caveats(rows(**changes))
    assert said in found.what


def test_published_figures_are_labelled_as_another_machines() -> None:
    """Where the rate is theirs, Istio's figures stand below the measured ones, and say where they are from."""
    console = Console(file=io.StringIO(), width=100)
    console.print(table(rows(), plans.load("istio")))
    text = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO given above
    assert [True] * 4 == [words in text for words in ("published", "other machine", "+298", "direct-twin")]


def test_rates_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A row cut off by a crash is left out; other columns are refused."""
    whole = ",".join(RATE_COLUMNS) + "\n1,direct,1000,16,10,0,10.0,1.0,2.0,3.0,nan,nan,-1.0,-1\n"
    (tmp_path / "rates.csv").write_text(whole + "2,direct,10")
    found = read_rates(tmp_path)
    assert [1] == found["rebuild"].to_list()
    assert math.isnan(found["p99_us"][0])
    (tmp_path / "rates.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="other columns"):
        read_rates(tmp_path)


def test_a_rate_out_of_range_is_refused() -> None:
    """A plan says what a rate may be, and has each once."""
    arms = [{"name": "direct"}, {"name": "direct-twin"}]
    with pytest.raises(InputError, match="per second"):
        plans.from_dict({"name": "x", "arms": arms, "rates": [{"rate_per_s": 0}]}, "x")
    with pytest.raises(InputError, match="same rate_per_s"):
        plans.from_dict({"name": "x", "arms": arms, "rates": [{}, {}]}, "x")


def test_the_shipped_plan_asks_for_istios_load() -> None:
    """1000 requests per second of 1 KB on 16 connections, in four modes and a twin."""
    plan = plans.load("istio")
    assert (Rate(duration_s=5),) == plan.rates
    assert ("/size/1024", 5) == (plan.path, len(plan.arms))
    assert RateSample._fields == RATE_COLUMNS
