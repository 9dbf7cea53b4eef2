"""The application's original probes, before injection redirected them to the agent, by path on the agent. Pure.

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
    """A part of the variable, with Kubernetes' names; fields without effect here are ignored."""


class HttpProber(_Part, frozen=True, kw_only=True):
    """A GET of the application; its headers are those of the kubelet's request, which has the manifest's."""

    port: int
    path: str = "/"
    scheme: str = "HTTP"


class TcpProber(_Part, frozen=True, kw_only=True):
    """A connection to the application."""

    port: int
    host: str = ""


class GrpcProber(_Part, frozen=True, kw_only=True):
    """A call of grpc.health.v1.Health/Check on the application."""

    port: int
    service: str | None = None


class AppProber(_Part, frozen=True, kw_only=True):
    """One probe handler and its timeout."""

    http_get: HttpProber | None = None
    tcp_socket: TcpProber | None = None
    grpc: GrpcProber | None = None
    timeout_seconds: float = 0

    def timeout_s(self, path: str) -> float:
        """Return its timeout if it was requested by `path`."""
        return self.timeout_seconds or (_HOOK_S if path.startswith("/app-lifecycle/") else _PROBE_S)


def read(env: Mapping[str, str]) -> dict[str, AppProber]:
    """Return the probers by path; raises `InputError` for text that the injector would not write."""
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
