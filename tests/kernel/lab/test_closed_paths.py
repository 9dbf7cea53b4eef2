"""Programs behind directories that only their owner may enter: pods run them, and see nothing else there."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import ROOT, CommandLine

from sidelab.lab.cluster.podinfo import PODINFO
from sidelab.lab.errors import MachineError
from sidelab.sidecar.envoy import find_envoy

pytestmark = pytest.mark.kernel

SCRIPT = """#!/usr/bin/env python3
import os, time
import sibling
print(sibling.WORD, os.getuid(), flush=True)
time.sleep(1000)
"""
# As little as docs/proxy-contract.md asks of a proxy before the pod is ready.
PROXY = """#!/usr/bin/env python3
import http.server, sys
assert "--intent" in sys.argv
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("", 15021), Ready).serve_forever()
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: pod{metadata}}}
spec: {{containers: [{{name: main, image: curl{more}}}]}}
"""
INJECTED = ', labels: {{sidecar.istio.io/inject: "true"}}, annotations: {{sidelab.io/proxy: {proxy}}}'


def pod(metadata: str = "", more: str = "") -> str:
    """Return a manifest of one pod."""
    return POD.format(metadata=metadata, more=more)


def written(path: Path, text: str, mode: int = 0o755) -> Path:
    """Make a file with open directories on the way."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture(params=["sidelab", "rootless"])
def line(request: pytest.FixtureRequest) -> CommandLine:
    """Return a command line as root or whoever tests, and one as an ordinary user."""
    found: CommandLine = request.getfixturevalue(request.param)
    found.python = shutil.which(found.python) or found.python
    return found


@contextlib.contextmanager
def closed_directory(uid: int) -> Iterator[Path]:
    """Yield a directory of that user's, in a closed one in another closed one, outside what pods have of their own."""
    outer = Path(tempfile.mkdtemp(prefix="sidelab-test-", dir="/var/tmp"))
    inner = outer / "inner"
    inner.mkdir(mode=0o700)
    written(outer / "secret", "secret")
    written(inner / "open" / "sibling.py", "WORD = 'found'\n", 0o644)
    written(inner / "open" / "serve", SCRIPT)
    written(inner / "open" / "proxy", PROXY)
    try:
        for each in (outer, *outer.rglob("*")):
            os.chown(each, uid, -1)
        yield inner / "open"
    finally:
        shutil.rmtree(outer)


@pytest.fixture
def closed(line: CommandLine) -> Iterator[Path]:
    """Return such a directory of whoever starts the lab."""
    with closed_directory(line.uid) as directory:
        yield directory


def up(line: CommandLine, manifest: str) -> tuple[int, str]:
    """Start a lab with a manifest that comes by standard input; return status and errors."""
    done = line.run("up", "-", "--name", line.name, "--timeout", "20", input=manifest)
    return done.returncode, done.stderr


@pytest.mark.parametrize("uid", [0, 4711])
@pytest.mark.parametrize("command", ["[{0}/serve]", "[python3, {0}/serve]"])
def test_a_container_runs_a_program_behind_closed_directories(line: CommandLine, closed: Path, uid: int, command: str):
    """It sees what lies beside its program, and nothing else of the directories on the way."""
    more = f", command: {command.format(closed)}, securityContext: {{runAsUser: {uid}}}"
    # The sidecar's proxy is of another uid than the container: what is shown for one is shown to both.
    assert (0, "") == up(line, pod(INJECTED.format(proxy=closed / "proxy"), more))
    assert f"found {uid}\n" == line.run("logs", "pod", "-c", "main", "--lab", line.name).stdout
    seen = line.exec("pod", "ls", str(closed.parents[1]), str(closed.parent)).stdout
    assert f"{closed.parents[1]}:\ninner\n\n{closed.parent}:\nopen\n" == seen


def test_a_container_runs_a_program_of_another_users_closed_directory(sidelab: CommandLine):
    """Root starts the lab and can get there; a container's root could not."""
    if os.getuid():
        pytest.skip("only root gets into another user's directory")
    with closed_directory(54321) as directory:
        assert (0, "") == up(sidelab, pod(more=f", command: [{directory}/serve]"))
        assert "found 0\n" == sidelab.run("logs", "pod", "--lab", sidelab.name).stdout


def test_envoy_is_run_from_a_closed_directory(line: CommandLine, closed: Path):
    """As it lies in a home that is its owner's alone, in whatever environment of Python."""
    try:
        envoy = find_envoy()
    except MachineError as error:
        pytest.skip(str(error))
    binary = closed / "envoy"
    try:
        binary.hardlink_to(envoy)
    except OSError:  # another file system
        shutil.copy(envoy, binary)
    line.env["SIDELAB_ENVOY"] = str(binary)
    assert (0, "") == up(line, pod(INJECTED.format(proxy="envoy")))
    assert "yes  envoy" + " " * 18 + f"{binary}\n" in line.run("doctor").stdout


def test_a_proxy_that_only_its_owner_may_run_is_run_as_a_copy(line: CommandLine, closed: Path):
    """As one in an environment that was made under a umask of 077."""
    for each in (closed, closed / "proxy"):
        each.chmod(0o700)
    assert (0, "") == up(line, pod(INJECTED.format(proxy=closed / "proxy"), f", command: [{closed}/serve]"))
    assert "found 0\n" == line.run("logs", "pod", "-c", "main", "--lab", line.name).stdout


