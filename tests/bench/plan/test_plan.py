from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.arm import Arm
from sidelab.bench.plan.plan import Placement, Plan
from sidelab.lab.errors import InputError

MINIMAL = """
name = "mine"
[[arms]]
name = "direct"
[[arms]]
name = "direct-twin"
"""


def write(tmp_path: Path, text: str):
    """Write a plan file and return its path."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


def minimal(**changes: Any):
    """Make the smallest plan, with some keys changed."""
    return Plan(name="mine", arms=(Arm(name="direct"), Arm(name="direct-twin")), **changes)


def test_shipped_plans():
    """Every shipped plan loads, is named like its file, and has the arms of the main comparison."""
    loaded = {name: plans.load(name) for name in plans.shipped()}
    assert {"overhead", "smoke"} <= set(loaded)
    assert {name: name for name in loaded} == {name: plan.name for name, plan in loaded.items()}
    arms = ["direct", "direct-twin", "rules-only", "tcp", "http", "both"]
    assert arms == [arm.name for arm in loaded["overhead"].arms]


@pytest.mark.parametrize(("name", "requests"), [("overhead", 65_000), ("smoke", 10_000)])
def test_shipped_plans_stay_small(name: str, requests: int):
    """A shipped plan has at least ten rebuilds, stays clear of TIME_WAIT, and its samples fit the results directory."""
    plan = plans.load(name)
    assert plan.rebuilds >= 10
    assert plan.new_connections_per_build <= 1_500
    assert plan.requests <= requests


@pytest.mark.parametrize("name", plans.shipped())
def test_every_shipped_plan_can_tell(name: str):
    """A shipped plan has enough rebuilds for an interval, and opens few enough connections in each."""
    plan = plans.load(name)
    assert plan.rebuilds >= 10
    assert plan.new_connections_per_build <= 1_500
    assert plan.description


def test_defaults_make_a_round_of_200_requests_an_arm(tmp_path: Path):
    """A plan of nothing but arms gets both connections, 100 requests of each a round, and twenty rebuilds."""
    plan = plans.load(write(tmp_path, MINIMAL))
    assert ("new", "keep-alive") == plan.connections
    assert 200 == plan.requests_per_round * len(plan.connections)
    assert 20 == plan.rebuilds
    assert 20 * 2 * 2 * (2 * 100 + 20) == plan.requests


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MINIMAL + "proxxy = 'none'\n", ["mine.toml", "arms[1].proxxy", "accepted keys: name, client, server, proxy"]),
        ("reqests = 3\n" + MINIMAL, ["mine.toml", "'reqests'", "requests_per_round"]),
        (MINIMAL + "proxy = 'haproxy'\n", ["arms[1]", "proxy = 'haproxy'", "none, bundled, envoy", "absolute path"]),
        (MINIMAL + "family = 5\n", ["arms[1].family", "4, 6"]),
        (MINIMAL + "[[terms]]\nname = 'x'\narm = 'none'\n", ["term 'x' names 'none'", "direct, direct-twin"]),
        (MINIMAL + "[[terms]]\nname = 'x'\narms = 'none'\n", ["terms[0].arms", "name, arm, against, parts"]),
        (
            MINIMAL + "[[terms]]\nname = 'x'\narm = 'direct'\nagainst = 'direct'\nparts = ['direct']\n",
            ["'x' has `against` and `parts`"],
        ),
        (MINIMAL + 2 * "[[terms]]\nname = 'x'\narm = 'direct'\n", ["two terms have the same name"]),
        (MINIMAL + "[stop]\nwidth_us = 1\n", ["stop.width_us", "half_width_us, budget_s, least_rebuilds"]),
        (MINIMAL + "[stop]\nleast_rebuilds = 2\n", ["least_rebuilds must be at least 3"]),
        (MINIMAL + "[stop]\nbudget_s = -1.0\n", ["must not be negative"]),
        (MINIMAL + "proxy = 'bundled'\n", ["names a proxy but injects no side"]),
        (MINIMAL + "server = 'injected'\n", ["needs a proxy and a protocol"]),
        ("rounds = '2'\n" + MINIMAL, ["Expected `int`", "$.rounds"]),
        ("rounds = 0\n" + MINIMAL, ["rounds must be at least 1"]),
        ("rebuilds = 1\n" + MINIMAL, ["rebuilds must be at least 2"]),
        ("rounds = 1000\n" + MINIMAL, ["TIME_WAIT", "more rebuilds"]),
        ("twin = 'other'\n" + MINIMAL, ["twin = 'other'", "direct, direct-twin"]),
        ("twin = 'direct'\n" + MINIMAL, ["twin must be a second arm"]),
        ("reference = 7\n" + MINIMAL, ["Expected `str`", "$.reference"]),
        ("connections = []\n" + MINIMAL, ["connections must name"]),
        ("connections = ['newer']\n" + MINIMAL, ["mine.toml", "newer"]),
        ("path = 'size/1'\n" + MINIMAL, ["path must start with /"]),
        ("margin_us = -1.0\n" + MINIMAL, ["must not be negative"]),
        ("margin_us = nan\n" + MINIMAL, ["finite"]),
        ("margin_ratio = inf\n" + MINIMAL, ["finite"]),
        (MINIMAL + "[placement]\nlab_cpus = []\n", ["lab_cpus is empty"]),
        ("loads = [{connections = 2}, {connections = 2, duration_s = 3}]\n" + MINIMAL, ["same connections"]),
        ("name = 'A b'\n[[arms]]\nname = 'direct'\n", ["name 'A b'"]),
        ("name = 'x'\n", ["'arms' is missing"]),
        ("name = 'x'\narms = [1]\n", ["arms[0]", "must be a table"]),
        ("name = 'x'\nplacement = 1\narms = []\n", ["placement", "must be a table"]),
        (MINIMAL + "[placement]\ncpu = 1\n", ["placement.cpu", "client_cpu, lab_cpus"]),
        (MINIMAL + "[[arms]]\nname = 'direct'\n", ["same name"]),
        ("name = ", ["mine.toml", "not valid TOML"]),
    ],
)
def test_wrong_plans_name_file_key_and_cure(tmp_path: Path, text: str, words: list[str]):
    """A plan that is wrong is refused with one message that holds the file, the key and what is accepted."""
    with pytest.raises(InputError) as refusal:
        plans.load(write(tmp_path, text))
    assert [] == [word for word in words if word not in str(refusal.value)]
    assert "\n" not in str(refusal.value).partition("not valid TOML")[0]


VALUES = st.one_of(
    *(st.none(), st.booleans(), st.integers(-2, 10**6), st.floats(), st.text(max_size=5)),
    *(st.sampled_from(["direct", "injected", "bundled", "tcp", "redirect", "/", "git:x", "new"]),),
)
KEYS = st.sampled_from(
    "name client server proxy protocol rules way path family extra_rules image parts arm against of connections "
    "half_width_us budget_s rebuilds rounds stop x".split()
)
TABLES = st.dictionaries(KEYS, VALUES, max_size=4)


@given(
    st.dictionaries(
        st.sampled_from(["arms", "terms", "loads", "ratios", "stop", "placement", "rebuilds", "reference", "path"]),
        st.one_of(VALUES, TABLES, st.lists(st.one_of(TABLES, VALUES), max_size=3)),
        max_size=4,
    )
)
@settings(deadline=None, max_examples=300)
def test_any_table_is_a_plan_or_one_error(table: dict[str, Any]):
    """Whatever a file says, it is a valid plan or refused in one message that names the file."""
    whole = {"name": "p", "arms": [{"name": "direct"}, {"name": "direct-twin"}], **table}
    try:
        plan = plans.from_dict(whole, "p.toml")
        said = "plan p.toml: " if plan == plans.from_dict(plans.as_dict(plan), "again") else ""
    except InputError as error:
        said = str(error)
    assert "plan p.toml: " == said[:13]


def test_unknown_plan_lists_the_shipped_ones():
    """A name that is neither shipped nor a file is refused with the names that are."""
    with pytest.raises(InputError, match=r"'nope'.*compare, .*ladder, overhead, .*ways"):
        plans.load("nope")


def test_unreadable_plan(tmp_path: Path):
    """A directory in a plan's place is refused, not a traceback."""
    with pytest.raises(InputError, match="cannot read plan"):
        plans.load(str(tmp_path))


