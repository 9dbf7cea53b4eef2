"""The agent's `/stats/prometheus`: the metrics of agent, proxy and application on one page. Pure.

Source: istio.io/latest/docs/ops/integrations/prometheus (metrics merging); the text format is Prometheus' 0.0.4.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from sidelab.sidecar.config.proxy_annotations import PROMETHEUS

KIND = "text/plain; version=0.0.4; charset=utf-8"
VARIABLE = "ISTIO_PROMETHEUS_ANNOTATIONS"
"""The variable in which the injector keeps the original annotations, before it writes its own."""

_LINE = re.compile(rb"([^\r\n]++)\r?\n")  # one at a time: a list of all lines costs many times the page's size


class _Said(msgspec.Struct, frozen=True):
    scrape: str = ""
    port: str = ""
    path: str = ""


def application(env: Mapping[str, str], annotations: Mapping[str, str], own_port: int) -> tuple[int, str] | None:
    """Return the port and path of the application's metrics, None if its pod does not ask for scraping.

    Annotations that name `own_port` were written by the injector, for Prometheus.
    """
    said = _Said(*(annotations.get(PROMETHEUS[what], "") for what in _Said.__struct_fields__))
    if VARIABLE in env:
        try:
            said = msgspec.json.decode(env[VARIABLE], type=_Said)
        except msgspec.DecodeError:
            return None
    port = int(said.port) if said.port.isascii() and said.port.isdigit() else 80
    if said.scrape != "true" or port == own_port or not 1 <= port <= 65535:
        return None
    path = said.path or "/metrics"
    return port, path if path.startswith("/") else f"/{path}"


def merged(pages: Iterable[bytes]) -> bytes:
    """Return the pages one after another, without a second `# TYPE`, `# HELP` or `# UNIT` line for the same metric.

    Text after a page's last line feed is left out, so that a truncated page does not spoil the others.
    """
    seen: set[bytes] = set()
    lines: list[bytes] = []
    for page in pages:
        for found in _LINE.finditer(page):
            line = found[1]
            if line.startswith(b"#"):
                words = b" ".join(line.split(None, 3)[1:3])
                if words.split(b" ")[0] not in (b"TYPE", b"HELP", b"UNIT") or words in seen:
                    continue
                seen.add(words)
            lines.append(line + b"\n")
    return b"".join(lines)
