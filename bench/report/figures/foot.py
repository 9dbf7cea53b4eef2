"""The text under a figure: how the load was made, n, payload, run, machine, and every caveat."""

from typing import Any, Final

import pandas as pd

from sidelab.bench.judge import statistics
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.plan.plan import Plan
from sidelab.bench.record.reader import Run
from sidelab.bench.report.figures.once import once
from sidelab.bench.report.figures.sheet import Foot

_NAMED: Final = 4
_MOST_DOUBTS: Final = 2000  # characters, as a figure has no room for a long list


def footer(found: Analysis, *notes: str, load: str = "") -> Foot:
    """Compose the foot; `load` describes data other than the run's samples, and belongs to its figure."""
    doubts = "; ".join(caveat.what for caveat in found.caveats)
    if len(doubts) > _MOST_DOUBTS:
        doubts = f"{doubts[:_MOST_DOUBTS]}… (all are on the page)"
    own = [*notes, load]
    common = ["" if load else closed_loop(found.run), identity(found.run), f"Caveats: {doubts}" if doubts else ""]
    return Foot([each for each in own if each], [each for each in common if each])


def identity(run: Run) -> str:
    """Return a sentence that names the run, its plan and the machine."""
    said = f"Run {run.name}, plan {run.plan.digest[:12]}."
    environment = run.facts.get("environment")
    return f"{said} Machine: {_machine(environment, run.facts.get('placement'))}." if environment else said


def closed_loop(run: Run) -> str:
    """Return sentences on how the samples were made, how many there are, and that none is left out."""
    payload, counted = _counted(run.samples)
    return (
        f"Closed loop, one client, one request in flight; GET {run.plan.path} ({payload}); all arms alive at once, "
        f"requests in random order; {counted}"
    )


@once
def _counted(samples: pd.DataFrame) -> tuple[str, str]:
    """Return the sizes of the answers, and how many requests there are of each kind, in words."""
    rows = statistics.measured(samples)
    per_cell = rows.groupby(["arm", "connection"], observed=True).size()
    low, high = int(per_cell.min()), int(per_cell.max())
    count = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    sizes = sorted(int(size) for size in rows["bytes"].unique())
    payload = f"{sizes[0]:,} B" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,} B"
    builds = rows["rebuild"].nunique()
    unanswered = int(rows["total_us"].isna().sum())
    lost = f"{unanswered:,} without an answer" if unanswered else "none dropped"
    return payload, (
        f"n = {count} per arm and connection in {builds} lab build{'s' * (builds != 1)}; "
        f"{lost}; {len(samples) - len(rows):,} warm-up requests before them recorded, not counted."
    )


def captured_client_note(plan: Plan) -> str:
    """Explain `connect` for arms whose client is captured; '' if the plan has none."""
    captured = [arm.name for arm in plan.arms if arm.client == "injected"]
    if not captured:
        return ""
    who = ", ".join(captured) if len(captured) <= _NAMED else "captured clients"
    return (
        f"* {who}: the client's connect is the handshake with its own proxy; "
        "the connection to the server, and its failure, are in starttransfer."
    )


def _machine(environment: dict[str, Any], placement: Any) -> str:
    where = environment.get("hypervisor")
    parts = [
        environment.get("cpu_model", "CPU not recorded"),
        f"{len(environment.get('cpus', ()))} CPUs",
        f"Linux {environment.get('kernel', 'not recorded')}",
        f"virtual ({where})" if where else "no hypervisor seen",
        f"Python {environment.get('python', 'not recorded')}",
    ]
    if isinstance(placement, dict):
        parts.append("placement: " + ", ".join(f"{key} {_cpus(value)}" for key, value in sorted(placement.items())))
    return ", ".join(parts)


def _cpus(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "+".join(map(str, value)) if isinstance(value, list) else str(value)
