"""The table of annotations: what is in it, how its entries are read, and that nothing besides knows their names."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelab.lab.errors import InputError
from sidelab.sidecar.config import annotations, proxy_annotations
from sidelab.sidecar.config.annotation_readers import Annotation, number, one_of

ROOT = Path(__file__).parents[3]
NAMES = re.compile(
    r"\b(sidecar|proxy|prometheus)\.istio\.io/|\bsidelab\.io/[a-z]|\bprometheus\.io/(scrape|port|path)|\bistio\.io/rev\b"
)
ROOMS = ("lab", "sidecar", "evidence", "bench", "cli")
COUNT = Annotation("example.org/count", number(1, 9), "3")


def test_no_other_file_of_the_product_knows_an_annotations_name():
    """Whoever wants one asks the table."""
    table = {Path(each.__file__ or "") for each in (annotations, proxy_annotations)}
    product = {ROOT / "sidelab.py", *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))}
    assert table < product
    assert all(map(NAMES.search, annotations.TABLE))
    assert [] == [str(path) for path in product - table if NAMES.search(path.read_text())]


def test_what_a_pod_does_not_have_is_the_default():
    """As text and as a value; `given` tells the difference."""
    assert ("3", 3, None) == (COUNT.text({}), COUNT.read({}), COUNT.given({}))
    said = {"example.org/count": "4"}
    assert ("4", 4, 4) == (COUNT.text(said), COUNT.read(said), COUNT.given(said))


def test_a_wrong_text_is_refused_with_the_annotations_name():
    """And with what would be accepted."""
    with pytest.raises(InputError, match=re.escape("annotation example.org/count: '10' is not accepted here: give a")):
        COUNT.read({"example.org/count": "10"})
    with pytest.raises(InputError, match=r"give one of text, json$"):
        one_of("", "text", "json")("annotation x", "xml")


@pytest.mark.parametrize("name", sorted(annotations.TABLE.keys() - {proxy_annotations.ENVOY.name}))
def test_every_default_can_be_said(name: str):
    """It is a text that its own reader takes; which Envoy is meant without a word depends on the machine."""
    annotation = annotations.TABLE[name]
    assert annotation.read({}) == annotation.read({name: annotation.default})


@given(st.sampled_from(sorted(annotations.TABLE)), st.text() | st.from_regex(r"\A[\d.:/,* a-z-]*\Z"))
def test_any_text_is_read_or_refused(name: str, text: str):
    """With an error that begins with the annotation's name."""
    said = ""
    try:
        annotations.TABLE[name].read({name: text})
    except InputError as error:
        said = str(error)
    assert said == "" or said.startswith(f"annotation {name}: ")
