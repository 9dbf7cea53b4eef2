"""What a GET sends and where its redirects lead, as Go's client has it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.net.get import Get, kubelet_fields
from sidelab.lab.net.http_answer import AnswerError
from sidelab.lab.net.url import Url, redirected, target_of

BASE = Url("http", "127.0.0.1", 8080, "/a/b?q=1")
# From Go's own `url.Parse` and `Request.write`, by the kubelet's `formatURL`: the manifest's path, what is asked for.
PATHS = {
    "/": "/",
    "": "/",
    "healthz": "/healthz",
    "healthz?x=1": "/healthz?x=1",
    "?a=b": "/?a=b",
    "a/b:c": "/a/b:c",
    "./x": "/./x",
    "/a b": "/a%20b",
    "/a!b c": "/a%21b%20c",
    "/a%20b": "/a%20b",
    "/a%zz": "/a%25zz",
    "/a%2Fb": "/a%2Fb",
    "/é": "/%C3%A9",
    "/x#frag": "/x",
    "/a?b c": "/a?b c",
    "/a?b?c": "/a?b?c",
    "//foo/bar": "/bar",
    "http://other/x": "/x",
    ":foo": "/:foo",
    "1a:b": "/1a:b",
    "/[x]": "/[x]",
    "/a\\b": "/a%5Cb",
    "/a|b<>^`{}": "/a%7Cb%3C%3E%5E%60%7B%7D",
    "/a\tb": "/a%09b",
    "*": "/*",
    "/a;b=c": "/a;b=c",
}
# The same for a Location behind BASE: None is another host, text the request's target, "" no URL that can be followed.
LOCATIONS = {
    "/x": "/x",
    "x": "/a/x",
    "../c": "/c",
    "?z=1": "/a/b?z=1",
    "#f": "/a/b?q=1",
    "/a b": "/a%20b",
    "/é": "/%C3%A9",
    "http://127.0.0.1:8080": "/",
    "HTTP://127.0.0.1:8080/up": "/up",
    "//127.0.0.1:8080/y": "/y",
    "mailto:x": None,
    "http:foo": None,
    "http:///x": None,
    "//other/": None,
    "http://localhost:8080/": None,
    "http://127.0.0.1.:8080/": None,
    "ftp://127.0.0.1/": "",
    "/a%zz": "",
    "http://[::1": "",
    "http://127.0.0.1:99999/": "",
    ":y": "",
}
# And for the fields of a manifest: what stands in the request between its first line and `Connection: close`.
FIELDS = {
    (): "Host: 127.0.0.1:8080|User-Agent: kube-probe/sidelab|Accept: */*",
    (("Accept", ""),): "Host: 127.0.0.1:8080|User-Agent: kube-probe/sidelab",
    (("Accept", ""), ("accept", "x")): "Host: 127.0.0.1:8080|User-Agent: kube-probe/sidelab",
    (("User-Agent", ""),): "Host: 127.0.0.1:8080|Accept: */*",
    (("user-agent", "u1"), ("User-Agent", "u2")): "Host: 127.0.0.1:8080|User-Agent: u1|Accept: */*",
    (("host", "shop"),): "Host: shop|User-Agent: kube-probe/sidelab|Accept: */*",
    (("Host", ""),): "Host: 127.0.0.1:8080|User-Agent: kube-probe/sidelab|Accept: */*",
    (("x-b", "1"), ("X-B", " 2 "), ("A", "3")): (
        "Host: 127.0.0.1:8080|User-Agent: kube-probe/sidelab|A: 3|Accept: */*|X-B: 1|X-B: 2"
    ),
    (("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("Trailer", "x")): (
        "Host: 127.0.0.1:8080|User-Agent: kube-probe/sidelab|Accept: */*"
    ),
    (("Connection", "keep-alive"),): (
        "Host: 127.0.0.1:8080|User-Agent: kube-probe/sidelab|Accept: */*|Connection: keep-alive"
    ),
}


def lines(get: Get) -> list[str]:
    """Return the request's lines."""
    return get.request().decode().removesuffix("\r\n\r\n").split("\r\n")


