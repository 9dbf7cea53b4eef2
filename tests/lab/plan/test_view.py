"""What pods are shown of a machine whose directories are not all open, and which programs its users can run."""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Manifest
from sidelab.lab.plan import machine_view, needs
from sidelab.lab.plan.blueprint import draw
from sidelab.lab.plan.machine_view import Cover, View, around, plan, walk
from sidelab.lab.plan.program_access import User, look

OTHER = User(1337)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a closed directory, as an ordinary user's home is; pods have nothing of their own."""
    monkeypatch.setattr(machine_view, "OWN", ())
    for each in (tmp_path, *tmp_path.parents[:2]):
        if os.access(each, os.W_OK) and each != Path("/tmp"):
            each.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return home


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    """Make a script that everybody may run who gets there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def covered(wanted: Iterable[Path]) -> tuple[Cover, ...]:
    """Return what is planned for `wanted` where only closed directories are covered."""
    return plan(wanted, own=()).covers


def test_an_open_path_needs_no_cover(tmp_path: Path, home: Path) -> None:
    """What everybody gets at stays as it is."""
    assert () == covered([program(tmp_path / "open" / "tool")])


def test_the_outermost_closed_directory_is_covered(home: Path) -> None:
    """Directories further in are made anew in the cover, whatever their own modes were."""
    tool = program(home / "a" / "tool")
    (home / "a").chmod(0o700)
    assert (Cover(home, (tool,)),) == covered([tool])


def test_a_closed_directory_is_shown_by_its_entries(home: Path) -> None:
    """Bound as a whole it would be as closed as before."""
    tool = program(home / "tool")
    (home / "link").symlink_to("tool")
    assert (Cover(home, (tool,), {home / "link": "tool"}),) == covered([home])


def test_a_closed_directory_in_a_shown_one_is_covered_in_its_turn(home: Path) -> None:
    """Both paths can be got at, the outer cover comes first."""
    tool = program(home / "checkout" / "private" / "tool")
    tool.parent.chmod(0o700)
    covers = covered([home / "checkout", tool])
    assert (Cover(home, (home / "checkout",)), Cover(tool.parent, (tool,))) == covers


def test_what_lies_behind_one_closed_directory_is_in_one_cover(home: Path) -> None:
    """Its directories are all open."""
    mine, theirs = program(home / "x" / "mine"), program(home / "theirs" / "tool")
    mine.parent.chmod(0o700)
    covers = covered([mine.parent, theirs])
    assert [(home, {mine, theirs})] == [(each.path, set(each.shown)) for each in covers]


def test_a_cover_in_something_shown_hides_what_is_beside(home: Path) -> None:
    """Others could not get at any of it before: what is needed is all that they get at now."""
    tool, library = program(home / "venv" / "lib" / "envoy"), program(home / "venv" / "lib" / "library")
    library.parent.chmod(0o700)
    assert (Cover(home, (home / "venv",)), Cover(tool.parent, (tool,))) == covered([home / "venv", tool])


def test_links_on_the_way_are_made_in_the_cover(home: Path) -> None:
    """A path through a link leads to the same file in a pod."""
    tool = program(home / "versions" / "1" / "tool")
    (home / "current").symlink_to("versions/1")
    assert (Cover(home, (tool,), {home / "current": "versions/1"}),) == covered([home / "current/tool"])


def test_links_in_a_circle_are_refused(home: Path) -> None:
    """As the kernel does, and not for ever."""
    (home / "a").symlink_to("b")
    (home / "b").symlink_to("a")
    with pytest.raises(OSError, match="Too many levels"):
        walk(home / "a")
    assert f"{home}/a: Too many levels of symbolic links" in look(str(home / "a"), OTHER).problem


def test_a_program_in_a_home_is_shown_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere its directory is, and beside a `bin` the libraries and the environment."""
    monkeypatch.setenv("HOME", str(home))
    (home / "venv" / "lib").mkdir(parents=True)
    (home / "venv" / "bin").mkdir()
    assert [home / "tool"] == around(home / "tool")
    assert [home / "x"] == around(home / "x" / "tool")
    assert [home / "venv" / "bin", home / "venv" / "lib"] == around(home / "venv" / "bin" / "tool")