def test_plan_survives_json():
    """What run.json keeps of a plan makes the same plan again, with the same digest."""
    plan = plans.load("overhead")
    again = plans.from_dict(msgspec.json.decode(msgspec.json.encode(plans.as_dict(plan))), "run.json")
    assert plan == again
    assert plan.digest == again.digest


def test_digest_is_what_is_measured():
    """Seed and description do not make another measurement; the number of requests does."""
    assert minimal().digest == minimal(seed=5, description="again").digest
    assert minimal().digest != minimal(requests_per_round=99).digest
    assert 64 == len(minimal().digest)


def test_what_cannot_run_leaves_with_all_that_names_it():
    """A plan without an arm has no term or ratio that needs it, and is another measurement."""
    whole = plans.load("ladder")
    rest = whole.without({"explicit"})
    assert {"direct", "direct-twin", "conntrack", "redirect", "tcp", "http", "both"} == {arm.name for arm in rest.arms}
    assert ["conntrack", "redirect", "HTTP", "second sidecar"] == [term.name for term in rest.terms]
    assert whole.digest != rest.digest


def test_the_reference_cannot_be_left_out():
    """A plan without its reference or its twin is no plan."""
    for name in ("direct", "direct-twin"):
        with pytest.raises(ValueError, match="is no arm of this plan"):
            plans.load("smoke").without({name})


