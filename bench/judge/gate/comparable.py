"""Whether two runs measured the same thing: what must be equal before they are compared, and what casts doubt; pure.

What is measured must be equal: the plan (how many arms are alive changes how warm the caches are), the rules in the
pods, the measuring client and whether it had a CPU of its own, and which programs the images stood for. The machine may
differ, but that adds a caveat.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from sidelab.bench.base.caveats import Caveat
from sidelab.bench.plan.plan import Plan, as_dict
from sidelab.bench.record.reader import Run

_NO_IDENTITY = ("arms", "description", "seed")  # arms are compared one by one
_MACHINE = ("cpu_model", "kernel", "hypervisor", "smt", "clock_source", "governor", "python")
_CLIENT = {"client": "client", "client_digest": "the client's code"}
_LONGEST = 60


def differences(run: Run, base: Run) -> tuple[str, ...]:
    """Return everything that must be equal and is not, each with both values; empty if the runs can be compared."""
    ours, theirs = (each.facts for each in (run, base))
    return (
        *_unequal("plan: ", _plan(run.plan), _plan(base.plan)),
        *_unequal("rule set of ", ours.get("rule_sets"), theirs.get("rule_sets")),
        *_unequal("", *({name: each.get(key) for key, name in _CLIENT.items()} for each in (ours, theirs))),
        *_unequal("", _client_cpu(ours), _client_cpu(theirs)),
        *_unequal("image ", ours.get("images"), theirs.get("images")),
    )


def caveats(run: Run, base: Run) -> tuple[Caveat, ...]:
    """List other differences of two comparable runs: CPU, kernel, mitigations, placement, versions, builds."""
    ours, theirs = (each.facts.get("environment") or {} for each in (run, base))
    found = (
        *_unequal("", *({name.replace("_", " "): each.get(name) for name in _MACHINE} for each in (ours, theirs))),
        *_unequal("mitigation of ", ours.get("mitigations"), theirs.get("mitigations")),
        *_unequal("placement: ", run.facts.get("placement"), base.facts.get("placement")),
        *_unequal("version of ", ours.get("packages"), theirs.get("packages")),
    )
    builds = (
        *_unequal("Envoy of arm ", run.facts.get("envoys"), base.facts.get("envoys")),
        *_unequal("commit of ", run.facts.get("revisions"), base.facts.get("revisions")),
    )
    return (
        *(Caveat(f"not the base's machine: {each}", "measure both in one job") for each in found),
        *(Caveat(f"not the base's build: {each}", "nothing, if that is what you compare") for each in builds),
    )


def _plan(plan: Plan) -> dict[str, Any]:
    table = as_dict(plan)
    flat = {key: value for key, value in table.items() if key not in _NO_IDENTITY}
    for arm in table["arms"]:
        flat[f"arm {arm['name']}"] = ", ".join(f"{key} {value}" for key, value in arm.items() if key != "name")
    return flat


def _client_cpu(facts: Mapping[str, Any]) -> dict[str, str | None]:
    placement = facts.get("placement")
    if not placement:
        return {"the client's CPU": None}
    shared = placement.get("client_cpu") in placement.get("lab_cpus", [])
    return {"the client's CPU": "shared with the lab" if shared else "its own"}


def _unequal(title: str, ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> Iterator[str]:
    mine, other = ours or {}, theirs or {}
    for key in dict.fromkeys((*mine, *other)):
        if mine.get(key) != other.get(key):
            yield f"{title}{key}: {_said(mine.get(key))} here, {_said(other.get(key))} in the base"


def _said(value: Any) -> str:
    """Format a value briefly: a digest by its beginning."""
    text = "nothing" if value is None else str(value)
    if len(text) == 64 and text.isalnum():
        return f"{text[:12]}…"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
