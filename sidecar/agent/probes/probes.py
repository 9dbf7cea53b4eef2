"""The application's probes: each is sent in a thread of its own, so that one that hangs does not delay the others.

Source: istio/istio pilot/cmd/pilot-agent/status/server.go (`handleAppProbe` and what it calls).
"""

import threading
import time
from collections.abc import Callable

from sidelab.lab.net.get import Field, Get, canonical, first
from sidelab.lab.net.http_answer import AnswerError
from sidelab.lab.net.http_request import request_fields
from sidelab.lab.net.node_addresses import ADDRESSES
from sidelab.lab.net.url import Url, netloc, target_of
from sidelab.sidecar.agent.http.server import TEXT, Reply, Request
from sidelab.sidecar.agent.probes.direct_dial import Line
from sidelab.sidecar.agent.probes.probers import AppProber, GrpcProber, HttpProber, TcpProber
from sidelab.sidecar.config.intent import Ports

MOST_AT_ONCE = 32
"""How many may be in progress; the kubelet has at most one per probe, and gives up those that hang."""

MOST_OF_OTHERS = 8
"""How many of them may come from clients other than the node, for which the rest is reserved."""

_OF_ONE_CONNECTION = {"Connection", "Keep-Alive", "Upgrade", "Accept-Encoding"}


class Probes:
    """Sends probes to the application at the pod's `address`; `tell` is called from other threads, once per probe."""

    def __init__(self, address: str, agent_port: int = Ports().agent) -> None:
        self._address = address
        self._agent_port = agent_port
        self._free = {
            True: threading.BoundedSemaphore(MOST_AT_ONCE - MOST_OF_OTHERS),
            False: threading.BoundedSemaphore(MOST_OF_OTHERS),
        }

    def begin(self, prober: AppProber, timeout_s: float, request: Request, tell: Callable[[Reply], None]) -> None:
        """Send the probe that `prober` describes; `request` is the kubelet's, whose fields are passed on."""
        free = self._free[request.peer in ADDRESSES]
        if not free.acquire(blocking=False):
            tell(_failure("too many probes are under way already"))
            return

        def work() -> None:
            try:
                reply = ask(prober, self._address, timeout_s, request.raw, self._agent_port)
            finally:
                free.release()
            tell(reply)

        try:
            threading.Thread(target=work, daemon=True).start()
        except RuntimeError:  # the process limit is reached
            free.release()
            tell(_failure("no thread can be started"))


def ask(prober: AppProber, address: str, timeout_s: float, head: bytes = b"", agent_port: int = Ports().agent) -> Reply:
    """Return the reply to the request `head` to `agent_port`: the application's, or 500 with the reason."""
    try:
        return _asked(prober, address, time.monotonic() + timeout_s, head, agent_port)
    except TimeoutError:
        return _failure(f"no answer within {timeout_s:g} s")
    except OSError as error:
        return _failure(error.strerror or str(error))
    except AnswerError as error:
        return _failure(str(error))


def _asked(prober: AppProber, address: str, deadline_s: float, head: bytes, agent_port: int) -> Reply:
    match prober.http_get or prober.tcp_socket or prober.grpc:
        case HttpProber() as get:
            return _get(get, address, deadline_s, head, agent_port)
        case TcpProber() as dialled:
            with Line(dialled.host or address, dialled.port, deadline_s):
                return Reply(200)
        case GrpcProber() as called:
            return _call(called, address, deadline_s, head)
        case _:
            return _failure("there is nothing to ask")


def _failure(reason: str) -> Reply:
    return Reply(500, f"{reason}\n".encode())


def _call(called: GrpcProber, address: str, deadline_s: float, head: bytes) -> Reply:
    from sidelab.lab.net.grpc_health import Call  # noqa: PLC0415  # HTTP/2 takes long to import, and few pods need it

    agent = first(_fields(head), "User-Agent")
    agent = agent if agent and agent.isascii() else "sidelab-agent"
    call = Call(called.service or "", netloc(address, called.port), agent)
    with Line(address, called.port, deadline_s) as line:
        while not call.done:
            line.send(call.outbox())
            call.feed(line.receive())
    return _failure(call.problem) if call.problem else Reply(200)


def _get(get: HttpProber, address: str, deadline_s: float, head: bytes, agent_port: int) -> Reply:
    """Send a GET with the fields of the kubelet's request, like pilot-agent, and follow redirects like the kubelet."""
    url = Url(get.scheme.lower(), address, get.port, target_of(get.path))
    exchange = Get(url, _for_application(head, agent_port, get.port))
    while exchange.answer is None:
        _exchange(exchange, deadline_s)
    answer = exchange.answer
    if 300 <= answer.status < 400:
        return Reply(200)  # without its Location it would not be a redirect
    if not 200 <= answer.status <= 999:
        return _failure(f"status {answer.status}")
    kind = answer.field("content-type") or TEXT
    return Reply(answer.status, answer.body, kind if kind.isascii() and kind.isprintable() else TEXT)


def _exchange(exchange: Get, deadline_s: float) -> None:
    """Use one connection, until it has given an answer or a redirect."""
    url = exchange.url
    with Line(url.host, url.port, deadline_s, tls=url.scheme == "https") as line:
        line.send(exchange.request())
        while True:
            try:
                data = line.receive()
            except TimeoutError:
                raise
            except OSError:
                if exchange.broken():
                    return
                raise
            if exchange.feed(data):
                return


def _for_application(head: bytes, agent_port: int, port: int) -> list[Field]:
    """Return the fields of the kubelet's request as the application gets them: Host has the application's port."""
    fields = _fields(head)
    return [(name, _with_port(value, agent_port, port) if name == "Host" else value) for name, value in fields]


def _fields(head: bytes) -> list[Field]:
    found = request_fields(head.partition(b"\r\n")[2])
    fields = [(canonical(_text(name)), _text(value)) for name, value in found]
    return [each for each in fields if each[0] not in _OF_ONE_CONNECTION]


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")


def _with_port(host: str, agent_port: int, port: int) -> str:
    """Return `host` with `port` instead of the agent's; a name or a port from the manifest stays."""
    name, _, number = host.rpartition(":")
    return f"{name}:{port}" if number == str(agent_port) else host
