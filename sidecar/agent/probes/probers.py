"""What the application's probes were before injection sent them to the agent: paths and what each stands for. Pure.

Source: ISTIO_KUBE_APP_PROBERS as istio/istio pkg/kube/inject/app_probe.go writes it and
pilot/cmd/pilot-agent/status/server.go reads it.
"""

import re
from collections.abc import Mapping

import msgspec

from sidelab.lab.errors import InputError

VARIABLE = "ISTIO_KUBE_APP_PROBERS"

_PATH = re.compile(r"/(app-health|app-lifecycle)/[^/]+/(livez|readyz|startupz|prestopz|poststartz)")
_PROBE_S, _HOOK_S = 1.0, 60.0


class _Part(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A part of it, with Kubernetes' names; what has no effect here is passed over."""


class HttpProber(_Part, frozen=True, kw_only=True):
    """A GET of the application; its headers are those of the request for it, which has the manifest's."""

    port: int
    path: str = "/"
    scheme: str = "HTTP"


class TcpProber(_Part, frozen=True, kw_only=True):
    """A connection to the application."""

    port: int
    host: str = ""


class GrpcProber(_Part, frozen=True, kw_only=True):
    """A call of grpc.health.v1.Health/Check."""

    port: int
    service: str | None = None


class AppProber(_Part, frozen=True, kw_only=True):
    """One handler, and how long it may take."""

    http_get: HttpProber | None = None
    tcp_socket: TcpProber | None = None
    grpc: GrpcProber | None = None
    timeout_seconds: float = 0

    def timeout_s(self, path: str) -> float:
        """Return the time that it has where it is asked for by `path`."""
        return self.timeout_seconds or (_HOOK_S if path.startswith("/app-lifecycle/") else _PROBE_S)


def read(env: Mapping[str, str]) -> dict[str, AppProber]:
    """Return the probers by their paths; raises `InputError` for what the injector would not have written."""
    try:
        probers = _DECODER.decode(env.get(VARIABLE) or "{}")
    except msgspec.DecodeError as error:
        raise InputError(f"{VARIABLE}: {error}: leave it to `sidelab inject` to write it") from error
    for path, prober in probers.items():
        if not _PATH.fullmatch(path):
            raise InputError(f"{VARIABLE}: {path!r}: write /app-health/CONTAINER/readyz, livez or startupz")
        if [prober.http_get, prober.tcp_socket, prober.grpc].count(None) != 2:
            raise InputError(f"{VARIABLE}: {path}: give it one of httpGet, tcpSocket, grpc")
    return probers


_DECODER = msgspec.json.Decoder(dict[str, AppProber])
