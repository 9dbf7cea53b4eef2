"""An outcome as a line of Istio's access log, as text or as JSON.

Pure. Formats: https://istio.io/latest/docs/tasks/observability/logs/access-log/; values: Envoy's access log command
operators. A client cannot forge log fields: quotation marks, backslashes and everything but printable ASCII are escaped
(which Envoy does in JSON only), so a value cannot end its line or its quotation marks.
"""

import json
import re
import time
from collections.abc import Callable
from functools import lru_cache

from sidelab.sidecar.proxy.stats.outcome import TrafficOutcome

_ABSENT = "-"
_JSON = json.JSONEncoder(separators=(",", ":"))
_TO_ESCAPE = re.compile(r"[^\x20\x21\x23-\x5b\x5d-\x7e]")
_AS_THEY_ARE = bytes(set(range(0x20, 0x7F)) - set(b'"\\'))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), 0x7F)}
_BEYOND_LATIN_1 = re.compile(r"[^\x00-\xff]")


def text_line(outcome: TrafficOutcome) -> bytes:
    """Return Istio's default text line; what is absent is `-`."""
    request = f"{_quoted(outcome.method)} {_quoted(outcome.path)} {_bare(outcome.protocol)}"
    parts = (
        f"[{start_time(outcome.started_s)}]",
        f'"{request}"',
        str(outcome.status),
        _bare(outcome.flags),
        _bare(outcome.details),
        _ABSENT,  # connection termination details
        f'"{_escaped(outcome.transport_failure)}"',
        str(outcome.bytes_received),
        str(outcome.bytes_sent),
        str(outcome.duration_us // 1000),
        _ABSENT if outcome.upstream_us < 0 else str(outcome.upstream_us // 1000),
        f'"{_quoted(outcome.forwarded_for)}"',
        f'"{_quoted(outcome.user_agent)}"',
        f'"{_quoted(outcome.request_id)}"',
        f'"{_quoted(outcome.authority)}"',
        f'"{_escaped(outcome.upstream_host)}"',
        _bare(outcome.cluster),
        _bare(outcome.upstream_local),
        _bare(outcome.downstream_local),
        _bare(outcome.downstream_remote),
        _ABSENT,  # requested server name
        _bare(outcome.route),
    )
    return (" ".join(parts) + "\n").encode("ascii")


def json_line(outcome: TrafficOutcome) -> bytes:
    """Return Istio's default JSON line; what is absent is null, and numbers are numbers, as in Envoy."""
    fields: dict[str, str | int | None] = {
        "authority": _value(outcome.authority),
        "bytes_received": outcome.bytes_received,
        "bytes_sent": outcome.bytes_sent,
        "connection_termination_details": None,
        "downstream_local_address": outcome.downstream_local or None,
        "downstream_remote_address": outcome.downstream_remote or None,
        "duration": outcome.duration_us // 1000,
        "method": _value(outcome.method),
        "path": _value(outcome.path),
        "protocol": outcome.protocol or None,
        "request_id": _value(outcome.request_id),
        "requested_server_name": None,
        "response_code": outcome.status,
        "response_code_details": outcome.details or None,
        "response_flags": outcome.flags or _ABSENT,
        "route_name": outcome.route or None,
        "start_time": start_time(outcome.started_s),
        "upstream_cluster": outcome.cluster or None,
        "upstream_host": outcome.upstream_host or None,
        "upstream_local_address": outcome.upstream_local or None,
        # The only number written as a string: in Envoy it comes from a header field.
        "upstream_service_time": None if outcome.upstream_us < 0 else str(outcome.upstream_us // 1000),
        "upstream_transport_failure_reason": outcome.transport_failure or None,
        "user_agent": _value(outcome.user_agent),
        "x_forwarded_for": _value(outcome.forwarded_for),
    }
    return (_JSON.encode(fields) + "\n").encode("ascii")


def access_log(form: str, write: Callable[[bytes], None]) -> Callable[[TrafficOutcome], None] | None:
    """Return a function that logs an outcome by `write`, in the intent's `access_log` format; None if there is none."""
    line = {"text": text_line, "json": json_line}.get(form)
    return None if line is None else lambda outcome: write(line(outcome))


def start_time(started_s: float) -> str:
    """Return `started_s` in UTC as Envoy's %START_TIME%: 2026-01-31T12:00:00.000Z."""
    seconds, milliseconds = divmod(int(started_s * 1000), 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z"


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    """Return the part of the time that all lines of a second share."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _quoted(value: bytes) -> str:
    """Return the text of a quoted column; bytes that are not ASCII become hexadecimal escapes."""
    if value and not value.translate(None, _AS_THEY_ARE):
        return value.decode("ascii")
    return _escaped(value.decode("latin-1"))


def _bare(value: str) -> str:
    """Return a column without quotation marks; blanks are escaped, because one would split it in two."""
    return _escaped(value).replace(" ", "_")


def _escaped(value: str) -> str:
    if not value:
        return _ABSENT
    if not _TO_ESCAPE.search(value):
        return value
    # Not a call per character: a client may have sent tens of thousands.
    text = value.replace("\\", "\\\\").replace('"', '\\"')
    if _CONTROL.search(text):
        text = text.translate(_CONTROLS)
    if text.isascii():
        return text
    if _BEYOND_LATIN_1.search(text):
        text = _BEYOND_LATIN_1.sub(lambda found: f"\\u{{{ord(found[0]):x}}}", text)
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _value(value: bytes) -> str | None:
    return value.decode("utf-8", "backslashreplace") or None
