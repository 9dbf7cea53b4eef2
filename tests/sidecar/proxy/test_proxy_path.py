"""A request's path in its normal form. What Envoy makes of paths is compared in `differential`."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.sidecar.proxy.http.message import Limits, parse_request
from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.http.path import normal

PIECES = st.sampled_from(
    (
        *(
            b"/",
            b"//",
            b"\\",
            b".",
            b"..",
            b"...",
            b"%2e",
            b"%2E",
            b"a",
            b"B",
            b"~",
            b"%61",
            b"%7E",
            b"%2f",
            b"%5C",
            b"%25",
            b"%",
        ),
        *(b"%2", b"%zz", b"%41", b"%c3", b'"', b"<", b"|", b"?", b"?/../", b":", b"@", b"!"),
    )
)
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: b"/" + b"".join(pieces))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/", b"/"),
        (b"/a/../b", b"/b"),
        (b"/a/./b/..", b"/a/"),
        (b"/../../a", b"/a"),
        (b"/a/%2e%2E/b", b"/b"),
        (b"/a\\..\\b", b"/b"),
        (b"/a//b", b"/a//b"),
        (b"/a//../b", b"/a/b"),
        (b"/%41%2f%5c%c3%A9", b"/A%2f%5c%c3%A9"),
        (b"/<a>|", b"/%3Ca%3E%7C"),
        (b"/%zz%", b"/%zz%"),
        (b"/%2%65", b"/%252e"),
        (b"/a/..;x=1/b;y", b"/b;y"),
        (b"/a/..?b/../%41", b"/?b/../%41"),
        (b"/.well-known/a.b", b"/.well-known/a.b"),
    ],
)
def test_normal_form(path: bytes, expected: bytes) -> None:
    """Dots are resolved and escapes are as few as they can be; several slashes, escaped slashes and the query stay."""
    assert expected == normal(path)


@pytest.mark.parametrize("path", [b"/a%00", b"/a/../%00", b"/a#b", b"/a?b#", b"/#"])
def test_what_has_no_normal_form_is_refused(path: bytes) -> None:
    """An escaped NUL, and a fragment anywhere, is a bad request."""
    with pytest.raises(BadMessageError) as error:
        normal(path)
    assert (400, "path_normalization_failed") == (error.value.status, error.value.details)


@settings(deadline=None, max_examples=500)
@given(path=PATHS)
def test_normal_form_stays(path: bytes) -> None:
    """The normal form of a normal form is itself, so one more proxy on the way changes nothing."""
    once = normal(path)
    assert once == normal(once)


@settings(deadline=None, max_examples=500)
@given(path=PATHS)
def test_normal_form_has_no_dot_segments(path: bytes) -> None:
    """However they are written, no segment of the result is `.` or `..`, and the query is what it was."""
    result, mark, query = normal(path).partition(b"?")
    assert (*path.partition(b"?")[1:],) == (mark, query)
    assert result.startswith(b"/")
    segments = re.sub(b"%2e", b".", result, flags=re.IGNORECASE).replace(b"\\", b"/").split(b"/")
    assert not {b".", b".."} & set(segments)


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (b"/a/../b?c", b"GET /b?c HTTP/1.1"),
        (b"http://h/a/../b?c/../d", b"GET /b?c/../d HTTP/1.1"),
        (b"/..", b"GET / HTTP/1.1"),
        (b"/GET/./x", b"GET /GET/x HTTP/1.1"),
    ],
)
def test_the_normal_form_goes_on(target: bytes, line: bytes) -> None:
    """What goes upstream has the normal form in its first line, and all else is as it was."""
    head = parse_request(
        b"GET " + target + b" HTTP/1.1\r\nhost: h\r\nreferer: " + target + b"\r\n\r\n", Limits(4096, 20)
    )
    assert head is not None
    assert line + b"\r\n" == head.forward[: len(line) + 2]
    assert b"\r\nreferer: " + target + b"\r\n" in head.forward
