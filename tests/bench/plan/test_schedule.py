from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.bench.plan import plan as plans
from sidelab.bench.plan.request_order import order, rounds

PLAN = plans.load("smoke")


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**63), rebuild=st.integers(1, 50), round_=st.integers(0, 5))
def test_every_arm_equally_often(seed: int, rebuild: int, round_: int):
    """In every round each arm has each connection equally often, whatever the seed."""
    counts = Counter(order(PLAN, seed, rebuild, round_))
    expected = PLAN.warmup_requests if round_ == 0 else PLAN.requests_per_round
    assert {(arm.name, connection): expected for arm in PLAN.arms for connection in PLAN.connections} == counts


def test_order_is_decided_by_the_seed_alone():
    """The same seed gives the same order on every machine; another seed, rebuild or round gives another."""
    first = order(PLAN, 1, 1, 1)
    assert first == order(PLAN, 1, 1, 1)
    assert first not in (order(PLAN, 2, 1, 1), order(PLAN, 1, 2, 1), order(PLAN, 1, 1, 2))
    assert [("http", "new"), ("direct-twin", "new"), ("http", "keep-alive")] == first[:3]


def test_neither_twin_is_favoured():
    """Over many rounds the reference comes before its twin about as often as after it, at equal occurrence."""
    ahead = 0
    for rebuild in range(1, 101):
        slots = [slot.arm for slot in order(PLAN, 7, rebuild, 1) if slot.connection == "new"]
        places = {arm: [k for k, name in enumerate(slots) if name == arm] for arm in ("direct", "direct-twin")}
        ahead += sum(a < b for a, b in zip(places["direct"], places["direct-twin"], strict=True))
    assert 0.4 < ahead / (100 * PLAN.requests_per_round) < 0.6


def test_warmup_comes_first_and_only_if_wanted():
    """A rebuild is its warm-up, round 0, then the measured rounds from 1; without warm-up requests there is none."""
    plan = plans.load("overhead")
    assert [0, 1, 2] == [round_ for round_, _ in rounds(plan, 3, 1)]
    without = plans.from_dict(plans.as_dict(plan) | {"warmup_requests": 0}, "here")
    assert [1, 2] == [round_ for round_, _ in rounds(without, 3, 1)]
    assert plan.requests == plan.rebuilds * sum(len(slots) for _, slots in rounds(plan, 3, 1))