def answered(get: Get, *fields: str, status: int = 302) -> bool:
    """Feed an answer without a body."""
    return get.feed("\r\n".join((f"HTTP/1.1 {status} X", *fields, "Content-Length: 0", "", "")).encode())


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_asked_for_as_the_kubelet_does(path: str):
    """It gets its slash, what a request line cannot hold is escaped, and only path and query count."""
    assert PATHS[path] == target_of(path)


@pytest.mark.parametrize("path", ["foo:bar/x", "mailto:x"])
def test_a_path_that_leaves_no_host_is_an_error(path: str):
    """As Go's `no Host in request URL`."""
    with pytest.raises(AnswerError, match="leaves no host to ask"):
        target_of(path)


@pytest.mark.parametrize("location", LOCATIONS)
def test_a_redirect_leads_where_go_goes(location: str):
    """On the same host only, and what is not a URL is an error."""
    expected = LOCATIONS[location]
    try:
        found = redirected(BASE, location)
        assert expected == (found.target if found is not None else None)
    except AnswerError:
        assert expected == ""


@pytest.mark.parametrize("given_", FIELDS)
def test_a_request_has_gos_fields_in_gos_order(given_: tuple[tuple[str, str], ...]):
    """Names are canonical, ours are replaced by the manifest's, and an empty Accept or User-Agent is none."""
    get = Get(BASE, kubelet_fields(given_, "probe"))
    assert ["GET /a/b?q=1 HTTP/1.1", *FIELDS[given_].split("|"), "Connection: close"] == lines(get)


@pytest.mark.parametrize(("location", "host"), [("/x", "shop"), ("http://127.0.0.1:81/x", "127.0.0.1:81")])
def test_a_redirect_keeps_the_host_field_only_where_it_names_no_host(location: str, host: str):
    """And it says where it comes from."""
    get = Get(BASE, [("Host", "shop")])
    assert answered(get, f"Location: {location}")
    assert ["GET /x HTTP/1.1", f"Host: {host}", f"Referer: {BASE}", "Connection: close"] == lines(get)


def test_a_redirect_to_https_is_one_to_the_same_host():
    """The port is TLS's, and what was asked over TLS is not told to whom it is asked without."""
    get = Get(BASE, [])
    answered(get, "Location: https://127.0.0.1/secret")
    assert Url("https", "127.0.0.1", 443, "/secret") == get.url
    answered(get, "Location: http://127.0.0.1/")
    assert ["GET / HTTP/1.1", "Host: 127.0.0.1:80", "Connection: close"] == lines(get)


def test_a_redirect_waits_for_a_short_body_and_for_no_long_one():
    """Go reads two kilobytes of it, unless it is known to be longer."""
    waiting, long, short = (Get(BASE, []) for _ in range(3))
    head = b"HTTP/1.1 302 F\r\nLocation: /x\r\n"
    assert not waiting.feed(head + b"\r\n" + b"x" * 2047)
    assert waiting.feed(b"x")
    assert long.feed(head + b"Content-Length: 2049\r\n\r\n")
    assert not short.feed(head + b"Content-Length: 9\r\n\r\n")
    assert short.feed(b"")
    assert {"/x"} == {each.url.target for each in (waiting, long, short)}


def test_the_tenth_redirect_is_an_error():
    """Ten requests are made."""
    get = Get(BASE, [])
    for _ in range(9):
        assert answered(get, "Location: /x")
    with pytest.raises(AnswerError, match="stopped after 10 redirects"):
        answered(get, "Location: /x")


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=60))
def test_any_location_and_any_path_are_a_request_or_an_error(text: str):
    """What is asked for is one line that begins with a slash."""
    for found in (lambda: target_of(text), lambda: (redirected(BASE, text) or BASE).target):
        try:
            target = found()
        except AnswerError:
            continue
        assert target.startswith("/")
        assert not {"\r", "\n"} & set(target)