def test_a_container_that_may_not_run_its_program_is_refused(line: CommandLine, closed: Path):
    """Of a manifest's own command nothing is copied: in an image, too, the mode counts."""
    (closed / "serve").chmod(0o700)
    status, errors = up(line, pod(more=f", command: [{closed}/serve], securityContext: {{runAsUser: 1337}}"))
    assert (2, f"{closed}/serve: uid 1337 may not run it (mode 0700): `chmod o+rx {closed}/serve`") == (
        status,
        errors.removeprefix("sidelab: pod pod: container main: ").strip(),
    )


def test_the_program_itself_may_lie_in_a_closed_directory(line: CommandLine, closed: Path):
    """A checkout whose root is closed: its programs run in pods, as the sidecar's user too."""
    checkout = closed.parent / "checkout"
    for each in ("sidelab.py", "lab", "sidecar", "cli", "evidence", "bench"):
        source = ROOT / each
        copy = shutil.copytree if source.is_dir() else shutil.copy
        (checkout / each).parent.mkdir(parents=True, exist_ok=True)
        copy(source, checkout / each)
    shutil.copytree(closed, checkout / "examples")
    checkout.chmod(0o700)
    for each in (checkout, *checkout.rglob("*")):
        os.chown(each, line.uid, -1)
    line.root = checkout
    more = f", command: [{checkout}/examples/serve], securityContext: {{runAsUser: 4711}}"
    assert (0, "") == up(line, pod(INJECTED.format(proxy=checkout / "examples" / "proxy"), more))
    said = line.exec("pod", "cat", f"{checkout}/examples/sibling.py")
    line.run("down", line.name)  # while it is there
    assert "WORD = 'found'\n" == said.stdout


@pytest.mark.parametrize(
    ("name", "text", "mode", "said"),
    [
        ("tool", "#!/bin/sh\n", 0o644, "is not executable: `chmod +x {0}`"),
        ("tool", "#!/no/python\n", 0o755, "is run by /no/python: /no/python: no such file"),
        ("", "", 0o755, "is a directory: give the program in it"),
        ("nothing/there", "", 0, "no such file: install it, or correct its path"),
    ],
)
@pytest.mark.parametrize("as_proxy", [True, False])
def test_a_program_that_cannot_be_run_is_refused_before_anything_starts(
    line: CommandLine, closed: Path, name: str, text: str, mode: int, said: str, as_proxy: bool
):
    """The message names pod, container, file and cure, and the status is that of wrong input."""
    program = closed / name
    if text:
        os.chown(written(program, text, mode), line.uid, -1)
    proxied, ran = INJECTED.format(proxy=program), f", command: ['{program}'], securityContext: {{runAsUser: 1337}}"
    status, errors = up(line, pod(proxied) if as_proxy else pod(more=ran))
    assert 2 == status
    assert errors.startswith(f"sidelab: pod pod: container {'istio-proxy' if as_proxy else 'main'}: {program}")
    assert said.format(program) in errors
    assert line.name not in line.run("list").stdout


def test_a_closed_directory_that_its_starter_may_not_enter_is_named(rootless: CommandLine):
    """Nobody can show a pod what he can't get at himself."""
    if rootless.uid == os.getuid():
        pytest.skip("there is one user only: this is not root")
    with closed_directory(0) as directory:
        status, errors = up(rootless, pod(more=f", command: [{directory}/serve]"))
    door = directory.parents[1]
    assert (2, f"{directory}/serve: Permission denied: {door} may not be entered by you") == (
        status,
        errors.removeprefix("sidelab: pod pod: container main: ").partition(", who")[0],
    )


@contextlib.contextmanager
def below_tmp() -> Iterator[Path]:
    """Yield a program in the machine's /tmp."""
    tool = written(Path("/tmp") / f"sidelab-test-{os.getpid()}", "#!/bin/sh\n")
    try:
        yield tool
    finally:
        tool.unlink()


def test_a_program_below_tmp_is_refused_with_where_to_put_it(sidelab: CommandLine):
    """Each pod has a /tmp of its own, and the file is there on the machine alone."""
    with below_tmp() as tool:
        status, errors = up(sidelab, pod(more=f", command: [{tool}]"))
    assert 2 == status
    assert f"{tool} is not in the pod, because each pod has its own /tmp and not the machine's: put it" in errors


def test_what_exec_does_not_find_in_the_pod_is_explained(line: CommandLine, closed: Path):
    """A program that the machine has and the pod is not shown is told from one that is nowhere."""
    other = written(closed.parents[1] / "other", "#!/bin/sh\n")
    assert (0, "") == up(line, pod(INJECTED.format(proxy=closed / "proxy")))
    with below_tmp() as tool:
        said = [line.exec("pod", str(each)).stderr for each in (tool, other, closed / "nothing")]
    assert "No such file or directory: each pod has its own /tmp and not the machine's; put it elsewhere" in said[0]
    assert f"No such file or directory: pods are shown nothing of {closed.parents[1]} but what their" in said[1]
    assert said[2].endswith("No such file or directory\n")


def test_a_lab_started_under_a_closing_umask_is_as_open_as_any(line: CommandLine):
    """Directories made for pods are not closed to their users."""
    line.prefix = (*line.prefix, "sh", "-c", 'umask 077; exec "$0" "$@"')
    assert (0, "") == up(line, pod(INJECTED.format(proxy="bundled")))
    done = line.run("exec", "pod", "-c", "istio-proxy", "--lab", line.name, "--", "cat", PODINFO)
    assert '"name":"pod"' in done.stdout.replace(" ", "")
