"""Which Service a Host field means: by the bundled proxy's tables, and by Envoy with the project's configuration.

Envoy itself answers each request with the name of the cluster that its route leads to, so no origin is needed.
"""

import http.client
import json
import random
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sides import free_ports, wait_until_ready
from tools import PATIENCE_S

from sidelab.lab.base import syscalls
from sidelab.lab.errors import MachineError
from sidelab.sidecar.config.intent import Intent, IntentEndpoint, IntentService, IntentServicePort, Ports, Workload
from sidelab.sidecar.envoy import bootstrap, command, find_envoy
from sidelab.sidecar.envoy.configuration.outbound import service_listeners
from sidelab.sidecar.proxy.http.message import Limits, parse_request
from sidelab.sidecar.proxy.http.message_body import BadMessageError
from sidelab.sidecar.proxy.routing.routes import Outbound

_SERVED = (IntentServicePort(port=80, protocol="http", endpoints=(IntentEndpoint(address="10.244.0.9", port=80),)),)
SERVICES = tuple(
    IntentService(host=f"{name}.svc.cluster.local", addresses=addresses, ports=_SERVED)
    for name, addresses in (
        ("vip.default", ("10.96.0.5", "fd00:10:96::5")),
        ("web.default", ()),
        ("vip.other", ("10.96.0.6",)),
        ("web.other", ()),
        ("web-0.web", ("10.96.0.7",)),  # in a namespace with the name of a headless Service
        ("default.web", ()),
        ("Mixed.Case", ("10.96.0.8",)),
        ("svc.svc", ()),
    )
)
POLICIES = ("ALLOW_ANY", "REGISTRY_ONLY")
_FAR = ("192.0.2.1", 80)
_CANNED = rb"""
- . .. * *.web *.web.default.svc.cluster.local :80 [::1] [::1]:80 ::1 [fd00:10:96::5] [fd00:10:96::5]:80
[FD00:10:96::5]:80 fd00:10:96::5 [fd00:10:96:0::5] [fd00:10:96::5 10.96.0.5 10.96.0.5:80 10.96.0.5. 10.96.0.05
10.96.0.9 vip: vip:x vip:80:80 vip::80 vip:0 vip:99999 u@vip u:p@vip:80 vip/x vip,web vip.. vip.default.. vip%2e
http://vip web-0.web:80 xweb x.xweb .web ..web a..web web-0.web.web web.default.web xn--bcher-kva.web a_b.web
1.2.3.web example.org EXAMPLE.ORG. localhost kubernetes.default svc svc.svc a.svc a.svc.svc cluster.local
vip.default.svc.cluster web.default.svc.cluster.local..
""".split()
_WITH_BLANKS = (b"", b"vip: 80")


def hosts() -> list[bytes]:
    """Return Host fields: every name of every Service in several spellings, and lookalikes."""
    found = [*_CANNED, *_WITH_BLANKS]
    rng = random.Random(7)
    for service in SERVICES:
        words = service.host.split(".")
        for count in range(1, len(words) + 1):
            name = ".".join(words[:count])
            spellings = [
                f"{pod}{name}{dot}{port}"
                for pod in ("", "web-0.", "a.b.")
                for dot in ("", ".")
                for port in ("", ":80", ":8080")
            ]
            found += [rng.choice((str, str.upper, str.title))(each).encode() for each in spellings]
    return list(dict.fromkeys(found))


def bundled(policy: Any, host: bytes) -> int | str:
    """Return the cluster that a request to `host` goes to, or the status of the answer."""
    try:
        head = parse_request(b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n\r\n", Limits(61440, 100))
    except BadMessageError as error:
        return error.status
    assert head is not None
    route = Outbound(_intent(policy), str).route(_FAR, head.host)
    return route.cluster or 502


class Envoy:
    """A running Envoy, with a port for each policy."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._ports = ports

    def ask(self, policy: str, host: bytes) -> int | str:
        """See `bundled`."""
        with socket.create_connection(("127.0.0.1", self._ports[policy]), timeout=PATIENCE_S) as link:
            link.sendall(b"GET / HTTP/1.1\r\nhost: " + host + b"\r\n\r\n")
            # Do not read to the end of the connection: Envoy keeps it open for a second after its last answer.
            answer = http.client.HTTPResponse(link)
            answer.begin()
            body = answer.read().decode()
        return body if answer.status == 200 else answer.status


@contextmanager
def envoy(folder: Path) -> Iterator[Envoy]:
    """Run Envoy; without one the test is skipped."""
    try:
        binary = find_envoy()
    except MachineError as error:
        pytest.skip(str(error))
    names = Ports().__struct_fields__
    *own, allowing, closed = free_ports(len(names) + 2)
    ports = dict(zip(POLICIES, (allowing, closed), strict=True))
    base = Intent(ports=Ports(**dict(zip(names, own, strict=True))), ipv6=False)
    config = bootstrap(base, ipv6=False)
    config["static_resources"]["listeners"] += [_answering(policy, port) for policy, port in ports.items()]
    (folder / "envoy.json").write_text(json.dumps(config))
    with (folder / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            command(base, str(folder / "envoy.json"), envoy=str(binary)),
            stdout=log,
            stderr=log,
            preexec_fn=lambda: syscalls.set_parent_death_signal(signal.SIGKILL),  # noqa: PLW1509  # takes no lock
        )
        try:
            wait_until_ready(process, base.ports.admin, folder / "envoy.log")
            yield Envoy(ports)
        finally:
            process.terminate()
            process.wait(timeout=30)


def _intent(policy: Any) -> Intent:
    return Intent(services=SERVICES, workload=Workload(namespace="default"), outbound_policy=policy, protocol="http")


def _answering(policy: str, port: int) -> dict[str, Any]:
    """Return the listener of the Services' port, moved to `port` of loopback, that answers with a cluster's name."""
    (listener,) = service_listeners(_intent(policy), ipv6=False)
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    for host in manager["route_config"]["virtual_hosts"]:
        for route in host["routes"]:
            if "route" in route:
                name = route.pop("route")["cluster"]
                route["direct_response"] = {"status": 200, "body": {"inline_string": name}}
    return {**listener, "name": policy, "address": address, "bind_to_port": True}
