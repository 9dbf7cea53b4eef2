"""The files that Envoy reads: makes their texts from an intent, and writes them where Envoy watches.

Envoy watches each file and reads it again when another is renamed over it, so an unchanged file is left alone; clusters
are written first, because listeners refer to them. Within a file, an unchanged cluster or listener keeps its
connections, and those of a changed one are drained.
"""

import zlib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import msgspec

from sidelab.lab.base.replace_file import replace_file
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.envoy.configuration.bootstrap import bootstrap, listeners
from sidelab.sidecar.envoy.configuration.envoy_clusters import clusters
from sidelab.sidecar.envoy.configuration.typed_parts import Config, typed

BOOTSTRAP = "bootstrap.json"
_INTERFACES = Path("/proc/net/if_inet6")
_MODE = 0o644


def dynamic(intent: Intent, *, ipv6: bool) -> dict[str, str]:
    """Return the files that may change while Envoy runs, in the order to write them."""
    return {
        "cds.json": _response("envoy.config.cluster.v3.Cluster", clusters(intent, ipv6=ipv6)),
        "lds.json": _response("envoy.config.listener.v3.Listener", listeners(intent, ipv6=ipv6)),
    }


def initial(intent: Intent, folder: str, *, ipv6: bool) -> dict[str, str]:
    """Return all files that Envoy starts with; they are to be written to `folder`."""
    return {**dynamic(intent, ipv6=ipv6), BOOTSTRAP: _text(bootstrap(intent, folder, ipv6=ipv6))}


def publish(folder: Path, files: Mapping[str, str]) -> list[str]:
    """Write the files that differ from those in `folder`, by rename and readable by all; return their names."""
    written = []
    for name, text in files.items():
        path = folder / name
        if not path.exists() or path.read_text() != text:
            replace_file(path, text.encode(), mode=_MODE)
            written.append(name)
    return written


def has_ipv6(intent: Intent) -> bool:
    """Return whether to capture IPv6 in this network namespace: the intent wants it, and its source address exists."""
    if not intent.ipv6 or not _INTERFACES.exists():
        return False
    address = ip_address(intent.inbound_bind_ipv6).packed.hex()
    return any(line.startswith(address) for line in _INTERFACES.read_text().splitlines())


def _response(kind: str, resources: list[Config]) -> str:
    typed_resources = [typed(kind, **each) for each in resources]
    version = zlib.crc32(_text(typed_resources).encode())
    return _text({"version_info": f"{version:08x}", "resources": typed_resources})


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()
