"""The access log: its lines in Istio's formats, and the writer that must not wait for a reader."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.sidecar.proxy.io.logwriter import FLUSH_BYTES, WAITING_BYTES, LogWriter
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.stats.accesslog import access_log, json_line, start_time, text_line
from sidelab.sidecar.proxy.stats.outcome import TrafficOutcome

REQUEST = TrafficOutcome(
    direction="inbound",
    started_s=1_769_860_800.25,
    duration_us=3_999,
    upstream_us=2_100,
    method=b"GET",
    path=b"/index.html?q=1",
    protocol="HTTP/1.1",
    status=200,
    details="via_upstream",
    bytes_received=0,
    bytes_sent=612,
    authority=b"nginx:8080",
    user_agent=b"curl/8.5.0",
    request_id=b"3f2b",
    upstream_host="10.244.0.2:80",
    upstream_local="127.0.0.6:41235",
    cluster="inbound|80||",
    downstream_local="10.244.0.2:80",
    downstream_remote="10.244.0.3:55000",
    route="default",
)
CONNECTION = TrafficOutcome("outbound", 0.0, duration_us=5_000, bytes_received=10, bytes_sent=20, flags="UF")

HOSTILE = st.one_of(
    st.binary(max_size=20), st.sampled_from([b'"', b"\\", b"\n", b"\r\n", b'a" 200 - -', b"\\n", b" ", b"\xc3\xa4"])
)
HOSTILE_TEXT = st.one_of(st.text(max_size=20), st.sampled_from(['"', "\\", "\n", "\u2028", "a b", "ä", "\ud800"]))
OUTCOMES = st.builds(
    TrafficOutcome,
    direction=st.sampled_from(["inbound", "outbound"]),
    started_s=st.floats(0, 4e9),
    **dict.fromkeys(("duration_us", "status", "bytes_received", "bytes_sent"), st.integers(0, 2**40)),
    upstream_us=st.integers(-1, 2**40),
    **dict.fromkeys("method path authority user_agent request_id forwarded_for".split(), HOSTILE),
    **dict.fromkeys("protocol flags details transport_failure upstream_host".split(), HOSTILE_TEXT),
    **dict.fromkeys("upstream_local cluster downstream_local downstream_remote".split(), HOSTILE_TEXT),
    **dict.fromkeys("route service workload".split(), HOSTILE_TEXT),
)


def test_text_is_istios() -> None:
    """A request's line is what Istio's default format makes of it."""
    expected = (
        b'[2026-01-31T12:00:00.250Z] "GET /index.html?q=1 HTTP/1.1" 200 - via_upstream - "-" 0 612 3 2 "-" '
        b'"curl/8.5.0" "3f2b" "nginx:8080" "10.244.0.2:80" inbound|80|| 127.0.0.6:41235 10.244.0.2:80 '
        b"10.244.0.3:55000 - default\n"
    )
    assert expected == text_line(REQUEST)


def test_text_is_envoys() -> None:
    """The line is the one that Envoy 1.40 wrote with Istio's format for such a request."""
    envoy = (
        b'[2026-11-23T11:24:34.257Z] "GET /nope HTTP/1.1" 404 - via_upstream - "-" 0 335 0 0 "-" "curl/7.88.1" '
        b'"ed378f6d-5bed-42fb-81d9-d31e85d13e75" "localhost:25006" "127.0.0.1:25099" inbound|80|| 127.0.0.1:47708 '
        b"127.0.0.1:25006 127.0.0.1:53074 - -\n"
    )
    outcome = replace(
        REQUEST,
        started_s=1_795_433_074.2575,
        duration_us=999,
        upstream_us=1,
        path=b"/nope",
        status=404,
        bytes_sent=335,
        user_agent=b"curl/7.88.1",
        request_id=b"ed378f6d-5bed-42fb-81d9-d31e85d13e75",
        authority=b"localhost:25006",
        upstream_host="127.0.0.1:25099",
        upstream_local="127.0.0.1:47708",
        downstream_local="127.0.0.1:25006",
        downstream_remote="127.0.0.1:53074",
        route="",
    )
    assert envoy == text_line(outcome)


def test_text_of_a_connection() -> None:
    """A TCP connection has no method, no path, no protocol, and the code 0."""
    expected = b'[1970-01-01T00:00:00.000Z] "- - -" 0 UF - - "-" 10 20 5 - "-" "-" "-" "-" "-" - - - - - -\n'
    assert expected == text_line(CONNECTION)


def test_json_is_istios() -> None:
    """JSON has Istio's keys in order, numbers as numbers, and null for what is absent."""
    expected = {
        "authority": "nginx:8080",
        "bytes_received": 0,
        "bytes_sent": 612,
        "connection_termination_details": None,
        "downstream_local_address": "10.244.0.2:80",
        "downstream_remote_address": "10.244.0.3:55000",
        "duration": 3,
        "method": "GET",
        "path": "/index.html?q=1",
        "protocol": "HTTP/1.1",
        "request_id": "3f2b",
        "requested_server_name": None,
        "response_code": 200,
        "response_code_details": "via_upstream",
        "response_flags": "-",
        "route_name": "default",
        "start_time": "2026-01-31T12:00:00.250Z",
        "upstream_cluster": "inbound|80||",
        "upstream_host": "10.244.0.2:80",
        "upstream_local_address": "127.0.0.6:41235",
        "upstream_service_time": "2",
        "upstream_transport_failure_reason": None,
        "user_agent": "curl/8.5.0",
        "x_forwarded_for": None,
    }
    line = json_line(REQUEST)
    assert list(expected.items()) == list(json.loads(line).items())
    assert line.endswith(b"}\n")


