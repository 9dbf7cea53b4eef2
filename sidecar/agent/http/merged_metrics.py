"""What `/stats/prometheus` on the agent's port says: the agent's own, the proxy's and the application's, as one. Pure.

Source: istio.io/latest/docs/ops/integrations/prometheus (metrics merging); the text format is Prometheus' 0.0.4.
"""

import re
from collections.abc import Iterable, Mapping

import msgspec

from sidelab.sidecar.config.proxy_annotations import PROMETHEUS

KIND = "text/plain; version=0.0.4; charset=utf-8"
VARIABLE = "ISTIO_PROMETHEUS_ANNOTATIONS"
"""The variable in which the injector keeps what the annotations said before it wrote its own."""

_LINE = re.compile(rb"([^\r\n]++)\r?\n")  # one at a time: a list of all costs many times a page's size


class _Said(msgspec.Struct, frozen=True):
    scrape: str = ""
    port: str = ""
    path: str = ""


def application(env: Mapping[str, str], annotations: Mapping[str, str], own_port: int) -> tuple[int, str] | None:
    """Return port and path of the application's metrics, None where its pod asks for no scraping.

    Annotations that name `own_port` are the injector's, for whoever scrapes the pod.
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

    What follows a page's last line feed is left out: a page that was cut must not spoil the others.
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
