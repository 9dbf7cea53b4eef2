"""How often does a run see a difference between two identical arms? The instrument's own false-alarm rate.

    python -m bench.studies.false_alarms [RUNS]

Each run is a short plan with `direct` and its twin; a run alarms when the Holm-corrected interval of the twin says that
it differs. The count is judged by a one-sided binomial test at alpha = 0.01 against the nominal 5 %.
"""

import sys

import pandas as pd
from scipy.stats import binomtest

from bench.plan import Plan, from_dict
from bench.run import Setup, measure_build, prepare
from bench.samples import COLUMNS, Sample
from bench.summary import summarise, twin_alarm

_PLAN = {
    "name": "false-alarms",
    "description": "direct and its twin, nothing else",
    "rebuilds": 10,
    "rounds": 1,
    "requests_per_round": 50,
    "warmup_requests": 10,
    "arms": [{"name": "direct"}, {"name": "direct-twin"}],
}
_NOMINAL, _ALPHA = 0.05, 0.01


def alarm(setup: Setup) -> bool:
    """Measure one run and return whether it took the twins for different."""
    samples: list[Sample] = []
    for rebuild in range(1, setup.plan.rebuilds + 1):
        for rows in measure_build(setup, rebuild):
            samples += rows
    frame = pd.DataFrame(samples, columns=list(COLUMNS)).astype(
        {f"{p}_us": float for p in ("namelookup", "appconnect")}
    )
    return twin_alarm(summarise(frame, setup.plan), setup.plan)


def main() -> None:
    """Run, count and judge; exit 1 if there are more alarms than the nominal rate explains."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    plan: Plan = from_dict(_PLAN, "false_alarms.py")
    alarms = 0
    for number in range(1, runs + 1):
        alarms += alarm(prepare(plan, seed=number, client="own", manifest=None))
        if sys.stderr.isatty() or number % 10 == 0:
            sys.stderr.write(f"{number} of {runs} runs, {alarms} alarms\n")
    p_value = binomtest(alarms, runs, _NOMINAL, alternative="greater").pvalue
    verdict = "more than" if p_value < _ALPHA else "no more than"
    print(f"{alarms} alarms in {runs} runs: {verdict} {_NOMINAL:.0%} explains (binomial, one-sided, p = {p_value:.3f})")
    raise SystemExit(int(p_value < _ALPHA))


if __name__ == "__main__":
    main()
