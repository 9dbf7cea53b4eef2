"""The two proxies that are compared, each on loopback with the same intent, and a port for each of many lanes.

A lane is a port of the proxy that leads to its own origin, so that what an origin receives belongs to one case. Envoy
runs with the project's own configuration; only what needs the rules of a pod is replaced: the inbound listener has a
port for each lane, and a connection's destination is known beforehand.
"""

import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tools import PATIENCE_S

from sidelab.lab.base import syscalls
from sidelab.lab.errors import MachineError
from sidelab.sidecar.config.intent import InboundPort, Intent, IntentEndpoint, Ports, Protocol
from sidelab.sidecar.envoy import bootstrap, command, find_envoy
from sidelab.sidecar.envoy.configuration.envoy_clusters import assignment
from sidelab.sidecar.proxy.io.listener import listen
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.sockets import ListeningSockets
from sidelab.sidecar.proxy.proxy import Proxy

LANES = 64
_START_S = 20.0
_LOOPBACK = "127.0.0.1"

Address = tuple[str, int]


class Lane:
    """A way through a proxy: `port` of the proxy leads to the listening socket `origin`."""

    def __init__(self, port: int, origin: socket.socket) -> None:
        self.port = port
        self.origin = origin


@contextmanager
def bundled(count: int = LANES, protocol: Protocol = "http", **fields: Any) -> Iterator[list[Lane]]:
    """Run the bundled proxy in a thread, and yield its lanes, which are for `protocol`."""
    with ExitStack() as stack:
        inbound = tuple(_listening() for _ in range(count))
        lanes = [Lane(each.getsockname()[1], stack.enter_context(_listening())) for each in inbound]
        going = {lane.port: lane.origin.getsockname() for lane in lanes}
        own = [(_listening(),) for _ in range(4)]
        intent = _intent({"outbound": own[0][0].getsockname()[1]}, lanes, protocol, fields)
        loop = ProxyLoop()
        stack.callback(loop.close)
        proxy = Proxy(
            loop,
            intent,
            ListeningSockets(own[0], inbound, *own[1:]),
            lambda connection: going[connection.getsockname()[1]],
        )
        thread = threading.Thread(target=loop.run)
        thread.start()
        try:
            yield lanes
        finally:
            loop.call_threadsafe(proxy.quit)
            thread.join(timeout=PATIENCE_S)
            proxy.close()


@contextmanager
def envoy(folder: Path, count: int = LANES, protocol: Protocol = "http", **fields: Any) -> Iterator[list[Lane]]:
    """Run Envoy, and yield its lanes; without one the test is skipped."""
    try:
        binary = find_envoy()
    except MachineError as error:
        pytest.skip(str(error))
    with ExitStack() as stack:
        ports = free_ports(count + len(Ports().__struct_fields__))
        lanes = [Lane(port, stack.enter_context(_listening())) for port in ports[:count]]
        names = dict(zip(Ports().__struct_fields__, ports[count:], strict=True))
        intent = _intent(names, lanes, protocol, fields)
        config = folder / "envoy.json"
        config.write_text(json.dumps(_on_loopback(bootstrap(intent, ipv6=False), lanes)))
        log = stack.enter_context((folder / "envoy.log").open("wb"))
        process = subprocess.Popen(
            command(intent, str(config), envoy=str(binary)),
            stdout=log,
            stderr=log,
            preexec_fn=lambda: syscalls.set_parent_death_signal(signal.SIGKILL),  # noqa: PLW1509  # takes no lock
        )
        try:
            wait_until_ready(process, intent.ports.admin, folder / "envoy.log")
            yield lanes
        finally:
            process.terminate()
            process.wait(timeout=30)


def _intent(ports: dict[str, int], lanes: list[Lane], protocol: Protocol, fields: dict[str, Any]) -> Intent:
    inbound = tuple(InboundPort(port=lane.port, protocol=protocol) for lane in lanes)
    return Intent(protocol=protocol, ports=Ports(**ports), inbound=inbound, ipv6=False, drain_s=0.0, **fields)


def _on_loopback(config: dict[str, Any], lanes: list[Lane]) -> dict[str, Any]:
    """Return the configuration with `lanes` in place of redirected connections."""
    static = config["static_resources"]
    (inbound,) = (each for each in static["listeners"] if each["name"] == "virtualInbound")
    first, *others = [{"socket_address": {"address": _LOOPBACK, "port_value": lane.port}} for lane in lanes]
    inbound["address"] = first
    inbound["additional_addresses"] = [{"address": each} for each in others]
    origins = {f"inbound|{lane.port}||": lane.origin.getsockname() for lane in lanes}
    for cluster in static["clusters"]:
        if cluster["name"] in origins:
            host, port = origins[cluster["name"]]
            cluster |= {
                "type": "STATIC",
                "lb_policy": "ROUND_ROBIN",
                "load_assignment": assignment(cluster["name"], (IntentEndpoint(address=host, port=port),)),
            }
    return config


def wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    """Return once Envoy says at its admin `port` that it serves; fail the test if it ends or takes too long."""
    end_s = time.monotonic() + _START_S
    while True:
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"http://{_LOOPBACK}:{port}/ready") as got,
        ):
            if got.status == 200:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end_s, f"Envoy is not ready in time\n{log.read_text()}"
        os.sched_yield()


def _listening() -> socket.socket:
    return listen(socket.AF_INET, _LOOPBACK, 0)


def free_ports(count: int) -> list[int]:
    """Return ports that are free at this moment, below the kernel's ephemeral ports."""
    first, last = 10_000, int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    begin = first + os.getpid() * count % max(1, last - first - 4 * count)
    found: list[int] = []
    for port in range(begin, 65536):
        with suppress(OSError):
            listen(socket.AF_INET, "0.0.0.0", port).close()
            found.append(port)
            if len(found) == count:
                break
    return found
