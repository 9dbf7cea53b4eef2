"""A container's probes, and the lifecycle hooks at its start and end.

Types mirror the Kubernetes API (core/v1), in snake_case. How they are carried out is not known here.
"""

import re
from typing import ClassVar

from sidelab.lab.manifest import checks, fields
from sidelab.lab.manifest.checks import FieldError
from sidelab.lab.manifest.kinds import Part

_HEADER_NAME = re.compile(r"[-A-Za-z0-9]+")


class HTTPHeader(Part, frozen=True, kw_only=True):
    """A header of a probe's or hook's request."""

    name: str
    value: str

    def __post_init__(self) -> None:
        if not _HEADER_NAME.fullmatch(self.name):
            raise FieldError("name", f"{checks.shown(self.name)} is no header name; use letters, digits and '-'")
        if not self.value.isprintable() or not self.value.isascii():
            raise FieldError("value", f"{checks.shown(self.value)} is no header value; use printable ASCII on one line")


class HTTPGet(Part, frozen=True, kw_only=True):
    """A GET that passes with a status from 200 to 399; `host` "" is the pod's address.

    With scheme HTTPS no certificate is verified. Any `path` is asked for as the kubelet does it, which puts a slash in
    front and escapes what needs it.
    """

    path: str = "/"
    port: int | str
    scheme: str = "HTTP"
    host: str = ""
    http_headers: tuple[HTTPHeader, ...] = ()

    def __post_init__(self) -> None:
        checks.port("port", self.port)
        checks.choice("scheme", self.scheme, ("HTTP", "HTTPS"))
        _one_word("host", self.host)


class TCPSocket(Part, frozen=True, kw_only=True):
    """A connection that passes when it opens; `host` "" is the pod's address."""

    port: int | str
    host: str = ""

    def __post_init__(self) -> None:
        checks.port("port", self.port)
        _one_word("host", self.host)


class Exec(Part, frozen=True, kw_only=True):
    """A command that passes with status 0; run without a shell."""

    command: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.command:
            raise FieldError("command", "it is empty; write a program and its arguments")


class GRPC(Part, frozen=True, kw_only=True):
    """A call of grpc.health.v1.Health/Check, which passes when the answer is SERVING."""

    port: int
    service: str = ""

    def __post_init__(self) -> None:
        checks.port_number("port", self.port)


class Sleep(Part, frozen=True, kw_only=True):
    """A pause, in seconds."""

    seconds: int

    def __post_init__(self) -> None:
        checks.at_least("seconds", self.seconds, 0)


class Probe(Part, frozen=True, kw_only=True):
    """One handler, and when it is run; times in seconds.

    `termination_grace_period_seconds` counts instead of the pod's where a failed probe ends the container.
    """

    rows: ClassVar[fields.Rows] = fields.PROBE
    http_get: HTTPGet | None = None
    tcp_socket: TCPSocket | None = None
    exec: Exec | None = None
    grpc: GRPC | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None

    def __post_init__(self) -> None:
        handlers = [each for each in (self.http_get, self.tcp_socket, self.exec, self.grpc) if each is not None]
        if len(handlers) != 1:
            raise FieldError("", f"it has {len(handlers)} handlers; give it one of httpGet, tcpSocket, exec, grpc")
        checks.at_least("initialDelaySeconds", self.initial_delay_seconds, 0)
        checks.at_least("timeoutSeconds", self.timeout_seconds, 1)
        checks.at_least("periodSeconds", self.period_seconds, 1)
        checks.at_least("successThreshold", self.success_threshold, 1)
        checks.at_least("failureThreshold", self.failure_threshold, 1)
        if self.termination_grace_period_seconds is not None:
            checks.at_least("terminationGracePeriodSeconds", self.termination_grace_period_seconds, 1)

    @property
    def handler(self) -> HTTPGet | TCPSocket | Exec | GRPC:
        """The one handler that it has."""
        return next(each for each in (self.http_get, self.tcp_socket, self.exec, self.grpc) if each is not None)

    @property
    def port(self) -> int | str | None:
        """The port that it asks, by number or name; None for a command."""
        return None if isinstance(self.handler, Exec) else self.handler.port


class Handler(Part, frozen=True, kw_only=True):
    """What a hook does: one of a request, a command and a pause.

    `tcp_socket` is accepted for what rewrites it: Kubernetes' API takes it, and no kubelet carries it out.
    """

    http_get: HTTPGet | None = None
    tcp_socket: TCPSocket | None = None
    exec: Exec | None = None
    sleep: Sleep | None = None

    def __post_init__(self) -> None:
        handlers = [each for each in (self.http_get, self.tcp_socket, self.exec, self.sleep) if each is not None]
        if len(handlers) != 1:
            raise FieldError("", f"it has {len(handlers)} handlers; give it one of httpGet, exec, sleep")

    @property
    def handler(self) -> HTTPGet | TCPSocket | Exec | Sleep:
        """The one handler that it has."""
        return next(each for each in (self.http_get, self.tcp_socket, self.exec, self.sleep) if each is not None)

    @property
    def port(self) -> int | str | None:
        """The port that it asks, by number or name; None for what asks none."""
        return self.handler.port if isinstance(self.handler, (HTTPGet, TCPSocket)) else None


class Lifecycle(Part, frozen=True, kw_only=True):
    """What is done right after a container's start, and before it is asked to end."""

    rows: ClassVar[fields.Rows] = fields.LIFECYCLE
    post_start: Handler | None = None
    pre_stop: Handler | None = None


def _one_word(name: str, value: str) -> None:
    if not value.isascii() or not value.isprintable() or " " in value:
        raise FieldError(name, f"{checks.shown(value)} is not accepted; use ASCII without blanks and line ends")
