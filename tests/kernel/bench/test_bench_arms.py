import os
import select
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, nothing_left
from tools import needs, tool

from sidelab.bench.arms import revisions
from sidelab.bench.base.samples import RequestSample
from sidelab.bench.judge import decomposition, statistics
from sidelab.bench.measure.preparing import _without, prepare
from sidelab.bench.measure.replicate import measure_build
from sidelab.bench.plan import builds, plan
from sidelab.bench.plan.plan import Plan, from_dict
from sidelab.lab.errors import MachineError

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("_subreaper", "_able")]

SHORT = {"rebuilds": 2, "rounds": 2, "requests_per_round": 3, "warmup_requests": 1}
TCP = {"server": "injected", "proxy": "bundled", "protocol": "tcp"}


def of(*arms: dict[str, Any], **keys: Any) -> Plan:
    """Make a short plan of direct, its twin and these arms."""
    every = [{"name": "direct"}, {"name": "direct-twin"}, *arms]
    return from_dict({"name": "short", "arms": every, **SHORT, **keys}, "here")


def measured(asked: Plan, **given: Any) -> list[RequestSample]:
    """Build each of a plan's labs, measure, and have every path proven; nothing may be left."""
    with nothing_left():
        setup = prepare(asked, seed=1, client="own", **given)
        rounds = [rows for rebuild in range(1, asked.rebuilds + 1) for rows in measure_build(setup, rebuild)]
    return [row for rows in rounds for row in rows]


def answered(asked: Plan, **given: Any) -> dict[str, tuple[int, set[int]]]:
    """Return for each arm how many requests it made, and their statuses."""
    found: dict[str, tuple[int, set[int]]] = {}
    for row in measured(asked, **given):
        count, statuses = found.get(row.arm, (0, set()))
        found[row.arm] = (count + 1, statuses | {row.status})
    return found


@pytest.mark.parametrize("name", ["ladder", "istio", "payload"])
def test_shipped_plans_take_their_paths(name: str) -> None:
    """Every arm of a shipped plan is measured on a path that its counters, conntrack and its proxy prove."""
    asked = from_dict(plan.as_dict(plan.load(name)) | SHORT, "here")
    assert {arm.name: (2 * 2 * 7, {200}) for arm in asked.arms} == answered(asked)


def test_arms_of_ipv6_and_odd_ones_take_their_paths() -> None:
    """IPv6, TPROXY, rules at the client, many rules and an explicit HTTP proxy work and are proven."""
    asked = of(
        {"name": "six", "family": 6, **TCP, "client": "injected"},
        {"name": "six-tproxy", "family": 6, "rules": "tproxy", **TCP},
        {"name": "six-explicit", "family": 6, **TCP, "server": "explicit"},
        {"name": "tproxy", "rules": "tproxy", **TCP},
        {"name": "client-rules", "client": "rules-only", "extra_rules": 50},
        {"name": "many", "extra_rules": 500, **TCP},
        {"name": "explicit-http", "server": "explicit", "proxy": "bundled", "protocol": "http"},
    )
    assert {arm.name: (28, {200}) for arm in asked.arms} == answered(asked)


@needs("nginx")
def test_an_arm_may_have_a_real_server() -> None:
    """One arm has nginx and the others the stand-in, in one lab."""
    asked = of(
        {"name": "real", "image": "nginx"}, {"name": "real-redirected", "image": "nginx", "server": "redirected"}
    )
    sizes = {(row.arm.startswith("real"), row.bytes) for row in measured(asked)}
    assert {False, True} == {real for real, _ in sizes}
    assert 2 == len(sizes)


@needs("haproxy")
def test_a_program_of_the_users_own_is_an_arm() -> None:
    """Any program that follows the contract can be an arm's proxy, by its path."""
    program = ROOT / "examples" / "haproxy" / "haproxy-sidecar"
    asked = of({"name": "haproxy", "server": "injected", "proxy": str(program), "protocol": "http"})
    assert {arm.name: (28, {200}) for arm in asked.arms} == answered(asked)


