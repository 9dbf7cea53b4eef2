"""The admin, metrics and health ports of a running proxy, by real connections; and that its traffic shows there."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from proxy_rig import Rig, read_all, read_until, rig

_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def _serve(connection: socket.socket) -> None:
    while connection.recv(65536):
        connection.sendall(_RESPONSE)


@contextmanager
def _proxy() -> Iterator[Rig]:
    """Yield a proxy that has passed on one request."""
    with rig("http", _serve) as proxy:
        client = proxy.dial()
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        read_until(client, b"hello")
        yield proxy


def _ask(proxy: Rig, port: int, target: str, method: str = "GET") -> tuple[int, str, str]:
    """Return the status, head and body of an answer, after which the proxy must have closed."""
    client = proxy.dial(port)
    client.sendall(f"{method} {target} HTTP/1.1\r\nHost: localhost:15000\r\nUser-Agent: curl/8\r\n\r\n".encode())
    head, _, body = read_all(client).decode().partition("\r\n\r\n")
    return int(head.split(" ", 2)[1]), head, body


def test_traffic_shows_in_the_pages() -> None:
    """A request that passed is in the counters, in the metrics of both ports, and at its host in /clusters."""
    with _proxy() as proxy:
        _, _, stats = _ask(proxy, proxy.admin, "/stats?filter=InboundPassthroughCluster.upstream_rq_total")
        assert "cluster.InboundPassthroughCluster.upstream_rq_total: 1\n" == stats
        for port in (proxy.admin, proxy.stats):
            _, _, metrics = _ask(proxy, port, "/stats/prometheus")
            assert re.search(
                r'^istio_requests_total\{reporter="destination",.*response_code="200",.*\} 1$', metrics, re.MULTILINE
            )
            assert 'envoy_cluster_upstream_rq_total{cluster_name="InboundPassthroughCluster"} 1\n' in metrics
        _, _, clusters = _ask(proxy, proxy.admin, "/clusters?filter=InboundPassthroughCluster")
        host = f"InboundPassthroughCluster::{proxy.destination[0]}:{proxy.destination[1]}"
        assert {f"{host}::health_flags::healthy", f"{host}::rq_success::1", f"{host}::cx_active::1"} <= {
            *clusters.splitlines()
        }


def test_own_ports_do_not_count_as_traffic() -> None:
    """Asking the pages changes no counter that they show."""
    with _proxy() as proxy:
        wanted = "/stats?filter=^(http|cluster|listener|tcp|istiocustom)%5C."
        first = _ask(proxy, proxy.admin, wanted)
        _ask(proxy, proxy.health, "/healthz/ready")
        _ask(proxy, proxy.stats, "/stats/prometheus")
        assert first == _ask(proxy, proxy.admin, wanted)


@pytest.mark.parametrize(
    "target", ["/", "/help", "/stats", "/clusters", "/memory", "/config_dump", "/server_info", "/certs", "/listeners"]
)
def test_head_is_get_without_the_body(target: str) -> None:
    """HEAD has the head that GET has and nothing after it, apart from figures that change by themselves."""
    with _proxy() as proxy:
        heads = [_ask(proxy, proxy.admin, target, method) for method in ("GET", "HEAD")]
        (status, head, body), (head_status, head_head, nothing) = heads
        assert (200, 200, "") == (status, head_status, nothing)
        assert f"content-length: {len(body.encode())}" in head
        assert [_names(head)] == [_names(head_head)]


def _names(head: str) -> list[str]:
    return [line.partition(":")[0] for line in head.split("\r\n")]


def test_config_dump_and_server_info_are_json() -> None:
    """What says that it is JSON is."""
    with _proxy() as proxy:
        for target in ("/config_dump", "/server_info", "/memory", "/certs", "/stats?format=json"):
            _, head, body = _ask(proxy, proxy.admin, target)
            assert ("content-type: application/json" in head, dict) == (True, type(json.loads(body)))


def test_bad_requests_are_answered() -> None:
    """A wrong page, method, parameter or no HTTP at all get a status and a sentence, and the proxy goes on."""
    with _proxy() as proxy:
        assert [404, 405, 400, 405] == [
            _ask(proxy, proxy.admin, target, method)[0]
            for target, method in (
                ("/nothing", "GET"),
                ("/quitquitquit", "GET"),
                ("/stats?filter=(", "GET"),
                ("/stats", "POST"),
            )
        ]
        client = proxy.dial(proxy.admin)
        client.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 400 ")
        assert (200, "LIVE\n") == _ask(proxy, proxy.admin, "/ready")[::2]


def test_counters_can_be_reset() -> None:
    """After POST /reset_counters nothing but what is open is left."""
    with _proxy() as proxy:
        assert (200, "OK\n") == _ask(proxy, proxy.admin, "/reset_counters", "POST")[::2]
        _, _, left = _ask(proxy, proxy.admin, "/stats?usedonly&filter=^(http|cluster|listener|tcp|istiocustom)%5C.")
        assert {"downstream_cx_active", "upstream_cx_active"} == {
            line.partition(":")[0].rpartition(".")[2] for line in left.splitlines()
        }


def test_listeners_drain_and_the_proxy_stays() -> None:
    """After POST /drain_listeners?inboundonly nobody gets in, and everything else goes on."""
    with _proxy() as proxy:
        assert 200 == _ask(proxy, proxy.admin, "/drain_listeners?inboundonly", "POST")[0]
        with pytest.raises(ConnectionRefusedError):
            proxy.dial()
        _, _, listeners = _ask(proxy, proxy.admin, "/listeners")
        assert ["virtualOutbound", "admin", "prometheus", "health"] == [
            line.partition("::")[0] for line in listeners.splitlines()
        ]


def test_health_port_follows_draining() -> None:
    """The health port answers 503 as soon as the proxy drains, while a request is still served."""
    with rig("http", _serve) as proxy:
        busy = proxy.dial()
        busy.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf")
        ready = _ask(proxy, proxy.health, "/healthz/ready")
        proxy.drain()
        draining = _ask(proxy, proxy.health, "/healthz/ready")
        assert [(200, "LIVE\n"), (503, "DRAINING\n")] == [ready[::2], draining[::2]]
