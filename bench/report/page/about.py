"""The context of the numbers: the machine, the doubts with their cures, how it was measured, how to repeat it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.judge import statistics
from sidelab.bench.judge.analysis import Analysis
from sidelab.bench.judge.summary import microseconds
from sidelab.bench.judge.verdict import GATED
from sidelab.bench.plan import plan as plans
from sidelab.bench.record.reader import Run
from sidelab.bench.report.page.html import Markup, definitions, element
from sidelab.lab.errors import InputError

_MACHINE: Final = {
    "cpu_model": "CPU",
    "cpus": "CPUs",
    "smt": "hyper-threads",
    "memory_mib": "memory, MiB",
    "hypervisor": "hypervisor",
    "kernel": "Linux",
    "clock_source": "clock source",
    "governor": "frequency governor",
    "steal_ratio": "time stolen by the hypervisor",
    "load_1min": "load before the run",
    "python": "Python",
}
_DIGEST: Final = 12


def caveats(found: Sequence[Caveat]) -> Markup:
    """List every doubt with the step that would remove it."""
    if not found:
        return element("p", "None was found.")
    items = [
        element("li", element("strong", each.what), element("span", f"Cure: {each.cure}", class_="cure"))
        for each in found
    ]
    return element("ul", *items, class_="caveats")


def environment(facts: Mapping[str, Any]) -> Markup:
    """List the machine, where client and lab ran on it, which programs the images were, and every version."""
    machine = dict(facts.get("environment") or {})
    if isinstance(machine.get("steal_ratio"), float):
        machine["steal_ratio"] = f"{machine['steal_ratio']:.2%} of its time since boot"
    said = {title: _said(machine.pop(key)) for key, title in _MACHINE.items() if key in machine}
    said |= {f"placement: {key.replace('_', ' ')}": _said(each) for key, each in _table(facts.get("placement"))}
    said |= {f"image {key}": _said(each) for key, each in _table(facts.get("images"))}
    said |= {f"version of {key}": _said(each) for key, each in _table(machine.pop("packages", None))}
    said |= {"git revision": _said(machine.pop("git_revision", None))}
    said |= {f"mitigation of {key}": _said(each) for key, each in _table(machine.pop("mitigations", None))}
    said |= {key.replace("_", " "): _said(each) for key, each in machine.items()}
    return definitions(said)


def method(found: Analysis) -> Iterator[Markup]:
    """Explain what was done, what is estimated from it, and when a verdict is given."""
    yield definitions(_done(found.run))
    yield element("ol", *(element("li", step) for step in _judged(found)))


def _done(run: Run) -> dict[str, str]:
    """Describe how the requests were made, how many, and when."""
    plan = run.plan
    measured = statistics.measured(run.samples)
    sizes = sorted(int(size) for size in measured["bytes"].unique())
    return {
        "plan": f"{plan.name}: {plan.description}" if plan.description else plan.name,
        "arms": f"{len(plan.arms)}, all alive at once; each request goes to one of them in random order",
        "load": f"closed loop, one client, one request in flight, GET {plan.path}",
        "payload": " to ".join(f"{size:,}" for size in dict.fromkeys((sizes[0], sizes[-1]))) + " bytes",
        "measured": f"{len(measured):,} requests in {measured['rebuild'].nunique()} lab builds; 0 left out",
        "warm-up": f"{len(run.samples) - len(measured):,} requests, first in each build; recorded, not counted",
        "not answered 2xx": f"{len(statistics.unanswered(run.samples)):,}",
        "client": str(run.facts.get("client", "own")),
        "seed of the order": str(run.facts.get("seed", "?")),
        "started": _moment(run.facts.get("started")),
        "finished": _moment(run.facts.get("finished")),
    }


def _judged(found: Analysis) -> tuple[str, ...]:
    """Explain how requests become overheads, and overheads verdicts, step by step."""
    run, plan = found.run, found.run.plan
    floors = "; ".join(
        f"{connection} {phase} {microseconds(found.summary[plan.twin, connection, phase].floor_us)} \N{MICRO SIGN}s"
        for connection, phase in GATED
        if connection in plan.connections
    )
    reference, margin = plan.reference, f"{plan.margin_us:g} \N{MICRO SIGN}s or {100 * plan.margin_ratio:g} %"
    return (
        (
            f"A lab is built anew {run.rebuilds} times: that is n. Requests within a build resemble each other, so "
            f"each build counts once, by the median of its paired differences, arm minus {reference}."
        ),
        "The overhead is the mean of those medians; the interval is Student's t over them, at 95 %.",
        (
            f"Two arms are built alike, {reference} and {plan.twin}. How far apart their builds typically are is the "
            f"noise floor: {floors}."
        ),
        (
            f"Equivalent: the whole interval lies inside the margin, {margin} of {reference}'s median, whichever is "
            "more. Changed: the interval excludes 0, and the difference is larger than floor and margin. "
            "Inconclusive: neither; then the smallest difference that would have shown is stated. It is neither green "
            "nor red."
        ),
        (
            "Before and after each build, rule counters, conntrack and the proxy's accepts must agree with the arm's "
            "label; a run whose traffic took another path ends with an error."
        ),
        (
            "Times are cumulative from the start of the request, like curl's time_* variables. A captured client's "
            "connect is the handshake with its own proxy; the connection to the server is then part of starttransfer."
        ),
    )


def repeat(run: Run) -> Iterator[Markup]:
    """Yield the commands that measure this again and that draw it again, safe to paste into a shell."""
    lines = []
    revision = (run.facts.get("environment") or {}).get("git_revision")
    if revision:
        lines.append(f"git checkout {shlex.quote(str(revision))}")
    client = run.facts.get("client", "own")
    own = _is_shipped(run)
    lines.append(
        f"sidelab bench {run.plan.name if own else 'PLAN.toml'} --seed {run.facts.get('seed', '?')}"
        + (f" --client {shlex.quote(client)}" if client != "own" else "")
    )
    lines.append(f"sidelab report {shlex.quote(f'results/{run.name}')}")
    yield element("pre", element("code", "\n".join(lines)))
    if not own:
        yield element(
            "p", "The plan is not one that comes with this version; it is kept whole in run.json, under plan."
        )
    digests = {f"rules of {key}": _said(each) for key, each in _table(run.facts.get("rule_sets"))}
    yield element(
        "details",
        element("summary", "Digests: what must be equal for two runs to compare"),
        definitions({"plan": _said(run.plan.digest), "client": _said(run.facts.get("client_digest")), **digests}),
    )


def _moment(said: Any) -> str:
    """Format a recorded time to the second, in UTC as it was recorded."""
    return f"{said[:19].replace('T', ' ')} UTC" if isinstance(said, str) else "not known"


def _is_shipped(run: Run) -> bool:
    """Return whether this version ships the same plan under that name."""
    if run.plan.name not in plans.shipped():
        return False
    try:
        return plans.load(run.plan.name).digest == run.plan.digest
    except InputError:
        return False


def _table(value: Any) -> list[tuple[str, Any]]:
    return sorted(value.items()) if isinstance(value, Mapping) else []


def _said(value: Any) -> str:
    """Format a recorded value for people; a digest by its beginning."""
    if value is None or value == "":
        return "not known"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_said, value))
    text = str(value)
    return f"{text[:_DIGEST]}…" if len(text) == 64 and text.isalnum() else text
