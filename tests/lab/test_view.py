"""What pods are shown of a machine whose directories are not all open, and which programs its users can run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import view
from lab.reach import User, look
from lab.view import Cover, around, is_closed, plan, walk

OTHER = User(1337, 1337, 1337)
OWNER = User(os.getuid(), os.getgid(), 0)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a closed directory, as an ordinary user's home is; pods have nothing of their own."""
    monkeypatch.setattr(view, "OWN", ())
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


def test_an_open_path_needs_no_cover(tmp_path: Path, home: Path) -> None:
    """What everybody gets at stays as it is."""
    assert () == plan([(program(tmp_path / "open" / "tool"), is_closed)], own=())


def test_the_outermost_closed_directory_is_covered(home: Path) -> None:
    """Directories further in are made anew in the cover, whatever their own modes were."""
    tool = program(home / "a" / "tool")
    (home / "a").chmod(0o700)
    assert (Cover(home, (tool,)),) == plan([(tool, is_closed)], own=())


def test_a_closed_directory_is_shown_by_its_entries(home: Path) -> None:
    """Bound as a whole it would be as closed as before."""
    tool = program(home / "tool")
    (home / "link").symlink_to("tool")
    assert (Cover(home, (tool,), {home / "link": "tool"}),) == plan([(home, is_closed)], own=())


def test_a_closed_directory_in_a_shown_one_is_covered_in_its_turn(home: Path) -> None:
    """Both paths can be got at, the outer cover comes first."""
    tool = program(home / "checkout" / "private" / "tool")
    tool.parent.chmod(0o700)
    covers = plan([(home / "checkout", is_closed), (tool, is_closed)], own=())
    assert (Cover(home, (home / "checkout",)), Cover(tool.parent, (tool,))) == covers


def test_what_its_owner_and_another_need_of_a_closed_directory_is_shown_once(home: Path) -> None:
    """In one cover, whose directories are all open."""
    mine, theirs = program(home / "x" / "mine"), program(home / "x" / "theirs")
    mine.parent.chmod(0o700)
    covers = plan([(mine.parent, OWNER.is_shut_out), (theirs.parent, OTHER.is_shut_out)], own=())
    assert [(home, {mine, theirs})] == [(each.path, set(each.shown)) for each in covers]


def test_a_cover_in_something_shown_hides_nothing_of_it(home: Path) -> None:
    """Its owner needs the rest: a library in an environment that was made under a umask of 077."""
    tool, library = program(home / "venv" / "lib" / "envoy" / "envoy"), program(home / "venv" / "lib" / "library")
    for each in (tool.parent, library.parent):
        each.chmod(0o700)
    covers = plan([(home / "venv", is_closed), (tool.parent, is_closed)], own=())
    shown = [(each.path, set(each.shown)) for each in covers]
    assert [(home, {home / "venv"}), (library.parent, {library, tool.parent}), (tool.parent, {tool})] == shown


def test_what_only_its_owner_needs_is_shown_where_a_cover_hides_it(home: Path) -> None:
    """A cover for one user takes nothing away that another one's program needs."""
    mine, theirs = program(home / "mine" / "tool"), program(home / "theirs" / "tool")
    assert () == plan([(mine, OWNER.is_shut_out)], own=())
    covers = plan([(mine, OWNER.is_shut_out), (theirs, OTHER.is_shut_out)], own=())
    assert [(home, {mine, theirs})] == [(each.path, set(each.shown)) for each in covers]


def test_links_on_the_way_are_made_in_the_cover(home: Path) -> None:
    """A path through a link leads to the same file in a pod."""
    tool = program(home / "versions" / "1" / "tool")
    (home / "current").symlink_to("versions/1")
    assert (Cover(home, (tool,), {home / "current": "versions/1"}),) == plan(
        [(home / "current/tool", is_closed)], own=()
    )


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


def test_a_directory_that_is_covered_for_another_keeps_its_entries(home: Path) -> None:
    """Its owner's working directory is as full as before."""
    tool, other = program(home / "tool"), program(home / "other")
    covers = plan([(tool, OTHER.is_shut_out), (home, OWNER.is_shut_out)], own=())
    assert [(home, {tool, other})] == [(each.path, set(each.shown)) for each in covers]


def test_a_directory_of_the_pods_own_stays_empty(tmp_path: Path) -> None:
    """A container that works in /tmp works in its pod's."""
    covers = plan([(Path("/tmp"), OTHER.is_shut_out)])
    assert (Cover(Path("/tmp")),) == tuple(each for each in covers if each.path == Path("/tmp"))
