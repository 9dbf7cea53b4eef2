"""The files that pods read about objects: complete, shared where they are the same, and replaced as a whole."""

import json
from pathlib import Path

import pytest

from sidelab.lab.cluster import publish


@pytest.fixture(autouse=True)
def _run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "RUN", str(tmp_path))


def _put(written: publish.Written) -> Path:
    publish.put((written,))
    return written.path


def test_objects_are_published_with_their_generation():
    """The JSON of each is taken as it is."""
    path = _put(publish.write_objects(("shop", "web"), 7, [b'{"kind":"Gate"}', b"{}"]))
    assert {"version": 1, "generation": 7, "objects": [{"kind": "Gate"}, {}]} == json.loads(path.read_bytes())
    assert 0o644 == path.stat().st_mode & 0o777


def test_pods_that_read_the_same_share_a_file_until_one_reads_something_else():
    """What is written for one is never written into what another reads, whatever an earlier attempt has left."""
    first = _put(publish.write_objects(("a", "a"), 1, [b"{}"]))
    second = _put(publish.link_objects(("a", "b"), first))
    assert first.stat().st_ino == second.stat().st_ino
    again = _put(publish.link_objects(("a", "b"), first))  # renaming one name of a file to another does nothing
    assert (second, True) == (again, (second.parent / ".objects.json.new").exists())
    _put(publish.write_objects(("a", "b"), 2, []))
    assert ([1, 2], [{}]) == (
        [json.loads(each.read_bytes())["generation"] for each in (first, second)],
        json.loads(first.read_bytes())["objects"],
    )


def test_what_is_discarded_was_never_there():
    """Neither a file of its own nor one that is shared."""
    first = _put(publish.write_objects(("a", "a"), 1, [b"{}"]))
    publish.discard([publish.link_objects(("a", "b"), first), publish.write_objects(("a", "a"), 2, [])])
    assert ([], 1) == (list(first.parents[1].glob("b/*")), json.loads(first.read_bytes())["generation"])
