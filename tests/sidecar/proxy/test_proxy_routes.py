import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.sidecar.config.intent import (
    InboundPort,
    Intent,
    IntentEndpoint,
    IntentService,
    IntentServicePort,
    Protocol,
    Workload,
)
from sidelab.sidecar.proxy.http.detect import begins_http, speaks_http
from sidelab.sidecar.proxy.routing.routes import ConnectionPlan, Inbound, Outbound, Route
from sidelab.sidecar.proxy.upstreams.balance import least_request

VIP = "10.96.0.7"
FAR = "192.0.2.1"
SHOP = "outbound|80||shop.default.svc.cluster.local"
CART = "outbound|80||cart.other.svc.cluster.local"


def _service(host: str, *addresses: str, port: int = 80, protocol: Protocol = "http") -> IntentService:
    endpoints = (IntentEndpoint(address="10.8.0.2", port=8080),)
    ports = (IntentServicePort(port=port, protocol=protocol, endpoints=endpoints),)
    return IntentService(host=host, addresses=addresses, ports=ports)


def _outbound(intent: Intent) -> Outbound[str]:
    return Outbound(intent, str)


SHOPS = (
    _service("shop.default.svc.cluster.local", VIP, "fd00:10:96::7"),
    _service("cart.other.svc.cluster.local", "10.96.0.8"),
)
TABLE = _outbound(Intent(services=SHOPS, workload=Workload(namespace="default")))
CLOSED = _outbound(Intent(services=SHOPS, outbound_policy="REGISTRY_ONLY"))


@pytest.mark.parametrize(
    ("host", "cluster"),
    [
        (b"shop", SHOP),
        (b"SHOP.Default", SHOP),
        (b"shop.default.svc:80", SHOP),
        (b"shop.default.svc.cluster.local:8080", SHOP),
        (b"10.96.0.7", SHOP),
        (b"[fd00:10:96::7]:80", SHOP),
        (b"cart.other", CART),
        (b"cart", "PassthroughCluster"),
        (b"example.org", "PassthroughCluster"),
        (b"", "PassthroughCluster"),
        (b"shop:", SHOP),
        (b"shop.default.svc.cluster.local.", SHOP),
        (b"Shop.Default.svc.cluster.local.:80", SHOP),
        (b"shop.default.svc.cluster.local..", "PassthroughCluster"),
        (b"shop.", "PassthroughCluster"),
        (b"shop.default.", "PassthroughCluster"),
        (b"a.shop", "PassthroughCluster"),
    ],
)
def test_host_decides_on_a_services_port(host: bytes, cluster: str) -> None:
    """On a port that a Service serves HTTP on, Host alone says where a request goes, as Istio's routes do."""
    assert cluster == TABLE.route((FAR, 80), host).cluster


HEADLESS = _outbound(
    Intent(services=(_service("web.default.svc.cluster.local"), _service("web.other.svc.cluster.local")))
)


@pytest.mark.parametrize(
    ("host", "cluster"),
    [
        (b"web", "outbound|80||web.default.svc.cluster.local"),
        (b"web-0.web", "outbound|80||web.default.svc.cluster.local"),
        (b"WEB-0.Web:80", "outbound|80||web.default.svc.cluster.local"),
        (b"web-0.web.default", "outbound|80||web.default.svc.cluster.local"),
        (b"web-0.web.default.svc", "outbound|80||web.default.svc.cluster.local"),
        (b"a.b.web.default.svc.cluster.local", "outbound|80||web.default.svc.cluster.local"),
        (b"web-0.web.default.svc.cluster.local.", "outbound|80||web.default.svc.cluster.local"),
        (b"web-0.web.other.svc.cluster.local.:80", "outbound|80||web.other.svc.cluster.local"),
        (b"web-0.web.other", "outbound|80||web.other.svc.cluster.local"),
        (b".web", "PassthroughCluster"),
        (b"web-0web", "PassthroughCluster"),
        (b"web-0.web.", "PassthroughCluster"),
        (b"web-0.web.default.svc.cluster", "PassthroughCluster"),
    ],
)
def test_names_of_pods_lead_to_their_headless_service(host: bytes, cluster: str) -> None:
    """What ends with a dot and a name of a headless Service is one of its pods', as in istiod's wildcard domains."""
    assert cluster == HEADLESS.route((FAR, 80), host).cluster


def test_a_whole_name_goes_before_the_end_of_one() -> None:
    """A Service whose name looks like that of a pod of a headless one is found, whichever comes first."""
    services = (_service("web.shop.svc.cluster.local"), _service("a.web.svc.cluster.local", VIP))
    workload = Workload(namespace="shop")
    for order in (services, services[::-1]):
        table = _outbound(Intent(services=order, workload=workload))
        assert "outbound|80||a.web.svc.cluster.local" == table.route((FAR, 80), b"a.web").cluster
        assert "outbound|80||web.shop.svc.cluster.local" == table.route((FAR, 80), b"b.web").cluster


