"""Envoy as a sidecar behind Istio's rules, as the contract starts it, in a network namespace without a lab."""

import contextlib
import http.client
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy_rig import ARGUMENTS, CLIENT, CLIENT6, POD, POD6, Sidecar, ask, connection, get, greeting, pod, serving
from netns_helper import in_namespace
from tools import envoy

from sidelab.sidecar.config.intent import (
    InboundPort,
    Intent,
    IntentEndpoint,
    IntentService,
    IntentServicePort,
    Protocol,
)

pytestmark = pytest.mark.kernel

VIP = "10.96.0.5"


@pytest.fixture(autouse=True)
def _envoy() -> None:
    envoy()


def service(name: str, port: int, *endpoints: int, protocol: Protocol = "http", address: str = VIP) -> IntentService:
    """Return a Service whose endpoints are ports of this pod's loopback, which no rule captures."""
    serving_ = tuple(IntentEndpoint(address="127.0.0.1", port=each) for each in endpoints)
    ports = (IntentServicePort(port=port, protocol=protocol, endpoints=serving_),)
    return IntentService(host=f"{name}.default.svc.cluster.local", addresses=(address,), ports=ports)


def in_pod(folder: Path, work: Callable[[Sidecar], Any], arguments: str = ARGUMENTS) -> Any:
    """Return what `work` returns, run in a pod without a lab."""

    def run() -> Any:
        with pod(folder, arguments) as sidecar:
            return work(sidecar)

    return in_namespace(run)


def test_inbound_requests_reach_the_application_from_the_address_that_the_rules_let_pass(tmp_path: Path) -> None:
    """The application sees 127.0.0.6, the client the proxy's `server` field."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(inbound=(InboundPort(port=80),), server_name="me"))
        with serving(80, "app"), sidecar.outside():
            return get((POD, 80), "web")

    status, body, fields = in_pod(tmp_path, work)
    assert (200, "app 127.0.0.6 web", "me") == (status, body, fields["server"])


def test_inbound_ipv6_comes_from_the_address_that_the_rules_let_pass(tmp_path: Path) -> None:
    """Where the rules capture IPv6 the proxy serves it too, and calls the application from ::6."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent())
        with serving(80, "app", host="::"), sidecar.outside():
            return get((POD6, 80), "web")[:2]

    assert (200, "app ::6 web") == in_pod(tmp_path, work, f"{ARGUMENTS} --enable-ipv6")


@pytest.mark.parametrize("version", [4, 6])
def test_the_application_sees_the_client_in_tproxy_mode(tmp_path: Path, version: int) -> None:
    """With TPROXY the proxy calls the application from the client's own address."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(mode="tproxy", inbound=(InboundPort(port=80),)), uid=0)
        with serving(80, "app", host="::"), sidecar.outside():
            return get(({4: POD, 6: POD6}[version], 80), "web")[:2]

    peer = {4: f"::ffff:{CLIENT}", 6: CLIENT6}[version]
    assert (200, f"app {peer} web") == in_pod(tmp_path, work, f"{ARGUMENTS} -m TPROXY --enable-ipv6")


def test_a_server_may_speak_first(tmp_path: Path) -> None:
    """On a port whose protocol is open, a connection whose client keeps silent goes on as bytes."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(inbound=(InboundPort(port=25),)))
        with greeting(25), sidecar.outside(), socket.create_connection((POD, 25), 5) as link:
            return link.recv(100)

    assert b"220 welcome" == in_pod(tmp_path, work)


