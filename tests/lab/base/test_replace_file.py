"""Replacing a file: what is there before, meanwhile and afterwards."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from sidelab.lab.base.replace_file import replace_file, write_draft


def names(directory: Path) -> list[str]:
    """Return what is in a directory."""
    return sorted(each.name for each in directory.iterdir())


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_made_and_replaced(tmp_path: Path, durable: bool):
    """Nothing but the file is left, and what had the old one open still reads it."""
    path = tmp_path / "file"
    replace_file(path, b"old", durable=durable)
    with path.open("rb") as opened:
        replace_file(path, b"new", durable=durable)
        assert (b"old", b"new") == (opened.read(), path.read_bytes())
    assert ["file"] == names(tmp_path)


def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path):
    """Where none is asked for, the umask decides, as for any file."""
    before = os.umask(0o077)
    try:
        replace_file(tmp_path / "asked", b"", mode=0o644)
        replace_file(tmp_path / "usual", b"")
    finally:
        os.umask(before)
    assert (0o644, 0o600) == tuple((tmp_path / name).stat().st_mode & 0o777 for name in ("asked", "usual"))


def test_a_draft_replaces_nothing_until_it_is_put(tmp_path: Path):
    """Discarded, it is gone, and the file is what it was."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write_draft(path, b"discarded").discard()
    assert (b"old", ["file"]) == (path.read_bytes(), names(tmp_path))
    draft = write_draft(path, b"new")
    assert b"old" == path.read_bytes()
    draft.put()
    assert (b"new", ["file"]) == (path.read_bytes(), names(tmp_path))


def test_what_a_killed_writer_left_is_no_obstacle(tmp_path: Path):
    """Its draft is replaced, and where that is a link, what the link leads to stays."""
    path, victim = tmp_path / "file", tmp_path / "victim"
    victim.write_bytes(b"mine")
    write_draft(path, b"left behind")
    replace_file(path, b"one")
    (tmp_path / ".file.new").symlink_to(victim)
    replace_file(path, b"two")
    assert (b"two", b"mine", ["file", "victim"]) == (path.read_bytes(), victim.read_bytes(), names(tmp_path))


def test_a_failure_leaves_the_old_file_alone(tmp_path: Path):
    """The error names the file, not its draft, and the draft is gone."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    program = (
        "import pathlib, resource, signal, sys\n"
        "from sidelab.lab.base.replace_file import replace_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, (1000, {resource.RLIM_INFINITY}))\n"
        "try:\n"
        "    replace_file(pathlib.Path(sys.argv[1]), bytes(2000))\n"
        "except OSError as error:\n"
        "    print(error.strerror, error.filename)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=True, capture_output=True, text=True)
    assert f"File too large {path}\n" == done.stdout
    assert (b"old", ["file"]) == (path.read_bytes(), names(tmp_path))


def test_a_directory_is_not_replaced(tmp_path: Path):
    """The error names it, and no draft is left."""
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError) as error:
        replace_file(tmp_path / "taken", b"")
    assert str(tmp_path / "taken") == error.value.filename
    assert ["taken"] == names(tmp_path)
