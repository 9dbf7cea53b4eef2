"""A hundred attempts to get out of a pod, as each user and with each capability, as root and not: none succeeds."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from command_line import CommandLine
from escapes.attempt import ATTEMPTS
from escapes.canaries import Canaries
from escapes.prison import COLLECTS, FOREIGN_PORT, prison, program, variants, victim, written
from opened_lines import opened_line, opened_rootless_line
from tools import tool

from sidelab.lab.base import identity
from sidelab.lab.base.syscalls import CAPABILITIES
from sidelab.lab.client.meeting import sockets_listed

pytestmark = pytest.mark.kernel

_PYTHON = shutil.which("python3", path="/usr/bin:/bin")
_PODS_A_FILE = 20  # files have a bound on their size


@dataclass
class Attacked:
    """A lab of attackers when all have made their attempts, and what they report."""

    line: CommandLine
    others: list[CommandLine]
    canaries: Canaries
    reports: list[dict[str, str]]


@contextmanager
def _manifests(pods: list[dict[str, object]]) -> Iterator[list[str]]:
    """Write manifests, of several pods each, where another user may read them."""
    directory = Path(tempfile.mkdtemp(prefix="sidelab-test-"))
    directory.chmod(0o755)
    try:
        for start in range(0, len(pods), _PODS_A_FILE):
            path = directory / f"from-{start:03}.yaml"
            path.write_text(written(pods[start : start + _PODS_A_FILE]))
            path.chmod(0o644)
        yield sorted(map(str, directory.iterdir()))
    finally:
        shutil.rmtree(directory)


def _capabilities(line: CommandLine) -> list[str]:
    """Return which capabilities a manifest may ask for: root may have been given less than all."""
    mask = identity.read().capabilities if line.uid == 0 else -1
    return [name for number, name in enumerate(CAPABILITIES) if mask >> number & 1]


def _abstract_names() -> list[str]:
    return [line.split()[7][1:] for line in sockets_listed().splitlines()[1:] if " @" in line]


@pytest.fixture(scope="module", params=["root", "rootless"])
def attacked(
    request: pytest.FixtureRequest,
    _subreaper: None,
    _able: None,
    ordinary_user: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Attacked]:
    """Return a lab of attackers, with other labs of the same user and of another one beside it."""
    if _PYTHON is None:
        pytest.skip("no python3 in /usr/bin, which pods are shown")
    if request.param == "root" and os.getuid():
        pytest.skip("this is not root")
    opened = {
        "root": contextmanager(lambda: opened_line(tmp_path_factory.mktemp("root"))),
        "rootless": contextmanager(lambda: opened_rootless_line(ordinary_user, tmp_path_factory.mktemp("user"))),
    }
    uid = os.getuid() if request.param == "root" or os.getuid() else pwd.getpwnam(ordinary_user).pw_uid
    with ExitStack() as stack:
        canaries = stack.enter_context(Canaries(uid))
        names = [f"{each}-{canaries.name}" for each in ("victim", "other")]
        peers = [("10.244.0.2", COLLECTS), ("10.244.0.3", 80)]
        targets = canaries.targets(abstract=names, tcp=[("10.244.0.2", FOREIGN_PORT)], peers=peers)
        others, before = [], _abstract_names()
        for kind in (request.param, *opened.keys() - {request.param}) if os.getuid() == 0 else ("rootless",):
            other = stack.enter_context(opened[kind]())
            pods = [victim("other", targets, [FOREIGN_PORT])]
            done = other.run("up", *stack.enter_context(_manifests(pods)), "--name", other.name)
            assert done.returncode == 0, done.stderr
            others.append(other)
        line = stack.enter_context(opened[request.param]())
        line.env["SIDELAB_CANARY"] = canaries.secret
        controls = [each for each in _abstract_names() if "sidelab" in each and each not in before]
        targets = replace(targets, abstract=[*targets.abstract, *controls])
        pods = prison(targets, variants(_capabilities(line)))
        words = ("--name", line.name, "--timeout", "170")
        done = line.run("up", *stack.enter_context(_manifests(pods)), *words, timeout_s=180)
        assert done.returncode == 0, done.stderr[-3000:]
        said = line.exec("victim", "cat", "/tmp/reports").stdout
        yield Attacked(line, others, canaries, [json.loads(each) for each in said.splitlines()])


def test_no_attempt_succeeds(attacked: Attacked):
    """Whatever the user and the capabilities, each attempt is refused, or finds nothing to get hold of."""
    succeeded: dict[str, list[str]] = {}
    for each in attacked.reports:
        if each["verdict"] in {"succeeded", "broken"}:
            succeeded.setdefault(f"{each['attempt']}: {each['reason'][:160]}", []).append(each["by"])
    assert {} == succeeded


def test_every_attempt_was_made_by_everybody(attacked: Attacked):
    """Each of the attackers reports each attempt, of which there are many."""
    everybody = {(by, name) for by in variants(_capabilities(attacked.line)) for name in ATTEMPTS}
    assert everybody == {(each["by"], each["attempt"]) for each in attacked.reports}
    assert len(ATTEMPTS) >= 100


def test_nobody_outside_has_noticed_anything(attacked: Attacked):
    """Files, switches, services and processes of the host are as they were, and nobody came to them."""
    assert [] == attacked.canaries.harm()


def test_no_other_pod_has_noticed_anything(attacked: Attacked):
    """The victim beside the attackers, and those of other labs, got no signal and ran nothing unasked."""
    labs = [(attacked.line, "victim"), *((each, "other") for each in attacked.others)]
    assert [""] * len(labs) == [line.exec(pod, "cat", "/tmp/signals").stdout for line, pod in labs]


@pytest.mark.parametrize("by", ["plain", "uid-1000", "kill", "sys-boot", "everything"])
def test_who_ends_everything_ends_itself(attacked: Attacked, by: str):
    """Signals to all that can be reached, and a restart of the machine, are no other container's end."""
    before = _running(attacked.line.state())
    supervisor = attacked.line.state()["pid"]
    attacked.line.exec(by, "env", "PYTHONPATH=/tmp/escapes.zip", "python3", "-m", "escapes", "end")
    state = attacked.line.state()
    assert supervisor == state["pid"]
    assert before - {by} == _running(state) - {by}


def _running(state: dict[str, Any]) -> set[str]:
    """Return the names of pods that run and that nobody has restarted."""
    return {
        pod["name"]
        for pod in state["pods"]
        if pod["phase"] == "Running" and not any(each["restarts"] for each in pod["containers"])
    }


@pytest.mark.skipif(bool(os.getuid()), reason="this is not root, whom nothing holds")
def test_attempts_succeed_where_nothing_holds_them():
    """The same program gets hold of most of its targets as root outside of a lab."""
    with Canaries(0) as canaries:
        targets = canaries.targets(pids=[canaries.pid])
        # With a /tmp of its own, where the attempts leave files.
        begin = (
            'mount -t tmpfs none /tmp && cat > /tmp/escapes.zip && PYTHONPATH=/tmp/escapes.zip exec "$@" < /dev/null'
        )
        words = ["sh", "-c", begin, "sh", sys.executable, "-m", "escapes", "root", json.dumps(asdict(targets))]
        argv = [tool("unshare"), "--mount", "--uts", "--", *words]
        done = subprocess.run(argv, input=program(), cwd="/", capture_output=True, check=True, timeout=120)
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    verdicts = Counter(each["verdict"] for each in reports)
    assert [] == [each for each in reports if each["verdict"] == "broken"]
    assert verdicts["succeeded"] >= 60, verdicts
