"""Open loops against a lab, and connections that are idle."""

from pathlib import Path

import pytest

from sidelab.bench.measure import loads
from sidelab.bench.measure.beds.this_machine import ThisMachine
from sidelab.bench.measure.preparing import prepare
from sidelab.bench.openloop.measure import measure
from sidelab.bench.plan.plan import from_dict

pytestmark = pytest.mark.kernel


def test_every_arm_answers_at_the_rate_and_only_proxies_cost() -> None:
    """All is answered; CPU and memory are known where there is a proxy, and twice the memory at both ends."""
    sidecar = {"proxy": "bundled", "protocol": "http", "server": "injected"}
    arms = [{"name": "direct"}, {"name": "direct-twin"}, {"name": "server", **sidecar}]
    arms.append({"name": "both", **sidecar, "client": "injected"})
    rates = [{"rate_per_s": 200, "connections": 4, "duration_s": 1, "schedule": "exponential"}]
    plan = from_dict({"name": "openloop", "arms": arms, "rates": rates}, "test")
    setup = prepare(plan, seed=1, client="own")
    before = len(list(Path("/proc/self/fd").iterdir()))
    with ThisMachine().built(setup, 1) as standing:
        found = {row.arm: row for row in measure(plan, standing.lab, setup.pods, 1, 1, setup.client_cpu)}
    assert before == len(list(Path("/proc/self/fd").iterdir()))
    assert [0] * 4 == [row.errors for row in found.values()]
    assert all(100 < row.requests < 300 for row in found.values())
    assert {"direct": False, "direct-twin": False, "server": True, "both": True} == {
        name: row.memory_kib > 0 and row.cpu_s_per_1000 >= 0 for name, row in found.items()
    }
    assert 1.5 < found["both"].memory_kib / found["server"].memory_kib < 2.5


def test_idle_connections_cost_a_proxy_memory() -> None:
    """Each has its whole answer; they are opened where there is a proxy, which uses more memory meanwhile."""
    arms = [{"name": "direct"}, {"name": "direct-twin"}]
    arms.append({"name": "server", "proxy": "bundled", "protocol": "http", "server": "injected"})
    plan = from_dict({"name": "idle", "arms": arms, "idle_connections": 100, "path": "/size/100000"}, "test")
    setup = prepare(plan, seed=1, client="own")
    with ThisMachine().built(setup, 1) as standing:
        (row,) = loads.measure(plan, standing.lab, setup.pods, 1, 1, setup.client_cpu)
    assert ("server", 100) == (row.arm, row.connections)
    assert 0 < row.unloaded_kib < row.private_kib
