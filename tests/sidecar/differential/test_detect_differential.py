"""What malformed requests become where the protocol is detected: Envoy reads some of them as HTTP, and so do we."""

from pathlib import Path

import pytest
from lanes import Case, Seen
from sides import bundled, envoy
from test_http_differential import run

_REST = b"host: a\r\n\r\n"
_AROUND = (
    *(b"GET /a%bb HTTP/1.1", b"G%bT / HTTP/1.1", b"GET%b/ HTTP/1.1", b"GET /%bHTTP/1.1", b"GET / HTTP/1.1%b"),
    *(b"%bGET / HTTP/1.1", b"GET %ba HTTP/1.1", b"GET / %bHTTP/1.1", b"GET http://a%bb/ HTTP/1.1"),
)
_CANNED = (
    *(
        b"GET a HTTP/1.1",
        b"GET ?x HTTP/1.1",
        b"GET  HTTP/1.1",
        b"GET / HTTP/1.1 x",
        b"GET / http/1.1",
        b"get / HTTP/1.1",
    ),
    *(b"GET / HTTP/2.0", b"GET / HTTP/1.10", b"GET / HTTP/11", b"GET / HTTP/1", b"GET / HTTP/9.9", b"GET /", b"GET"),
    *(b"GET / x HTTP/1.1", b"FOO / HTTP/1.1", b"F_O / HTTP/1.1", b"A" * 40 + b" / HTTP/1.1", b"CONNECT a:1 HTTP/1.1"),
    *(b"OPTIONS * HTTP/1.1", b"HTTP/1.1 200 OK", b"GET  /  HTTP/1.1", b"GET / HTTPS/1.1", b"RTSP / RTSP/1.0"),
    *(
        b"GET ftp://a/ HTTP/1.1",
        b"GET http://[::1/ HTTP/1.1",
        b"GET http://b:x/ HTTP/1.1",
        b"GET http://b\\@c/ HTTP/1.1",
    ),
    *(b"SSH-2.0-x", b"EHLO a", b"USER anonymous", b"*1\r\n$4\r\nPING", b"PUT /" + b"x" * 9000 + b" HTTP/1.1"),
)
LINES = (*(each % bytes((byte,)) for byte in range(256) for each in _AROUND), *_CANNED)


def outcome(case: Case, seen: Seen) -> str:
    """Return the status if it was taken for HTTP, else whether it arrived as bytes."""
    if seen.client.startswith(b"HTTP/1.1 4") or b"server: sidelab-proxy" in seen.client:
        return seen.client[9:12].decode()
    return "bytes" if b"".join(seen.server).startswith(case.request[0][:8]) else "closed"


@pytest.mark.slow
def test_what_envoy_takes_for_http_never_passes_as_bytes(tmp_path: Path) -> None:
    """Where Envoy answers with a status, so does the bundled proxy; bytes are only what is bytes for Envoy, too."""
    cases = [Case(repr(line), (line + b"\r\n" + _REST,)) for line in LINES]
    with bundled(protocol="auto", detection_timeout_s=5.0) as lanes:
        ours = [outcome(*each) for each in zip(cases, run(lanes, cases), strict=True)]
    with envoy(tmp_path, protocol="auto", detection_timeout_s=5.0) as lanes:
        theirs = [outcome(*each) for each in zip(cases, run(lanes, cases), strict=True)]
    served = [each.name for each, status in zip(cases, theirs, strict=True) if status == "200"]
    assert served
    assert served == [
        each.name for each, mine, its in zip(cases, ours, theirs, strict=True) if (mine, its) == ("200",) * 2
    ]
    passed = [
        (each.name, its)
        for each, mine, its in zip(cases, ours, theirs, strict=True)
        if mine == "bytes" and its not in ("bytes", "closed")
    ]
    assert [] == passed
