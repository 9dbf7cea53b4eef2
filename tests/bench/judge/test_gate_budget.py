from pathlib import Path
from typing import Any

import gating
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.bench.base.samples import PHASES
from sidelab.bench.judge.gate import budget
from sidelab.bench.judge.gate.budget import GatedCell, Limit
from sidelab.bench.judge.verdict import GATED
from sidelab.lab.errors import InputError

DOCUMENTED = """
[[limits]]
arm = "head"
connection = "keep-alive"
phase = "total"
at_most_us = 60.0

[[limits]]
arm = "head"
against = "base"
connection = "new"
at_most_percent = 5
"""


def test_the_documented_form(tmp_path: Path):
    """Entries with and without phase and reference become a cell a row, in the file's order."""
    path = tmp_path / "budget.toml"
    path.write_text(DOCUMENTED)
    expected = (
        GatedCell("head", "direct", "keep-alive", "total", at_most_us=60.0),
        GatedCell("head", "base", "new", "connect", at_most_percent=5.0),
        GatedCell("head", "base", "new", "starttransfer", at_most_percent=5.0),
        GatedCell("head", "base", "new", "total", at_most_percent=5.0),
    )
    assert expected == budget.cells(budget.load(path), gating.PLAN, "budget.toml")
    assert ["at most 60 µs", "at most 5 %"] == [cell.limit for cell in expected[:2]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no limits: add [[limits]] with an arm"),
        ("limits = []", "has no limits"),
        ("limits = 3", "has no limits"),
        ("limits = [3]", "limits[0] must be a table"),
        ("margin = 3", "unknown key 'margin'; accepted keys: limits"),
        ("[[limits]]\nphase = 'total'", "key 'limits[0].arm' is missing"),
        (
            "[[limits]]\narm = 'a'\nat_most = 3",
            "unknown key 'limits[0].at_most'; accepted keys: arm, against, connection",
        ),
        ("[[limits]]\narm = 'a'\nphase = 'ttfb'", "limits[0].phase = 'ttfb'; accepted values: namelookup, connect"),
        ("[[limits]]\narm = 'a'\nconnection = 'old'", "accepted values: new, keep-alive"),
        ("[[limits]]\narm = 'a'\nat_most_us = '3 ms'", "limits[0]: Expected"),
        ("[[limits]]\narm = 'a'\nat_most_us = nan", "must be finite"),
        ("[[limits]]\narm = 'a'\nat_most_us = 3\nat_most_percent = 3", "not both"),
        ("[[limits]\n", "is not valid TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, words: str):
    """A mistake in a budget is one message with the file, the key and what is accepted."""
    path = tmp_path / "budget.toml"
    path.write_text(text)
    with pytest.raises(InputError) as refusal:
        budget.load(path)
    assert words in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("name", [".", "missing.toml"])
def test_unreadable_budgets(tmp_path: Path, name: str):
    """A missing file, or a directory in its place, is an input error."""
    with pytest.raises(InputError, match="cannot read budget"):
        budget.load(tmp_path / name)


ENTRIES = st.fixed_dictionaries(
    {"arm": st.sampled_from(["base", "head", "direct-twin"])},
    optional={
        "against": st.just("direct"),
        "connection": st.sampled_from(["new", "keep-alive"]),
        "phase": st.sampled_from(PHASES),
        "at_most_us": st.floats(-1e3, 1e6),
    },
)


def rows(entry: dict[str, Any]):
    """Return the (arm, connection, phase) that an entry speaks of."""
    wanted = entry.get("connection"), entry.get("phase")
    kinds = [(kind, phase) for kind in ("new", "keep-alive") for phase in PHASES]
    chosen = [
        (kind, phase)
        for kind, phase in kinds
        if wanted[0] in (None, kind) and (phase == wanted[1] if wanted[1] else (kind, phase) in GATED)
    ]
    return [(entry["arm"], *kind) for kind in chosen]


@settings(deadline=None, max_examples=100)
@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_cells_are_what_the_entries_say(entries: list[dict[str, Any]]):
    """Each entry becomes its own cells, in order, or the budget is refused since two entries have a row in common."""
    limits = budget.from_dict({"limits": entries}, "here")
    expected = [row for entry in entries for row in rows(entry)]
    if len(expected) != len(set(expected)):
        with pytest.raises(InputError, match="twice"):
            budget.cells(limits, gating.PLAN, "here")
        return
    cells = budget.cells(limits, gating.PLAN, "here")
    assert expected == [(cell.arm, cell.connection, cell.phase) for cell in cells]


@settings(deadline=None, max_examples=100)
@given(ENTRIES, st.text(min_size=1, max_size=12), st.one_of(st.integers(), st.text(max_size=5), st.none()))
def test_unknown_keys_are_always_refused(entry: dict[str, Any], key: str, value: object):
    """Whatever else stands in an entry is refused by its name, with the accepted keys."""
    if key in Limit.__struct_fields__:
        return
    with pytest.raises(InputError) as refusal:
        budget.from_dict({"limits": [{**entry, key: value}]}, "here")
    assert repr(f"limits[0].{key}") in str(refusal.value)
    assert "accepted keys: arm, against" in str(refusal.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_budget_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str):
    """And its lines may end as on Windows."""
    path = tmp_path / "budget.toml"
    path.write_bytes('[[limits]]\r\narm = "full"\r\nat_most_us = 5\r\n'.encode(encoding))
    assert [5] == [limit.at_most_us for limit in budget.load(path)]
