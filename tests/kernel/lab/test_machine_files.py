"""What pods see of the machine's files, and that nothing answers them there: of root's labs and of ordinary users'."""

import contextlib
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import CommandLine
from tools import tool

pytestmark = pytest.mark.kernel

POD = """
apiVersion: v1
kind: Pod
metadata: {{name: pod}}
spec: {{containers: [{{name: main, image: any, command: [sleep, "1000"]{more}}}]}}
"""
COVERED = ("/srv", "/var/lib", "/var/tmp", "/home", "/root", "/mnt")
SHOWN = ("/opt", "/etc", "/usr/local/lib")
# What a program in a pod gets of each path: what it reads, lists or is answered, or why not.
PROBE = """
import errno, json, os, socket, stat, sys
def probe(path):
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        return sorted(os.listdir(path))
    if stat.S_ISREG(mode):
        return open(path).read()
    if stat.S_ISFIFO(mode):
        return os.write(os.open(path, os.O_WRONLY | os.O_NONBLOCK), b"x")
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(path)
        return "connected"
def tried(path):
    try:
        return probe(path)
    except OSError as error:
        return errno.errorcode[error.errno]
print(json.dumps({path: tried(path) for path in sys.argv[1:]}))
"""
REFUSED = {"ENOENT", "ECONNREFUSED", "ENXIO", "EACCES"}


@pytest.fixture(params=["sidelab", "rootless"])
def line(request: pytest.FixtureRequest) -> CommandLine:
    """Return a command line as root, and one as an ordinary user."""
    if os.getuid():
        pytest.skip("root alone can put files where other users can't")
    found: CommandLine = request.getfixturevalue(request.param)
    found.python = shutil.which(found.python) or found.python
    return found


class Place:
    """A directory of the machine with a file, a secret, a socket that answers and a FIFO that is read."""

    def __init__(self, parent: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="sidelab-test-", dir=parent))
        self.path.chmod(0o755)
        self.file, self.secret, self.socket, self.fifo = (self.path / each for each in ("file", "secret", "s", "fifo"))
        self.file.write_text("file")
        self.file.chmod(0o666)
        self.secret.write_text("secret")
        self.secret.chmod(0o600)
        self._open: list[socket.socket] = []
        self.listen(self.socket)
        os.mkfifo(self.fifo)
        self.fifo.chmod(0o666)
        self._reader = os.open(self.fifo, os.O_RDONLY | os.O_NONBLOCK)

    def listen(self, path: Path) -> None:
        """Have a socket there to which everybody may connect."""
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        path.chmod(0o666)
        listening.listen()
        self._open.append(listening)

    def close(self) -> None:
        """Remove it."""
        os.close(self._reader)
        for each in self._open:
            each.close()
        shutil.rmtree(self.path)


@contextlib.contextmanager
def places(*parents: str) -> Iterator[list[Place]]:
    """Yield a place in each directory."""
    with contextlib.ExitStack() as stack:
        made = []
        for parent in parents:
            made.append(Place(parent))
            stack.callback(made[-1].close)
        yield made


def up(line: CommandLine, *options: str, more: str = "") -> tuple[int, str]:
    """Start a lab; return status and errors."""
    done = line.run("up", "-", "--name", line.name, *options, input=POD.format(more=more))
    return done.returncode, done.stderr


def probe(line: CommandLine, *paths: Path) -> list[object]:
    """Return what a program in the pod gets of each path."""
    done = line.exec("pod", "/usr/bin/env", "python3", "-c", PROBE, *map(str, paths))
    assert (0, "") == (done.returncode, done.stderr)
    found = json.loads(done.stdout)
    return [found[str(path)] for path in paths]


def test_what_programs_do_not_need_is_not_shown(line: CommandLine):
    """Neither what was there when the lab was started, nor what is put there later."""
    with places(*COVERED) as made:
        assert (0, "") == up(line)
        files = [each.file for each in made]
        for each in files:
            (each.parent / "later").touch()
        assert ["ENOENT"] * 2 * len(made) == probe(line, *files, *(each.parent / "later" for each in files))
    assert [["cache", "lib", "lock", "log", "run", "spool", "tmp"], []] == probe(line, Path("/var"), Path("/var/lib"))


@pytest.mark.parametrize("uid", [0, 1337])
def test_nothing_of_the_machine_answers(line: CommandLine, uid: int):
    """No socket and no FIFO, where everybody might use them, and neither one that is made later."""
    with places(*COVERED, *SHOWN) as made:
        assert (0, "") == up(line, more=f", securityContext: {{runAsUser: {uid}}}")
        for each in made:
            each.listen(each.path / "later")
        tried = probe(line, *(path for each in made for path in (each.socket, each.fifo, each.path / "later")))
    assert set() == {*map(str, tried)} - REFUSED