def test_payloads_are_as_large_as_asked() -> None:
    """An arm asks for its own page, the others for the plan's."""
    asked = of({"name": "large", "path": "/size/1048576", **TCP}, path="/size/1024")
    assert {("direct", 1024), ("direct-twin", 1024), ("large", 1048576)} == {
        (row.arm, row.bytes) for row in measured(asked)
    }


def test_what_this_machine_cannot_run_is_left_out() -> None:
    """An arm with an Envoy that is not here is left out with the reason, unless all are required."""
    asked = of({"name": "old", "server": "injected", "proxy": "envoy", "envoy": "9.9.9", "protocol": "tcp"})
    setup = prepare(asked, seed=1, client="own")
    assert ["direct", "direct-twin"] == [arm.name for arm in setup.plan.arms]
    assert "there is no Envoy 9.9.9 here" in setup.skipped["old"]
    with pytest.raises(MachineError, match=r"arm old can't run here: there is no Envoy 9\.9\.9"):
        prepare(asked, seed=1, client="own", require_all=True)


def test_what_the_reference_lacks_ends_the_run() -> None:
    """Without the arm that all are held against there is nothing to measure."""
    table = {"name": "short", "arms": [{"name": "direct", "family": 6}, {"name": "direct-twin", "family": 6}]}
    asked = from_dict(table, "here")
    with pytest.raises(MachineError, match="arm direct, which all others are held against"):
        _without(asked, {"direct": "no IPv6"}, require_all=False)


def repository(path: Path) -> Path:
    """Make a git repository with one commit of the packages that a proxy is made of."""
    for name in ("lab", "sidecar"):
        shutil.copytree(ROOT / name, path / name, ignore=shutil.ignore_patterns("__pycache__"))
    git = (tool("git"), "-C", path, "-c", "user.name=t", "-c", "user.email=t@localhost")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "one")):
        subprocess.run((*git, *words), check=True)
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a repository."""
    return repository(tmp_path / "checkout")


def test_two_revisions_are_two_arms(checkout: Path) -> None:
    """The proxies of git revisions run as programs of their own beside each other, and are gone afterwards."""
    asked = builds.compare(plan.load("compare"), "git:HEAD", "bundled")
    asked = from_dict(plan.as_dict(asked) | SHORT, "here")
    with revisions.extracted(asked, checkout) as proxies:
        programs = {word: each.program for word, each in proxies.items()}
        program = Path(programs["git:HEAD"])
        assert program.exists()
        assert {arm.name: (28, {200}) for arm in asked.arms} == answered(asked, proxies=programs)
    assert not program.parent.parent.exists()


def test_a_killed_run_leaves_no_revision(checkout: Path) -> None:
    """A process that is killed with -9 takes the revisions that it has extracted with it."""
    program = f"""
from sidelab.bench.arms import revisions
from sidelab.bench.plan import builds, plan
from pathlib import Path
with revisions.extracted(builds.compare(plan.load("compare"), "git:HEAD", "bundled"), Path({str(checkout)!r})) as found:
    print(found["git:HEAD"].program, flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        directory = Path(process.stdout.readline().strip()).parent.parent
        assert directory.exists()
        remover = next(
            int(each.name)
            for each in Path("/proc").iterdir()
            if each.name.isdecimal() and int(each.name) != process.pid and str(directory) in command(each)
        )
        watched = os.pidfd_open(remover)
        process.send_signal(signal.SIGKILL)
    try:
        assert [watched] == select.select([watched], [], [], 10)[0]
    finally:
        os.close(watched)
    assert not directory.exists()


def command(process: Path) -> str:
    """Return the command line of a process, nothing where it has ended."""
    try:
        return (process / "cmdline").read_text(errors="replace")
    except OSError:
        return ""


def test_a_mini_ladder_is_decomposed() -> None:
    """What is measured of the ladder gives each of its terms a figure."""
    import pandas as pd  # noqa: PLC0415  # as the program: not before the measuring

    asked = from_dict(plan.as_dict(plan.load("ladder")) | SHORT, "here")
    frame = pd.DataFrame(measured(asked))
    frame = frame.astype({name: float for name in frame if name.endswith("_us")})
    terms = decomposition.decompose(asked, partial(statistics.rebuild_medians, frame))
    assert {term.name for term in asked.terms} == {each.term for each in terms}
    assert {2} == {each.rebuilds for each in terms}