@settings(deadline=None, max_examples=200)
@given(OUTCOMES)
def test_nothing_breaks_out_of_its_column(outcome: TrafficOutcome) -> None:
    """Whatever a client or server sends, a text line is one line of printable ASCII with Istio's columns."""
    line = text_line(outcome)
    assert re.fullmatch(rb"[\x20-\x7e]+\n", line)
    quoted = rb'"(?:[^"\\]|\\.)*"'
    bare = rb'(?:[^" \\]|\\.)+'
    columns = [rb"\[[^]]*\]", quoted, *[bare] * 4, quoted, *[bare] * 4, *[quoted] * 5, *[bare] * 6]
    assert re.fullmatch(b" ".join(columns) + b"\n", line), line


@settings(deadline=None, max_examples=200)
@given(OUTCOMES)
def test_json_always_parses(outcome: TrafficOutcome) -> None:
    """Whatever a client or server sends, a JSON line is one line and one object with all of its keys."""
    line = json_line(outcome)
    assert 1 == line.count(b"\n")
    assert json.loads(json_line(REQUEST)).keys() == json.loads(line).keys()


def test_hostile_agent_is_escaped() -> None:
    """A quotation mark, a line end and bytes that are no ASCII can be told from the log's own."""
    line = text_line(replace(REQUEST, user_agent=b'a" 500\n\xff\\'))
    assert rb'"a\" 500\x0a\xff\\"' in line
    assert 'a" 500\n\\xff\\' == json.loads(json_line(replace(REQUEST, user_agent=b'a" 500\n\xff\\')))["user_agent"]


def test_time_is_cut_not_rounded() -> None:
    """Milliseconds never show a second that has not begun."""
    assert "1970-01-01T00:00:59.999Z" == start_time(59.9999)


def test_form_chooses_the_line() -> None:
    """The intent's word chooses between text, JSON and none."""
    written: list[bytes] = []
    for form in ("text", "json"):
        log = access_log(form, written.append)
        assert log is not None
        log(REQUEST)
    assert [text_line(REQUEST), json_line(REQUEST)] == written
    assert access_log("", written.append) is None


@contextmanager
def _pipe() -> Iterator[tuple[ProxyLoop, FileIO, int]]:
    loop = ProxyLoop()
    reader, writer = (FileIO(end, mode) for end, mode in zip(os.pipe(), "rw", strict=True))
    os.set_blocking(reader.fileno(), False)
    try:
        yield loop, reader, writer.fileno()
    finally:
        loop.close()
        writer.close()
        reader.close()


def _read(reader: FileIO) -> bytes:
    return reader.read() or b""


def test_lines_wait_until_flushed() -> None:
    """The first line is written at once, those after it are gathered; a flush writes them in order, and counts them."""
    with _pipe() as (loop, reader, descriptor):
        writer = LogWriter(loop, descriptor)
        writer.write(b"one\n")
        assert b"one\n" == _read(reader)
        writer.write(b"two\n")
        writer.write(b"three\n")
        assert b"" == _read(reader)
        writer.flush()
        assert b"two\nthree\n" == _read(reader)
        assert (3, 0) == (writer.lines_written, writer.lines_dropped)


def test_loop_flushes_by_itself() -> None:
    """What was gathered comes out by the loop's timer, and the timer ends with it."""
    with _pipe() as (loop, reader, descriptor):
        writer = LogWriter(loop, descriptor, flush_s=0)
        writer.write(b"one\n")
        writer.write(b"two\n")
        loop.turn()
        assert b"one\ntwo\n" == _read(reader)
        assert not loop._timers


def test_much_is_written_at_once(tmp_path: Path) -> None:
    """More than the limit does not wait for the timer."""
    loop = ProxyLoop()
    line = b"x" * 999 + b"\n"
    with (tmp_path / "log").open("wb") as file:
        writer = LogWriter(loop, file.fileno())
        for _ in range(FLUSH_BYTES // len(line) + 2):  # the first is not gathered
            writer.write(line)
        assert FLUSH_BYTES < (tmp_path / "log").stat().st_size
    loop.close()


def test_slow_reader_costs_lines_only() -> None:
    """A reader that does not read never blocks: what it does not take is kept within a bound, then dropped, counted."""
    with _pipe() as (loop, reader, descriptor):
        writer = LogWriter(loop, descriptor)
        line = b"x" * 999 + b"\n"
        count = 2 * WAITING_BYTES // len(line)
        for _ in range(count):
            writer.write(line)
        assert writer.lines_dropped > 0
        data = b""
        while piece := _read(reader):
            data += piece
            writer.flush()
        writer.close()
        assert (data.count(b"\n"), count) == (writer.lines_written, writer.lines_written + writer.lines_dropped)
        assert {line} == set(data.splitlines(keepends=True))


def test_reader_that_is_gone_raises_nothing() -> None:
    """Writing to a pipe that nobody reads any more drops and counts."""
    with _pipe() as (loop, reader, descriptor):
        writer = LogWriter(loop, descriptor)
        reader.close()
        writer.write(b"one\n")
        writer.flush()
        writer.write(b"two\n")
        writer.close()
        assert (0, 2) == (writer.lines_written, writer.lines_dropped)


def test_descriptor_that_does_not_block_may_be_full() -> None:
    """A descriptor that its owner set to non-blocking is no reason to raise either."""
    with _pipe() as (loop, reader, descriptor):
        os.set_blocking(descriptor, False)
        try:
            while True:
                os.write(descriptor, b"y" * 65536)
        except BlockingIOError:
            pass
        writer = LogWriter(loop, descriptor)
        writer.write(b"one\n")
        writer.flush()
        assert (0, 0) == (writer.lines_written, writer.lines_dropped)
        _read(reader)
        writer.close()
        assert b"one\n" == _read(reader)