def test_what_others_may_not_read_is_secret(line: CommandLine):
    """Where programs are shown the rest, and to the pod's root as well."""
    with places(*SHOWN) as made:
        assert (0, "") == up(line)
        assert ["file"] * len(made) == probe(line, *(each.file for each in made))
        assert {"EACCES"} == {*map(str, probe(line, *(each.secret for each in made), Path("/etc/shadow")))}


def test_a_program_finds_what_was_replaced_while_the_lab_runs(line: CommandLine):
    """As an editor does, and a package manager; and what was not there at first."""
    with places("/opt") as [made]:
        assert (0, "") == up(line)
        later = made.path / "later"
        assert ["file", "ENOENT"] == probe(line, made.file, later)
        for each in (made.file, later):
            (made.path / "new").write_text("new")
            (made.path / "new").rename(each)
        assert ["new", "new"] == probe(line, made.file, later)


def test_what_is_exposed_is_shown_and_nothing_beside_it(line: CommandLine):
    """A directory without what answers in it, and a socket by its own name; neither can be written to."""
    with places("/srv", "/home", "/run", "/tmp") as [srv, home, run, tmp]:
        line.directory = srv.path.parent
        options = [str(each) for each in (srv.path.name, home.socket, run.socket, run.file, tmp.file)]
        assert (0, "") == up(line, *(word for each in options for word in ("--expose", each)))
        names = ["fifo", "file", "s", "secret"]
        assert [names, ["s"], ["file", "s"], ["file"]] == probe(line, *(each.path for each in (srv, home, run, tmp)))
        assert ["file"] * 3 == probe(line, srv.file, run.file, tmp.file)
        assert {*map(str, probe(line, srv.secret, srv.socket, srv.fifo))} <= REFUSED
        assert ["connected"] * 2 == probe(line, home.socket, run.socket)
        for path in (srv.file, run.file, tmp.file):
            assert "ead-only file system" in line.exec("pod", "touch", str(path)).stderr
        why = line.exec("pod", str(home.file)).stderr
    assert f"pods are shown nothing of {home.path} but what their manifest runs: start the lab again with `--exp" in why


def test_what_exec_names_is_shown_to_what_it_runs(line: CommandLine):
    """A file in a directory of somebody's own making, with what lies beside it, read-only; later programs see none."""
    with places("/") as [made]:
        inner = made.path / "a"
        inner.mkdir()
        for name in ("script", "sibling"):
            (inner / name).write_text(name)
        made.secret.rename(inner / "secret")
        assert (0, "") == up(line)
        assert ["ENOENT"] == probe(line, made.path / "later")
        told = line.exec(
            "pod", "sh", "-c", 'cat "$0"; ls "${0%/*}"; echo >"$0"; cat "${0%/*}/secret"', f"{inner}/script"
        )
        assert "scriptscript\nsecret\nsibling\n" == told.stdout
        assert [1, 1] == [told.stderr.count(each) for each in ("Read-only file system", "Permission denied")]
        assert [[]] == probe(line, made.path)
        with places("/") as [later]:
            assert ["ENOENT"] == probe(line, later.path)


def test_what_is_not_there_is_not_exposed(line: CommandLine):
    """That is told before anything is started."""
    status, errors = up(line, "--expose", "/srv/nothing/there")
    said = "--expose /srv/nothing/there: No such file or directory: give a file or directory that is there"
    assert (2, f"sidelab: {said}\n") == (status, errors)
    assert line.name not in line.run("list").stdout


def test_what_is_mounted_in_what_is_shown_is_shown_and_dead(line: CommandLine):
    """A file system below /opt, and below that another one: their files are there, and nothing answers."""
    with places("/opt") as [made]:
        mount = tool("mount")
        inner = made.path / "a" / "b"
        inner.mkdir(parents=True)
        script = (
            f"{mount} -t tmpfs -o mode=755 t {inner} && mkdir {inner}/c && {mount} -t tmpfs -o mode=755 t {inner}/c && "
            f'for each in {inner} {inner}/c; do cp {made.file} $each; mkfifo -m 666 $each/fifo; done; exec "$0" "$@"'
        )
        line.prefix = (tool("unshare"), "--mount", "--propagation", "private", "sh", "-c", script, *line.prefix)
        assert (0, "") == up(line)
        seen = probe(line, made.file, inner / "file", inner / "c" / "file", inner, inner / "c" / "fifo", made.socket)
    assert ["file", "file", "file", ["c", "file"]] == [*seen[:3], [each for each in seen[3] if each != "fifo"]]  # type: ignore[attr-defined]
    assert {*map(str, seen[4:])} <= REFUSED