def test_terms_of_the_ladder_add_up():
    """The ladder's terms lead from the reference to the arm with both sidecars: no cost is left out or told twice."""
    plan = plans.load("ladder")
    balance = dict.fromkeys((arm.name for arm in plan.arms), 0)
    for term in plan.terms:
        balance[term.arm] += 1
        for name in term.parts or (term.against or plan.reference,):
            balance[name] -= 1
        # Parts are held against the reference each, so an interaction of n of them gives n - 1 references back.
        balance[plan.reference] += max(0, len(term.parts) - 1)
    assert {"both": 1, "direct": -1} == {name: count for name, count in balance.items() if count}


@pytest.mark.parametrize(
    ("placement", "available", "expected"),
    [
        (Placement(), {0, 1}, (1, {0})),
        (Placement(), {0, 1, 2, 3}, (3, {0, 1, 2})),
        (Placement(), {0}, (0, {0})),
        (Placement(client_cpu=0), {0, 1}, (0, {1})),
        (Placement(lab_cpus=(1,)), {0, 1}, (0, {1})),
        (Placement(client_cpu=1, lab_cpus=(1,)), {0, 1}, (1, {1})),
        (Placement(lab_cpus=(0, 1)), {0, 1}, (1, {0, 1})),
    ],
)
def test_placement(placement: Placement, available: set[int], expected: tuple[int, set[int]]):
    """The client gets a CPU of its own wherever there are two and the plan does not say otherwise."""
    assert expected == placement.resolve(frozenset(available))


def test_placement_names_a_missing_cpu():
    """A plan for CPUs that this process may not use is refused, naming them and those it may use."""
    with pytest.raises(InputError, match=r"CPU 5, 7, this process may use 0, 1"):
        Placement(client_cpu=7, lab_cpus=(0, 5)).resolve(frozenset({0, 1}))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_plan_may_begin_with_a_byte_order_mark(tmp_path: Path, encoding: str):
    """And its lines may end as on Windows: it is the same plan."""
    path = tmp_path / "mine.toml"
    path.write_bytes(plans.shipped()["smoke"].read_text().replace("\n", "\r\n").encode(encoding))
    assert plans.load("smoke") == plans.load(str(path))