@pytest.mark.parametrize(
    ("mode", "text", "said"),
    [
        (0o644, "#!/bin/sh\n", "{0} is not executable: `chmod +x {0}`"),
        (0o700, "#!/bin/sh\n", "{0}: uid 1337 may not run it (mode 0700): `chmod o+rx {0}`"),
        (0o711, "#!/bin/sh\n", "{0}: uid 1337 may not read it, as a script must be: `chmod o+r {0}`"),
        (0o755, "#!/no/such/python\n", "{0} is run by /no/such/python: /no/such/python: no such file"),
        (0o755, "echo hello\n", "{0} is neither a program that this machine can run nor a script: begin it with #!"),
        (0o755, "#!/bin/sh\n", ""),
    ],
)
def test_what_keeps_a_program_from_being_run_is_named(home: Path, mode: int, text: str, said: str) -> None:
    """Closed directories on the way do not; the file's mode, its kind and its interpreter do, each with the cure."""
    tool = program(home / "tool", text)
    tool.chmod(mode)
    problem = look(str(tool), OTHER).problem
    assert said.format(tool) in problem
    assert bool(said) == bool(problem)


def test_a_program_of_another_machine_is_refused(home: Path) -> None:
    """As the kernel does, unless it has been told what runs such programs (binfmt_misc)."""
    head = bytearray(Path("/proc/self/exe").read_bytes()[:64])
    head[18:20] = b"\xfe\xfe"
    tool = program(home / "tool")
    tool.write_bytes(head)
    known = Path("/proc/sys/fs/binfmt_misc")
    told = known.is_dir() and {each.name for each in known.iterdir()} - {"register", "status"}
    assert bool(told) != ("is neither a program that this machine can run" in look(str(tool), OTHER).problem)


def test_a_directory_and_nothing_are_no_programs(home: Path) -> None:
    """Each has its own message."""
    assert f"{home} is a directory: give the program in it" == look(str(home), OTHER).problem
    assert f"{home}/x: no such file: install it, or correct its path" == look(f"{home}/x", OTHER).problem
    assert "there is no x in its PATH (/a:/b): install it" in look("x", OTHER, "/a:/b").problem


def test_a_name_is_looked_for_in_the_path(home: Path) -> None:
    """The first that can be run is taken, as a shell does."""
    program(home / "a" / "tool").chmod(0o700)
    tool = program(home / "b" / "tool")
    assert (tool, tool.parent) == look("tool", OTHER, f"{home}/a:{home}/b").shown[:2]


def test_what_a_pod_has_of_its_own_is_told_from_the_machines(tmp_path: Path) -> None:
    """A file below /tmp is there, and not in the pod; the message says both, and where to put it."""
    tool = program(Path("/tmp") / f"{tmp_path.name}-{os.getpid()}")
    try:
        found = look(str(tool), OTHER)
    finally:
        tool.unlink()
    assert found.own
    assert f"{tool} is not in the pod, because each pod has its own /tmp and not the machine's" in found.problem


def test_a_virtual_environment_is_shown_with_the_python_that_it_links_to(home: Path) -> None:
    """An interpreter finds its packages by pyvenv.cfg beside the link, and its library beside the file."""
    python = program(home / "pyenv" / "bin" / "python3")
    (home / "pyenv" / "lib").mkdir()
    (home / "venv" / "bin").mkdir(parents=True)
    (home / "venv" / "bin" / "python").symlink_to(python)
    (home / "venv" / "pyvenv.cfg").touch()
    script = program(home / "x" / "tool", f"#!{home}/venv/bin/python\n")
    venv, pyenv = home / "venv", home / "pyenv"
    wanted = {script.parent, venv / "bin", venv / "pyvenv.cfg", pyenv / "bin", pyenv / "lib"}
    assert wanted <= set(look(str(script), OTHER).shown)


def test_of_a_directory_entry_by_entry_secrets_and_sockets_are_left_out(home: Path) -> None:
    """As of a closed one that is exposed: what others may not read, sockets and FIFOs."""
    tool, secret = program(home / "tool"), program(home / "secret")
    secret.chmod(0o600)
    os.mkfifo(home / "fifo", 0o666)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "socket"))
        assert (Cover(home, (tool,)),) == plan([], own=(), placed=[home]).covers


def test_a_directory_of_the_pods_own_stays_empty(tmp_path: Path) -> None:
    """A container that works in /tmp works in its pod's."""
    covers = plan([Path("/tmp")]).covers
    assert (Cover(Path("/tmp")),) == tuple(each for each in covers if each.path == Path("/tmp"))


def test_what_programs_do_not_need_is_covered_though_it_is_open(home: Path) -> None:
    """In it is what is wanted, and in the way to that nothing else; it stays empty where it is wanted itself."""
    home.chmod(0o755)
    tool, _ = program(home / "a" / "tool"), program(home / "b" / "tool")
    assert (Cover(home, (tool.parent,)),) == plan([home, tool.parent], own=(), covered=[home]).covers