@pytest.mark.parametrize("protocol", ["http", "auto"])
def test_a_service_is_reached_by_its_names(tmp_path: Path, protocol: Protocol) -> None:
    """A request to a Service's address goes to its endpoint, whichever of its names the Host field has."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(services=(service("web", 8080, 9001, protocol=protocol),)))
        with serving(9001, "one"):
            return [get((VIP, 8080), host)[1].split()[0] for host in ("web", "web.default:8080", VIP)]

    assert ["one"] * 3 == in_pod(tmp_path, work)


def test_bytes_of_a_tcp_service_go_to_its_endpoint_at_once(tmp_path: Path) -> None:
    """On a port declared as TCP nobody waits for first bytes, so a server that speaks first is heard."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(services=(service("db", 3306, 9001, protocol="tcp"),), detection_timeout_s=60))
        with greeting(9001), socket.create_connection((VIP, 3306), 5) as link:
            return link.recv(100)

    assert b"220 welcome" == in_pod(tmp_path, work)


@contextlib.contextmanager
def serving_outside(sidecar: Sidecar, port: int) -> Iterator[None]:
    """Serve HTTP where the client is."""
    with contextlib.ExitStack() as served:
        with sidecar.outside():
            served.enter_context(serving(port, "out"))
        yield


@pytest.mark.parametrize(("policy", "expected"), [("ALLOW_ANY", (200, "out")), ("REGISTRY_ONLY", (502, ""))])
def test_unknown_hosts_pass_or_get_a_502(tmp_path: Path, policy: Any, expected: tuple[int, str]) -> None:
    """A Host that no Service claims goes where it was going, or nowhere."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(outbound_policy=policy, services=(service("web", 8080, 9001),)))
        with serving_outside(sidecar, 8080):
            status, body, _ = get((CLIENT, 8080), "elsewhere.example")
        return status, body.partition(" ")[0]

    assert expected == in_pod(tmp_path, work)


def answered(address: tuple[str, int], host: str) -> int:
    """Return the status of a request, 0 where the connection fails."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return get(address, host)[0]
    return 0


def test_the_policy_changes_while_it_runs(tmp_path: Path) -> None:
    """A connection to no Service ends with REGISTRY_ONLY; after SIGHUP with ALLOW_ANY it goes where it was going."""
    address = (CLIENT, 7000)

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(outbound_policy="REGISTRY_ONLY"))
        with serving_outside(sidecar, 7000):
            before = answered(address, "x")
            sidecar.update(Intent())
            return before, sidecar.until(lambda: answered(address, "x"), "the policy has changed")

    assert (0, 200) == in_pod(tmp_path, work)


@pytest.mark.parametrize("protocol", ["http", "auto"])
def test_endpoints_change_under_an_open_connection(tmp_path: Path, protocol: Protocol) -> None:
    """After SIGHUP the new endpoint answers on the connection that was open before, and a new Service serves too."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(services=(service("web", 8080, 9001, protocol=protocol),)))
        with serving(9001, "one"), serving(9002, "two"), contextlib.closing(connection((VIP, 8080))) as link:
            port = link.sock.getsockname()[1]
            before = ask(link, "web")[1].split()[0]
            new = service("new", 8081, 9001, address="10.96.0.6", protocol=protocol)
            sidecar.update(Intent(services=(service("web", 8080, 9002, protocol=protocol), new)))
            sidecar.until(lambda: ask(link, "web")[1].startswith("two"), "the endpoint has changed")
            sidecar.until(lambda: answered(("10.96.0.6", 8081), "new"), "the Service is there")
            return before, link.sock is not None and link.sock.getsockname()[1] == port

    assert ("one", True) == in_pod(tmp_path, work)


def test_routes_change_without_a_failed_request(tmp_path: Path) -> None:
    """A Service that joins others at their port ends their connections with a response, and no request is lost."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(services=(service("web", 8080, 9001),)))
        found = []
        with serving(9001, "one"), contextlib.closing(connection((VIP, 8080))) as link:
            new = service("new", 8080, 9001, address="10.96.0.6")
            sidecar.update(Intent(services=(service("web", 8080, 9001), new), outbound_policy="REGISTRY_ONLY"))

            def closed() -> bool:
                status, _, fields = ask(link, "web")
                found.append(status)
                return fields.get("connection") == "close"

            sidecar.until(closed, "the listener has changed")
            return set(found), get((VIP, 8080), "new")[0], get((VIP, 8080), "old")[0]

    assert ({200}, 200, 502) == in_pod(tmp_path, work)


