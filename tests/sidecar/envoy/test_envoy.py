import json
import subprocess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools import envoy

from sidelab.sidecar.config.intent import (
    InboundPort,
    Intent,
    IntentEndpoint,
    IntentService,
    IntentServicePort,
    Protocol,
    Workload,
)
from sidelab.sidecar.envoy import bootstrap, command

Config = dict[str, Any]
ENDPOINT = IntentEndpoint(address="10.244.0.9", port=80, pod="web")


def listeners(intent: Intent, *, ipv6: bool = True) -> dict[str, Config]:
    """Return the listeners by name."""
    found = bootstrap(intent, ipv6=ipv6)["static_resources"]["listeners"]
    assert len({each["name"] for each in found}) == len(found)
    return {each["name"]: each for each in found}


def clusters(intent: Intent, *, ipv6: bool = True) -> dict[str, Config]:
    """Return the clusters by name."""
    found = bootstrap(intent, ipv6=ipv6)["static_resources"]["clusters"]
    assert len({each["name"] for each in found}) == len(found)
    return {each["name"]: each for each in found}


def chains(listener: Config) -> list[tuple[str, Config, str]]:
    """Return name, match and what is behind each filter chain: a cluster, or the routes of a connection manager."""
    found = []
    for chain in listener["filter_chains"]:
        (only,) = chain["filters"]
        config = only["typed_config"]
        target = config["cluster"] if "cluster" in config else config["route_config"]["name"]
        found.append((chain["name"], chain.get("filter_chain_match", {}), target))
    return found


def routes(listener: Config) -> dict[str, Config]:
    """Return the virtual hosts of the listener's first connection manager by name."""
    configs = [chain["filters"][0]["typed_config"] for chain in listener["filter_chains"]]
    table = next(each["route_config"] for each in configs if "route_config" in each)
    return {host["name"]: host for host in table["virtual_hosts"]}


def filters(listener: Config) -> list[str]:
    """Return the names of the listener filters."""
    return [each["name"].rpartition(".")[2] for each in listener.get("listener_filters", [])]


def web(protocol: Protocol = "auto", **changes: Any) -> IntentService:
    """Return a Service on port 8080."""
    port = IntentServicePort(port=8080, protocol=protocol, endpoints=(ENDPOINT,))
    return IntentService(
        **{"host": "web.shop.svc.cluster.local", "addresses": ("10.96.0.5",), "ports": (port,), **changes}
    )