def test_what_is_placed_is_shown_where_anybody_gets_at_it(home: Path) -> None:
    """Its sockets are dead then. A socket that is placed in such a directory is shown on top of it."""
    home.chmod(0o755)
    (home / "etc").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "etc" / "socket"))
        view = plan([home / "etc"], own=(), placed=[home / "etc", home / "etc" / "socket"])
    assert View(shown=(home / "etc", home / "etc" / "socket")) == view


def test_a_directory_with_mounts_in_it_is_shown_by_its_entries(home: Path) -> None:
    """An overlayfs of it would not show them; a mount that can't be shown is left out."""
    home.chmod(0o755)
    etc, below = home / "etc", home / "etc" / "a" / "b" / "mount"
    (below / "inner").mkdir(parents=True)
    other, file = program(etc / "a" / "other"), program(etc / "hosts")
    view = plan([], own=(), placed=[etc], mounted=[below, file, home / "elsewhere"])
    assert (Cover(etc, (file, other, below)),) == view.covers
    assert {below, file} == view.optional


def test_mount_points_are_read_as_the_kernel_writes_them() -> None:
    """Spaces and backslashes are octal; other bytes are as they are."""
    line = "36 35 98:0 /mnt1 /m\\040\u00e4\\134x rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"
    assert (Path("/m \u00e4\\x"),) == machine_view.mount_points(line)


def test_of_the_root_directory_links_and_what_programs_need_are_left(tmp_path: Path) -> None:
    """Other directories are empty in a pod, and what is neither one nor a link is not there."""
    for name in ("usr", "lib64", "etc", "proc", "tmp", "home", "my data", "library"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "swapfile").touch()
    os.mkfifo(tmp_path / "fifo")
    root = machine_view.tops(tmp_path)
    names = [{each.name for each in some} for some in root]
    assert [{"usr", "lib64", "etc", "proc", "tmp"}, {"home", "my data", "library"}, {"bin"}] == names


def test_what_exec_names_is_shown_where_anybody_gets_at_it(home: Path) -> None:
    """With what lies beside it and the links on the way; not behind a closed directory, and no secret."""
    home.chmod(0o755)
    tool, beside = program(home / "a" / "tool"), program(home / "b" / "shown")
    closed, secret = program(home / "closed" / "tool"), program(home / "c" / "secret")
    closed.parent.chmod(0o700)
    secret.chmod(0o600)
    (home / "link").symlink_to("a")
    cover = Cover(home, (beside.parent,), directories=(home / "made",))
    words = ["python3", *map(str, (home / "link" / "tool", closed, secret, beside, home / "none", home)), "../a"]
    more = Cover(home, (beside.parent, tool.parent), {home / "link": "a"}, (home / "made",))
    assert (more,) == machine_view.named(words, [cover])
    assert () == machine_view.named(words[2:], [cover])


def test_of_homes_and_of_the_machines_state_exec_shows_nothing() -> None:
    """There everything is for --expose to say."""
    assert () == machine_view.named(["/var/lib/dpkg/status", "/etc/passwd"], [Cover(Path("/var"))])


def test_a_program_in_a_directory_of_everybody_is_shown_alone(tmp_path: Path) -> None:
    """What is beside it there has nothing to do with it."""
    for place in (Path("/"), Path("/srv"), Path("/var/tmp"), Path("/home") / "person"):
        assert [place / "tool"] == around(place / "tool")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "that is all of the machine: name what pods need of it"),
        ("/nowhere/x", "No such file or directory: give a file or directory that is there"),
        ("/tmp", "each pod has its own /tmp: name what pods need of the machine's"),
        ("/proc/self", "/proc is the lab's own in each pod, and the machine's can't be shown"),
        ("relative", "give an absolute path"),
    ],
)
def test_what_cannot_be_exposed_is_refused(path: str, said: str) -> None:
    """With what to give in its place."""
    with pytest.raises(InputError, match=re.escape(f"--expose {path}: {said}")):
        needs.require(draw(Manifest(), {}), [Path(path)])


def test_a_secret_is_not_exposed(home: Path) -> None:
    """Pods' users could not read it, and are told before anything starts."""
    secret = program(home / "secret")
    secret.chmod(0o600)
    with pytest.raises(InputError, match=f"pods' users may not read it, who are others to it: `chmod o\\+r {secret}`"):
        needs.require(draw(Manifest(), {}), [secret])