def test_bytes_go_on_when_endpoints_change(tmp_path: Path) -> None:
    """A TCP connection to an endpoint that is no longer one lives until its ends end it."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(services=(service("db", 3306, 9001, protocol="tcp"),)))
        with socket.create_server(("127.0.0.1", 9001)) as server, socket.create_connection((VIP, 3306), 5) as link:
            server.settimeout(5)
            end, _ = server.accept()
            server.close()
            with end, serving(9002, "two"):
                sidecar.update(Intent(services=(service("db", 3306, 9002, protocol="tcp"),)))
                sidecar.until(lambda: answered((VIP, 3306), "x"), "the endpoint has changed")
                end.sendall(b"still here")
                return link.recv(100)

    assert b"still here" == in_pod(tmp_path, work)


def test_the_access_log_has_istios_fields(tmp_path: Path) -> None:
    """A request leaves a line in a log file that the proxy's user could not open."""
    fields: dict[str, Any] = {}
    for form in ("text", "json"):

        def work(sidecar: Sidecar, form: Any = form) -> Any:
            sidecar.start(Intent(inbound=(InboundPort(port=80),), access_log=form))
            with serving(80, "app"), sidecar.outside():
                get((POD, 80), "web", path="/where?x=1")
            return sidecar.until(lambda: [line for line in sidecar.log().splitlines() if "/where" in line], "a line")[0]

        folder = tmp_path / form
        folder.mkdir()
        fields[form] = in_pod(folder, work)
    assert '"GET /where?x=1 HTTP/1.1" 200 - via_upstream - "-" 0 ' in fields["text"]
    assert f'"web" "{POD}:80" inbound|80|| 127.0.0.6:' in fields["text"]
    line = json.loads(fields["json"])
    found = [line[name] for name in ("method", "path", "response_code", "upstream_cluster", "route_name")]
    assert ["GET", "/where?x=1", 200, "inbound|80||", "default"] == found


def test_sigterm_drains(tmp_path: Path) -> None:
    """After SIGTERM it is no longer ready, an open connection gets its last response, and then its status is 0."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(inbound=(InboundPort(port=80),), drain_s=60))
        with serving(80, "app"):
            with sidecar.outside():
                link = connection((POD, 80))
                ask(link, "web")
            os.kill(sidecar.pid, signal.SIGTERM)
            sidecar.until(lambda: sidecar.ready() == 503, "it is no longer ready")
            status, _, fields = ask(link, "web")
            link.close()
            return status, fields["connection"], sidecar.wait()

    assert (200, "close", 0) == in_pod(tmp_path, work)


def test_a_second_sigterm_ends_it_at_once(tmp_path: Path) -> None:
    """Whatever is open, told twice it ends."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent(inbound=(InboundPort(port=80, protocol="tcp"),), drain_s=600))
        with greeting(80):
            with sidecar.outside():
                link = socket.create_connection((POD, 80), 5)
            with link:
                link.recv(1)
                os.kill(sidecar.pid, signal.SIGTERM)
                sidecar.until(lambda: sidecar.ready() == 503, "it drains")
                os.kill(sidecar.pid, signal.SIGTERM)
                return sidecar.wait()

    assert 0 == in_pod(tmp_path, work)


def test_connections_to_its_own_ports_go_in_no_circle(tmp_path: Path) -> None:
    """Whoever dials 15001 or 15006 himself is hung up on, and it goes on serving."""

    def work(sidecar: Sidecar) -> Any:
        sidecar.start(Intent())
        heard = []
        for port in (15001, 15006):
            with socket.create_connection(("127.0.0.1", port), 5) as link, contextlib.suppress(ConnectionError):
                heard.append(link.recv(1))
        return heard, sidecar.ready()

    assert ([b"", b""], 200) == in_pod(tmp_path, work)
