from collections.abc import Iterator
from pathlib import Path

import pytest

from sidelab.lab.base.inotify import Watch


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """Return a watch of the test's own directory."""
    found = Watch(str(tmp_path))
    yield found
    found.close()


def test_a_file_that_is_renamed_into_place_is_told(tmp_path: Path, watch: Watch):
    """By its name, each time, in order."""
    for name in ("a", "b", "a"):
        (tmp_path / ".new").write_text(name)
        (tmp_path / ".new").replace(tmp_path / name)
    assert ["a", "b", "a"] == watch.names()
    assert [] == watch.names()


def test_writing_is_not_told(tmp_path: Path, watch: Watch):
    """A file that is not complete yet is nobody's business."""
    (tmp_path / "a").write_text("x")
    assert [] == watch.names()


def test_only_a_directory_can_be_watched(tmp_path: Path):
    """Anything else is an error of the system's."""
    with pytest.raises(FileNotFoundError):
        Watch(str(tmp_path / "nothing"))
