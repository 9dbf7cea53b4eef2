from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import plan as plans
from bench.arm import Arm
from bench.plan import Placement, Plan
from lab.errors import InputError

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
        (MINIMAL + "proxy = 'haproxy'\n", ["arms[1].proxy", "'haproxy'", "none, bundled, envoy"]),
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


def test_unknown_plan_lists_the_shipped_ones():
    """A name that is neither shipped nor a file is refused with the names that are."""
    with pytest.raises(InputError, match=r"'nope'.*overhead, proxies, smoke"):
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


def test_arms_describe_themselves():
    """An arm's description says what stands between client and server, and only Envoy is named."""
    arms = {arm.name: arm for arm in plans.load("overhead").arms}
    envoy = Arm(name="e", client="injected", proxy="envoy", protocol="tcp")
    assert "no rules, no proxy" == arms["direct"].describe()
    assert "rules loaded, no redirect" == arms["rules-only"].describe()
    assert "HTTP sidecar at both ends" == arms["both"].describe()
    assert "Envoy TCP sidecar at the client" == envoy.describe()


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
