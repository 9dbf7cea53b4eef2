"""The application's probes: each asked in a thread of its own, so that one that hangs holds up no other.

Source: istio/istio pilot/cmd/pilot-agent/status/server.go (`handleAppProbe` and what it calls).
"""

import threading
import time
from collections.abc import Callable
from urllib.parse import quote, urljoin, urlsplit

from sidecar.agent.answer import Answer, AnswerError
from sidecar.agent.dial import Line
from sidecar.agent.probers import GRPC, HTTPGet, Prober, TCPSocket
from sidecar.agent.server import TEXT, Reply

BODY_BYTES = 10 * 1024
MOST_AT_ONCE = 32
"""How many may be under way; the kubelet has one for each probe, and gives up those that hang."""

_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}
_OWN_FIELDS = {"host", "connection", "keep-alive", "content-length", "transfer-encoding", "accept-encoding", "upgrade"}


class Probes:
    """Asks the application at the pod's `address`; `tell` is called from other threads, once for each question."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)

    def begin(self, prober: Prober, timeout_s: float, head: bytes, tell: Callable[[Reply], None]) -> None:
        """Ask as `prober` says; `head` is the request for it, whose fields the application gets to see."""
        if not self._free.acquire(blocking=False):
            tell(_failure(f"{MOST_AT_ONCE} probes are under way already"))
            return

        def work() -> None:
            try:
                reply = ask(prober, self._address, timeout_s, head)
            finally:
                self._free.release()
            tell(reply)

        threading.Thread(target=work, daemon=True).start()


def ask(prober: Prober, address: str, timeout_s: float, head: bytes = b"") -> Reply:
    """Return what to say to whoever asks: the application's own answer, or 500 with the reason."""
    try:
        return _asked(prober, address, time.monotonic() + timeout_s, head)
    except TimeoutError:
        return _failure(f"no answer within {timeout_s:g} s")
    except OSError as error:
        return _failure(error.strerror or str(error))
    except AnswerError as error:
        return _failure(str(error))


def _asked(prober: Prober, address: str, deadline_s: float, head: bytes) -> Reply:
    match prober.http_get or prober.tcp_socket or prober.grpc:
        case HTTPGet() as get:
            return _get(get, address, deadline_s, head)
        case TCPSocket() as dialled:
            with Line(dialled.host or address, dialled.port, deadline_s):
                return Reply(200)
        case GRPC() as called:
            return _call(called, address, deadline_s)
        case _:
            return _failure("there is nothing to ask")


def _failure(reason: str) -> Reply:
    return Reply(500, f"{reason}\n".encode())


def _call(called: GRPC, address: str, deadline_s: float) -> Reply:
    from sidecar.agent import grpc  # noqa: PLC0415  # HTTP/2 takes long to import, and few pods need it

    with Line(address, called.port, deadline_s) as line:
        problem = grpc.check(line, called.service or "", _netloc(address, called.port))
    return _failure(problem) if problem else Reply(200)


def _get(get: HTTPGet, address: str, deadline_s: float, head: bytes) -> Reply:
    """Ask, and follow redirects on the same host; another host's would not be the application's answer."""
    scheme, host, port = get.scheme.lower(), address, get.port
    path = get.path if get.path.startswith("/") else f"/{get.path}"
    fields = _fields(get, head)
    for _ in range(_MOST_REDIRECTS + 1):
        answer = _exchange(scheme, host, port, path, fields, deadline_s)
        location = answer.headers.get("location")
        if answer.status not in _REDIRECTS or not location:
            kind = answer.headers.get("content-type", TEXT)
            return Reply(answer.status, answer.body, kind if kind.isascii() and kind.isprintable() else TEXT)
        target = _target(f"{scheme}://{_netloc(host, port)}{path}", location)
        if target is None:
            return _failure("it redirects to what is no URL of HTTP")
        if target[1] != host:
            return Reply(200)
        scheme, host, port, path = target
    return _failure(f"stopped after {_MOST_REDIRECTS} redirects")


def _exchange(
    scheme: str, host: str, port: int, path: str, fields: tuple[tuple[str, str], ...], deadline_s: float
) -> Answer:
    said = {name.lower() for name, _ in fields}
    own = () if "host" in said else (("Host", _netloc(host, port)),)
    lines = "".join(f"{name}: {value}\r\n" for name, value in (*own, *fields, ("Connection", "close")))
    answer = Answer(limit=BODY_BYTES)
    with Line(host, port, deadline_s, tls=scheme == "https") as line:
        line.send(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1", "replace"))
        while not answer.done:
            data = line.receive()
            if data:
                answer.feed(data)
            else:
                answer.ended()
    return answer


def _fields(get: HTTPGet, head: bytes) -> tuple[tuple[str, str], ...]:
    """Return the probe's own headers, and behind them what whoever asks has sent along."""
    own = tuple(("Host" if each.name.lower() in ("host", ":authority") else each.name, each.value)
                for each in get.http_headers)  # fmt: skip
    taken = {name.lower() for name, _ in own} | _OWN_FIELDS
    lines = (line.partition(":") for line in head.decode("latin-1").strip("\r\n").split("\r\n")[1:])
    passed = ((name, value.strip()) for name, colon, value in lines if colon and name.lower() not in taken)
    return (*own, *passed)


def _target(base: str, location: str) -> tuple[str, str, int, str] | None:
    try:
        target = urlsplit(urljoin(base, location))
        port = target.port or _PORTS[target.scheme]
    except (ValueError, KeyError):
        return None
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    return target.scheme, target.hostname or "", port, quote(path, safe="%/?:=&~+!$,;'@()*[]")


def _netloc(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