def test_unknown_host_of_registry_only_goes_nowhere() -> None:
    """With REGISTRY_ONLY a Host that no Service has leads to the route that answers 502."""
    assert Route("block_all", None) == CLOSED.route((VIP, 80), b"example.org")


def test_plan_by_address() -> None:
    """A Service's address and port lead to it; IPv6 addresses are the same however they are written."""
    protocols: tuple[Protocol, ...] = ("tcp", "auto")
    for protocol in protocols:
        table = _outbound(Intent(services=(_service("a.b.svc.cluster.local", "FD00:0::1", protocol=protocol),)))
        assert ConnectionPlan(protocol, "outbound|80||a.b.svc.cluster.local") == table.plan(("fd00::1", 80))


def test_plan_of_unknown_destinations() -> None:
    """What no Service describes passes as bytes, and with REGISTRY_ONLY it is closed."""
    assert ConnectionPlan("tcp", "PassthroughCluster") == TABLE.plan((FAR, 443))
    assert ConnectionPlan("tcp", None) == CLOSED.plan((FAR, 443))


def test_http_alone() -> None:
    """A proxy for nothing but HTTP takes everything for it, and has 502 for what REGISTRY_ONLY does not know."""
    table = _outbound(Intent(protocol="http", outbound_policy="REGISTRY_ONLY", services=SHOPS))
    assert (ConnectionPlan("http", None), ConnectionPlan("http", None)) == (
        table.plan((FAR, 443)),
        table.plan((FAR, 80)),
    )
    assert Route("block_all", None) == table.route((FAR, 443), b"shop")


def test_http_port_is_looked_at_wherever_it_goes() -> None:
    """On a port with an HTTP Service requests to any address are found, and bytes still go where they were going."""
    for address in (FAR, VIP):
        assert ConnectionPlan("auto", "PassthroughCluster") == TABLE.plan((address, 80))
        assert ConnectionPlan("auto", None) == CLOSED.plan((address, 80))


def test_detected_address_leads_to_its_service_whatever_host_says() -> None:
    """Where the protocol of a Service's port is detected, its address decides; elsewhere on the port Host does."""
    table = _outbound(Intent(services=(_service("a.b.svc.cluster.local", VIP, protocol="auto"), SHOPS[1])))
    detected = Route("default", "outbound|80||a.b.svc.cluster.local")
    assert (detected, detected) == (table.route((VIP, 80), b"example.org"), table.route((VIP, 80), b"cart.other"))
    assert (CART, detected) == (table.route((FAR, 80), b"cart.other").cluster, table.route((FAR, 80), b"a.b"))


def test_detected_port_alone_is_not_looked_at_elsewhere() -> None:
    """A port number on which no Service is known to speak HTTP concerns its Services' addresses only."""
    table = _outbound(Intent(services=(_service("a.b.svc.cluster.local", VIP, protocol="auto"),)))
    assert ConnectionPlan("tcp", "PassthroughCluster") == table.plan((FAR, 80))


def test_headless_service_is_known_by_its_endpoints() -> None:
    """A Service without an address of its own is dialled by its endpoints' addresses and ports."""
    table = _outbound(Intent(services=(_service("db.b.svc.cluster.local", port=8080, protocol="tcp"),)))
    assert ConnectionPlan("tcp", "outbound|8080||db.b.svc.cluster.local") == table.plan(("10.8.0.2", 8080))


def test_http2_goes_by_its_destination() -> None:
    """A connection of HTTP/2 goes to the Service whose address was dialled, on a port of any kind, else as bytes do."""
    services = (
        *SHOPS,
        _service("web.default.svc.cluster.local"),
        _service("a.b.svc.cluster.local", "10.96.0.9", protocol="auto"),
    )
    open_, closed = (
        _outbound(Intent(services=services, outbound_policy=policy)) for policy in ("ALLOW_ANY", "REGISTRY_ONLY")
    )
    for address, cluster in (
        ((VIP, 80), SHOP),
        (("fd00:10:96::7", 80), SHOP),
        (("10.8.0.2", 8080), "outbound|80||web.default.svc.cluster.local"),
        (("10.96.0.9", 80), "outbound|80||a.b.svc.cluster.local"),
    ):
        assert (cluster, cluster) == (open_.http2(address), closed.http2(address))
    for address in ((FAR, 80), (VIP, 81), (FAR, 443)):
        assert ("PassthroughCluster", None) == (open_.http2(address), closed.http2(address))


