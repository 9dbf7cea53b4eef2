"""A kind that only this test's command line registers, in running labs: from a manifest to pods that it concerns."""

import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest
from command_line import ROOT, CommandLine, await_true
from tools import needs

pytestmark = [pytest.mark.kernel, needs("curl")]

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: one, labels: {app: web, sidecar.istio.io/inject: "true"}}
spec:
  containers: [{name: nginx, image: nginx, ports: [{name: http, containerPort: 80}]}]
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  containers: [{name: nginx, image: nginx}]
"""
GATE = """
apiVersion: example.org/v1
kind: Gate
metadata: {name: front}
width: 3
selector: {app: web}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
_PROGRAM = """
    import sys
    sys.path[:1] = [{root!r}, {tests!r}]
    from sidelab.cli import registered_kinds
    from gates import GATE
    registered_kinds.REGISTERED = (GATE,)
    import sidelab
    sidelab.main()
"""


@pytest.fixture
def line(sidelab: CommandLine, tmp_path: Path) -> CommandLine:
    """Return a command line that registers gates."""
    program = _PROGRAM.format(root=str(ROOT), tests=str(ROOT / "tests"))
    (tmp_path / "sidelab.py").write_text(textwrap.dedent(program))
    sidelab.root = tmp_path
    return sidelab


def _up(line: CommandLine, *texts: str) -> None:
    done = line.up(line.manifest("---\n".join(texts)))
    assert done.returncode == 0, done.stderr


def _run(line: CommandLine, *words: str, text: str | None = None, status: int = 0) -> str:
    """Return what a verb prints, its message where it ends with another status than 0."""
    done = line.run(*words, "--lab", line.name, **({} if text is None else {"input": text}))
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def _apply(line: CommandLine, *texts: str, status: int = 0) -> str:
    return _run(line, "apply", "-", text="---\n".join(texts), status=status)


def _read(line: CommandLine, pod: str) -> dict[str, Any]:
    """Return what a pod reads about objects, {} without the file."""
    done = line.exec(pod, "sh", "-c", "cat /run/podinfo/objects.json || echo {}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _taken_up(line: CommandLine) -> int:
    """Return the generation that the agent of pod `one` has taken up."""
    text = line.exec("one", "curl", "-s", "http://localhost:15020/metrics").stdout
    return next(int(each.split()[1]) for each in text.splitlines() if each.startswith("istio_agent_generation "))


def test_an_object_travels_to_the_pods_that_it_concerns(line: CommandLine):
    """From `up`, from `apply`, which changes it, and away by `delete`; its agent says when it has taken it up."""
    _up(line, PODS, GATE)
    assert [("front", 3)] == [(each["metadata"]["name"], each["width"]) for each in _read(line, "one")["objects"]]
    assert {} == _read(line, "two")
    assert "gate.example.org/front configured\n" == _apply(line, GATE.replace("width: 3", "width: 4"))
    found = _read(line, "one")
    assert (4, {}) == (found["objects"][0]["width"], _read(line, "two"))
    await_true(lambda: _taken_up(line) >= found["generation"], "the agent has taken it up")
    assert line.pod("one")["generation"] >= found["generation"]
    assert "gate.example.org/front configured\n" == _apply(line, GATE.replace("{app: web}", "{}"))
    assert [1, 1] == [len(_read(line, pod)["objects"]) for pod in ("one", "two")]
    assert 'gate.example.org "front" deleted\n' == _run(line, "delete", "gate", "front")
    assert [[], []] == [_read(line, pod)["objects"] for pod in ("one", "two")]


def test_it_is_shown_as_kubectl_shows_things(line: CommandLine):
    """As a table with what acts on it says, by name, and as YAML that `apply` reads; all kinds without a kind."""
    _up(line, PODS, GATE, SERVICE)
    assert "NAME   WIDTH\nfront  3\n" == _run(line, "get", "gates")
    assert "NAME   WIDTH  NUMBER\nfront  3      1/1\n" == _run(line, "get", "gt", "front", "-o", "wide")
    assert "NAMESPACE  NAME   WIDTH\ndefault    front  3\n" == _run(line, "get", "gate", "-A")
    names = _run(line, "get", "-o", "name").split()
    assert ["service/web", "gate.example.org/front", "pod/one", "pod/two"] == names
    text = _run(line, "get", "-o", "yaml")
    assert {"unchanged"} == {each.split()[1] for each in _apply(line, text).splitlines()}
    assert 3 == json.loads(_run(line, "get", "gate/front", "-o", "json"))["width"]
    listed = json.loads(_run(line, "get", "gates,services", "--json"))
    assert ["Gate", "Service"] == [each["kind"] for each in listed["items"]]


def test_what_is_refused_has_changed_nothing(line: CommandLine):
    """By its type, by its check beside the rest, or by who acts on it after others have acted already."""
    _up(line, PODS, GATE)
    before = _read(line, "one")
    for text, status, message in (
        (GATE.replace("width: 3", "width: 0"), 2, "width: 0 is too narrow"),
        (GATE.replace("width: 3", "width: 4\nservice: nowhere"), 2, "service: there is no Service nowhere"),
        (GATE.replace("width: 3", "width: 13"), 5, "a gate that is 13 wide can't be built here"),
    ):
        assert message in _apply(line, SERVICE, text, status=status)
        assert (before, []) == (_read(line, "one"), line.state()["services"])
        assert "" == line.exec("two", "curl", "-s", "--max-time", "1", "http://10.96.0.11/").stdout
    assert 'pods "nobody" not found' in _run(line, "delete", "pod/nobody", "gate/front", status=2)
    assert "a running lab loses no pods" in _run(line, "delete", "pod/one", "gate/front", status=2)
    assert before == _read(line, "one")
    assert "" == _run(line, "delete", "gate", "nobody", "--ignore-not-found")
    assert "service/web created\n" == _apply(line, SERVICE)
    assert "200" == line.exec("two", "curl", "-so/dev/null", "-w%{http_code}", "http://web/").stdout


def test_what_is_doubtful_is_warned_of(line: CommandLine):
    """By `up` and by `apply`, which do it all the same."""
    doubtful = GATE.replace("{app: web}", "{app: nothing}")
    done = line.up(line.manifest(f"{PODS}---\n{doubtful}"))
    warning = "warning: Gate default/front: selector: it selects no pod\n"
    assert (0, True) == (done.returncode, warning in done.stderr)
    done = line.run("apply", "-", "--lab", line.name, input=doubtful.replace("front", "back"))
    assert (0, "gate.example.org/back created\n") == (done.returncode, done.stdout)
    assert warning.replace("front", "back") in done.stderr


def test_a_file_is_deleted_as_a_whole_or_not_at_all(line: CommandLine):
    """Services and gates of a file go; one with a pod in it stays."""
    _up(line, PODS, GATE, SERVICE)
    assert "a running lab loses no pods" in _run(line, "delete", "-f", "-", text=f"{PODS}---\n{GATE}", status=2)
    removed = _run(line, "delete", "-f", "-", text=f"{GATE}---\n{SERVICE}")
    assert 'service "web" deleted\ngate.example.org "front" deleted\n' == removed
    assert "" == _run(line, "get", "services,gates")


def test_kill_9_leaves_nothing_of_it(line: CommandLine):
    """Everything that was stored, published or acted on goes with the supervisor, as the fixture makes sure."""
    _up(line, PODS, GATE, SERVICE)
    os.kill(line.state()["pid"], signal.SIGKILL)
    await_true(lambda: "no lab named" in _run(line, "get", status=2), "the lab is gone")