def validated(intent: Intent, *, ipv6: bool = True) -> tuple[int, str]:
    """Return the status and the complaints of Envoy's own check."""
    argv = [*command(intent, envoy=str(envoy()), ipv6=ipv6), "--mode", "validate"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("protocol", ["auto", "tcp", "http"])
@pytest.mark.parametrize("ipv6", [True, False])
def test_envoy_accepts_it(protocol: Protocol, ipv6: bool) -> None:
    """Envoy itself finds the configuration of each protocol valid, without a warning."""
    assert (0, "") == validated(Intent(protocol=protocol), ipv6=ipv6)


_NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_PORTS = st.integers(1, 65535) | st.sampled_from([80, 8080, 15001, 15006, 15021, 15090])
_PROTOCOLS = st.sampled_from(["auto", "tcp", "http"])
_IPV4, _IPV6 = (st.ip_addresses(v=version).filter(lambda each: not each.is_unspecified).map(str) for version in (4, 6))
_ENDPOINTS = st.builds(IntentEndpoint, address=_IPV4 | _IPV6, port=_PORTS, pod=_NAMES)
_SERVICE_PORTS = st.builds(
    IntentServicePort,
    port=_PORTS,
    name=_NAMES,
    protocol=_PROTOCOLS,
    endpoints=st.lists(_ENDPOINTS, max_size=3).map(tuple),
)
_SERVICES = st.builds(
    IntentService,
    host=st.builds("{}.{}.svc.cluster.local".format, _NAMES, _NAMES | st.just("default")),
    addresses=st.just(()) | st.tuples(_IPV4) | st.tuples(_IPV4, _IPV6),
    ports=st.lists(_SERVICE_PORTS, max_size=3).map(tuple),
)
_INTENTS = st.builds(
    Intent,
    workload=st.builds(Workload, pod=_NAMES, app=_NAMES | st.just("")),
    protocol=_PROTOCOLS,
    mode=st.sampled_from(["redirect", "tproxy"]),
    outbound_policy=st.sampled_from(["ALLOW_ANY", "REGISTRY_ONLY"]),
    services=st.lists(_SERVICES, max_size=4).map(tuple),
    inbound=st.lists(st.builds(InboundPort, port=_PORTS, protocol=_PROTOCOLS), max_size=4).map(tuple),
    access_log=st.sampled_from(["", "text", "json"]),
    metrics=st.booleans(),
)


@given(intent=_INTENTS, ipv6=st.booleans())
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_envoy_accepts_whatever_an_intent_says(intent: Intent, ipv6: bool) -> None:
    """Any valid intent becomes a configuration that Envoy finds valid, without a warning."""
    assert (0, "") == validated(intent, ipv6=ipv6)


@given(intent=_INTENTS, ipv6=st.booleans())
@settings(deadline=None, max_examples=100)
def test_every_cluster_that_is_named_exists(intent: Intent, ipv6: bool) -> None:
    """What listeners and routes refer to is a cluster of the same configuration."""
    text = json.dumps(list(listeners(intent, ipv6=ipv6).values()))
    named = {part.partition('"')[0] for part in text.split('"cluster": "')[1:]}
    assert set() == named - clusters(intent, ipv6=ipv6).keys()


@given(intent=_INTENTS)
@settings(deadline=None, max_examples=100)
def test_no_two_listeners_have_one_address(intent: Intent) -> None:
    """Every address and port is one listener's: Envoy refuses the second."""
    seen = []
    for each in listeners(intent).values():
        addresses = [each["address"], *(more["address"] for more in each.get("additional_addresses", ()))]
        seen += [tuple(address["socket_address"].values()) for address in addresses]
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(("name", "port"), [("virtualOutbound", 15001), ("virtualInbound", 15006)])
def test_direct_dials_end_in_the_black_hole(name: str, port: int) -> None:
    """A connection whose destination is the listener's own port goes to the cluster without endpoints."""
    first = chains(listeners(Intent())[name])[0]
    assert (f"{name}-blackhole", {"destination_port": port}, "BlackHoleCluster") == first


def test_inbound_leg_comes_from_the_address_that_the_rules_let_pass() -> None:
    """Connections to the application are bound to the intent's addresses, those to elsewhere are not."""
    found = clusters(Intent(inbound=(InboundPort(port=80),)))
    for name in ("InboundPassthroughCluster", "inbound|80||"):
        bind = found[name]["upstream_bind_config"]
        assert {"address": "127.0.0.6", "port_value": 0} == bind["source_address"]
        assert [{"address": {"address": "::6", "port_value": 0}}] == bind["extra_source_addresses"]
        assert ("ORIGINAL_DST", "CLUSTER_PROVIDED") == (found[name]["type"], found[name]["lb_policy"])
    assert "upstream_bind_config" not in found["PassthroughCluster"]


def test_outbound_finds_its_listener_by_original_destination() -> None:
    """VirtualOutbound hands on what it accepts, and looks at nothing itself; virtualInbound restores the address."""
    found = listeners(Intent())
    assert (True, []) == (found["virtualOutbound"]["use_original_dst"], filters(found["virtualOutbound"]))
    assert ["original_dst", "tls_inspector", "http_inspector"] == filters(found["virtualInbound"])
    assert 1 == found["virtualInbound"]["max_connections_to_accept_per_socket_event"]


@pytest.mark.parametrize("protocol", ["tcp", "http"])
def test_a_forced_protocol_waits_for_nothing(protocol: Protocol) -> None:
    """Where the intent says what travels, no connection is inspected first, and each port has one chain."""
    inbound = listeners(Intent(protocol=protocol, inbound=(InboundPort(port=80),)))["virtualInbound"]
    assert ["original_dst"] == filters(inbound)
    assert ["virtualInbound-blackhole", "0.0.0.0_80", "virtualInbound"] == [name for name, _, _ in chains(inbound)]


def test_detection_ends_with_the_intents_timeout() -> None:
    """A connection that says nothing goes on when the time is over; ports with a declared protocol never wait."""
    ports = (InboundPort(port=80), InboundPort(port=3306, protocol="tcp"))
    inbound = listeners(Intent(inbound=ports, detection_timeout_s=0.25))["virtualInbound"]
    assert "0.250s" == inbound["listener_filters_timeout"]
    assert inbound["continue_on_listener_filters_timeout"]
    disabled = inbound["listener_filters"][1]["filter_disabled"]["or_match"]["rules"]
    assert [3306, 15006] == [rule["destination_port_range"]["start"] for rule in disabled]


def test_inbound_ports_have_chains_as_istios() -> None:
    """A port whose protocol is open has a chain for HTTP and one for the rest; so has what nobody named."""
    sniffed = {"application_protocols": ["http/1.0", "http/1.1", "h2c"]}
    inbound = listeners(Intent(inbound=(InboundPort(port=80), InboundPort(port=81, protocol="tcp"))))["virtualInbound"]
    assert [
        ("0.0.0.0_80", {"destination_port": 80, **sniffed}, "inbound|80||"),
        ("0.0.0.0_80", {"destination_port": 80}, "inbound|80||"),
        ("0.0.0.0_81", {"destination_port": 81}, "inbound|81||"),
        ("virtualInbound-catchall-http", sniffed, "InboundPassthroughCluster"),
        ("virtualInbound", {}, "InboundPassthroughCluster"),
    ] == chains(inbound)[1:]


def test_tproxy_listens_transparently_and_keeps_the_client() -> None:
    """In TPROXY mode both listeners are transparent, and the inbound one takes over the client's address, marked."""
    found = listeners(Intent(mode="tproxy"))
    assert found["virtualOutbound"]["transparent"]
    assert found["virtualInbound"]["transparent"]
    assert ["original_dst", "original_src"] == filters(found["virtualInbound"])[:2]
    assert 1337 == found["virtualInbound"]["listener_filters"][1]["typed_config"]["mark"]


def test_http_services_share_the_listener_of_their_port() -> None:
    """`http` is told apart by Host, and what is no HTTP there goes where it was going."""
    listener = listeners(Intent(workload=Workload(namespace="shop"), services=(web("http"),)))["0.0.0.0_8080"]
    assert not listener["bind_to_port"]
    assert "PassthroughFilterChain" == listener["default_filter_chain"]["name"]
    hosts = routes(listener)
    names = [
        "web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.",
        "web.shop",
        "web.shop.svc",
        "web",
        "10.96.0.5",
    ]
    assert names == hosts["web.shop.svc.cluster.local:8080"]["domains"]
    route = hosts["web.shop.svc.cluster.local:8080"]["routes"][0]["route"]
    assert ("outbound|8080||web.shop.svc.cluster.local", "0s") == (route["cluster"], route["timeout"])
    assert "PassthroughCluster" == hosts["allow_any"]["routes"][0]["route"]["cluster"]


def test_registry_only_leads_nowhere() -> None:
    """Unknown hosts get a 502, connections to unknown destinations the cluster without endpoints."""
    found = listeners(Intent(services=(web("http"),), outbound_policy="REGISTRY_ONLY"))
    assert 502 == routes(found["0.0.0.0_8080"])["block_all"]["routes"][0]["direct_response"]["status"]
    assert ("virtualOutbound-catchall-tcp", {}, "BlackHoleCluster") == chains(found["virtualOutbound"])[1]


def test_other_services_have_a_listener_of_their_own() -> None:
    """`auto` and `tcp` are known by the Service's address, whatever a Host field says."""
    cluster = "outbound|8080||web.shop.svc.cluster.local"
    auto = listeners(Intent(services=(web(),)))["10.96.0.5_8080"]
    assert [["*"]] == [host["domains"] for host in routes(auto).values()]
    assert ("10.96.0.5_8080", {}, cluster) == chains(auto)[1]
    tcp = listeners(Intent(services=(web("tcp"),)))["10.96.0.5_8080"]
    assert ([("10.96.0.5_8080", {}, cluster)], []) == (chains(tcp), filters(tcp))


def test_a_headless_service_is_known_by_its_endpoints() -> None:
    """Without addresses of its own a Service's connections go on to the endpoint that was dialled."""
    intent = Intent(services=(web(addresses=()),))
    assert "10.244.0.9_8080" in listeners(intent)
    assert "ORIGINAL_DST" == clusters(intent)["outbound|8080||web.shop.svc.cluster.local"]["type"]


def test_clusters_have_istios_limits() -> None:
    """Endpoints are chosen by least requests, and no circuit breaker of Envoy's own cuts in."""
    cluster = clusters(Intent(services=(web(),), connect_timeout_s=3))["outbound|8080||web.shop.svc.cluster.local"]
    assert ("LEAST_REQUEST", "3.000s") == (cluster["lb_policy"], cluster["connect_timeout"])
    (limits,) = cluster["circuit_breakers"]["thresholds"]
    assert {4294967295, True} == set(limits.values())
    assert {"max_connections", "max_pending_requests", "max_requests", "max_retries", "track_remaining"} == set(limits)


def test_without_ipv6_nothing_of_it_is_left() -> None:
    """In a pod without IPv6 neither listeners nor endpoints have such addresses."""
    endpoints = (ENDPOINT, IntentEndpoint(address="fd00::9", port=80))
    port = IntentServicePort(port=8080, endpoints=endpoints)
    intent = Intent(services=(web(addresses=("10.96.0.5", "fd00::5"), ports=(port,)),))
    assert "::" in json.dumps(bootstrap(intent, ipv6=True))
    assert "::" not in json.dumps(bootstrap(intent, ipv6=False))


def test_what_is_ready_is_envoys_own_answer() -> None:
    """The ports for readiness and Prometheus lead to two of the admin pages, and to no other."""
    found = listeners(Intent())
    for name, path, page in (
        ("health", "/healthz/ready", "/ready"),
        ("stats", "/stats/prometheus", "/stats/prometheus"),
    ):
        (route,) = routes(found[name])[name]["routes"]
        assert ({"path": path}, page) == (route["match"], route["route"]["prefix_rewrite"])
        assert "prometheus_stats" == route["route"]["cluster"]


def test_command_runs_one_worker_without_hot_restart() -> None:
    """The command line has the intent's number of workers and shares nothing with other pods."""
    words = command(Intent(), "/etc/envoy.json")
    expected = "envoy --concurrency 1 --disable-hot-restart --log-level warning".split()
    assert (expected, ("-c", "/etc/envoy.json")) == ([*words[:6]], words[-2:])


def test_command_without_a_file_holds_the_configuration() -> None:
    """Without a path the configuration itself is in the command line."""
    *_, flag, config = command(Intent(), ipv6=False)
    assert ("--config-yaml", bootstrap(Intent(), ipv6=False)) == (flag, json.loads(config))