def test_inbound_is_by_port() -> None:
    """An inbound connection goes by its port, else to the cluster for the rest."""
    table = Inbound(Intent(protocol="tcp", inbound=(InboundPort(port=80, protocol="http"),)), str)
    assert ConnectionPlan("http", "inbound|80||") == table.plan(("10.8.0.1", 80))
    assert Route("default", "inbound|80||") == table.route(("10.8.0.1", 80), b"whatever")
    assert ConnectionPlan("tcp", "InboundPassthroughCluster") == table.plan(("10.8.0.1", 81))


@pytest.mark.parametrize(
    ("data", "http"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"GET / HTTP/1.0\r\nHost: a", True),
        (b"PROPFIND /x HTTP/1.1\n", True),
        (b"\r\nGET / HTTP/1.1\r\n", True),
        (b"GET /" + b"x" * 20_000, True),
        (b"GET http://a/ HT", True),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", True),
        (b"PRI * HTTP/2.0\r\n", True),
        (b"PRI * HTTP/2.1\r\n", True),
        (b"GET / HTTP/2.0\r\n", True),
        (b"get / HTTP/1.1\n", True),
        (b"GET\t/  HTTP/1.1 \r\n", True),
        (b"CONNECT a:1 HTTP/1.1\r\n", True),
        # What a server that is kinder than HTTP might take for a request is not let through as bytes.
        (b"GET /\x80 HTTP/1.1\r\n", True),
        (b"GET /\x01 HTTP/1.1\r\n", True),
        (b"F_O / HTTP/1.1\r\n", True),
        (b"get a HTTP/1.1\x00\r\n", True),
        (b"GET\x0b/ HTTP/1.1\r\n", True),
        (b" \tGET / HTTP/1.1\r\n", True),
        (b"GET /\r\n", True),
        (b"get /" + b"x" * 9000, True),
        (b"EHLO a HTTP/1.1\r\n", True),
        # Other protocols' requests.
        (b"OPTIONS * RTSP/1.0\r\n", False),
        (b"OPTIONS sip:a@b SIP/2.0\r\n", False),
        (b"OPTIONS icap://a/b ICAP/1.0\r\n", False),
        (b"get /key\r\n", False),
        (b'{"log": "GET / HTTP/1.1"}\n', False),
        (b'10.0.0.1 - - [x] "GET / HTTP/1.1" 200 3\n', False),
        (b'{"json": 1', False),
        (b"AMQP\x00\x00\x09\x01", False),
        (b"\x16\x03\x01\x02\x00\x01", False),
        (b"EHLO client\r\n", False),
        (b"*1\r\n$4\r\nPING\r\n", False),
        (b"GET key\r\n", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"\x00", False),
        (b"A" * 30, None),
        (b"FOO " + b"x" * 9000, False),
        (b"", None),
        (b"G", None),
        (b"\r\n", None),
        (b"EHLO", None),
        (b"PRI * HTTP", None),
        (b"FOO /x", None),
    ],
)
def test_first_bytes_tell_http(data: bytes, http: bool | None) -> None:
    """HTTP is known by its first line, HTTP/1.x also by a known method and the beginning of a target."""
    assert http is speaks_http(data)


@settings(deadline=None, max_examples=300)
@given(data=st.binary(max_size=60) | st.from_regex(rb"[A-Z]{1,26} /\w* HTTP/[12]\.[01]\r\n", fullmatch=True))
def test_more_bytes_never_change_a_decision(data: bytes) -> None:
    """What the first bytes decide, more bytes do not overturn, unless they show that it was no request line."""
    decided = None
    for end in range(len(data) + 1):
        found = speaks_http(data[:end])
        assert not (decided is False and found is not False)
        decided = found


@pytest.mark.parametrize(
    ("data", "http"),
    [(b"", False), (b"G", True), (b"GET", True), (b"GET / HTTP/1.1", True), (b"PRI *", False), (b"hello", False)],
)
def test_slow_request_is_one(data: bytes, http: bool) -> None:
    """A client that has begun a request when the time of detection is over is not taken for another protocol's."""
    assert http is begins_http(data)


class _Host:
    def __init__(self, active: int) -> None:
        self.active = active


@settings(deadline=None, max_examples=200)
@given(active=st.lists(st.integers(0, 5), max_size=5), tried=st.sets(st.integers(0, 4)), seed=st.integers(0, 9))
def test_the_busiest_host_is_never_chosen(active: list[int], tried: set[int], seed: int) -> None:
    """A host that is busier than all others gets nothing, one that was tried only if all were; none gives none."""
    hosts = [_Host(count) for count in active]
    before = {hosts[index] for index in tried if index < len(hosts)}
    chosen = least_request(hosts, before, random.Random(seed))
    assert (chosen is None) == (not hosts)
    if chosen is None:
        return
    left = [host for host in hosts if host not in before] or hosts
    assert chosen in left
    if len(left) > 1:
        assert chosen.active < max(host.active for host in left) or len({host.active for host in left}) < len(left)
