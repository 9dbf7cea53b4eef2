"""Filters of the admin pages: the same as Python's expressions where they are understood, and always quick."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelab.sidecar.proxy.admin.filters import LONGEST, BadFilterError, Filter

NAMES = (
    "",
    "a",
    "cluster.outbound|80||shop.default.svc.cluster.local.upstream_rq_2xx",
    "http.inbound_0.0.0.0_15006.downstream_rq_5xx",
    "listener.0.0.0.0_15006.downstream_cx_total",
)
_EXPRESSIONS = st.lists(
    st.sampled_from([*"abx.^$|()?-_0", ".*", ".+", "\\.", "\\d", "[0-9]", "[ab]", "(?:a|b)", "cluster", "rq", "cx"]),
    max_size=8,
).map("".join)


@given(text=_EXPRESSIONS, names=st.lists(st.text("abx._0", max_size=8), max_size=4))
def test_filter_is_what_python_makes_of_it(text: str, names: list[str]) -> None:
    """What is understood matches what Python's expression matches."""
    try:
        found = Filter(text)
    except BadFilterError:
        return
    try:
        pattern = re.compile(text)
    except re.error:
        return  # Python is stricter about what may be repeated
    tried = (*NAMES, *names)
    assert [pattern.search(name) is not None for name in tried] == [found.matches(name) for name in tried]


@pytest.mark.parametrize(
    "text",
    [
        "upstream_rq_2xx",
        "^cluster.*rq_(2|5)xx$",
        "^(http|cluster|listener|tcp|istiocustom)\\.",
        "_rq_[0-9]xx$",
        "downstream_(cx|rq)_total?$",
        "^listener.0\\.0\\.0\\.0_\\d+",
    ],
)
def test_filters_that_people_write_are_understood(text: str) -> None:
    """Words, alternatives, gaps, classes and anchors are."""
    if text.endswith("\\d+"):
        with pytest.raises(BadFilterError, match="behind a dot only"):
            Filter(text)
        return
    assert any(map(Filter(text).matches, NAMES))


@pytest.mark.parametrize(
    "text",
    [
        *("(a+)+$", "(a*)*b", "(.*a){20}", "(a|aa)*$", "((a{100}){100}){100}", "(a|b)" * 20),
        *("(" * 5000, "a" * (LONGEST + 1), "(?:" * 80, "(" * LONGEST),
        *("[", "a\\", "*", ")", "(", "[z-a]", "\\1", "(?=a)", "a^b", "{"),
    ],
)
def test_what_could_take_long_is_refused(text: str) -> None:
    """Repeated groups, too many alternatives, and what is malformed."""
    with pytest.raises(BadFilterError):
        Filter(text)


def test_hostile_filter_takes_steps_in_proportion_to_the_name() -> None:
    """Many gaps, each of which could match everywhere, are each looked for once."""
    looked = 0

    class Counting(str):
        __slots__ = ()

        def __getitem__(self, at: object) -> str:  # type: ignore[override]  # only single characters are looked at
            nonlocal looked
            looked += 1
            return super().__getitem__(at)  # type: ignore[index]  # see above

    assert not Filter(".*".join("a" * 80) + ".*b").matches(Counting("a" * 2000))
    assert looked <= 2 * 2000 + 80
