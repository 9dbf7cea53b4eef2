"""TPROXY from one end to the other: a client in a namespace of its own, a proxy and an application in the pod's."""

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from netns_helper import CLONE_NEWNET, in_namespace, raise_link
from rules_held import require

from sidelab.lab.base import syscalls
from sidelab.sidecar.config.intent import Intent, Protocol
from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.apply import ways
from sidelab.sidecar.interception.options.options import WAYS, Way
from sidelab.sidecar.proxy.main import run

pytestmark = pytest.mark.kernel

IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75
POD = {4: "10.9.0.1", 6: "fd00:9::1"}
CLIENT = {4: "10.9.0.77", 6: "fd00:9::77"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PROXY_GID = 1337
IFA_F_NODAD = 2


def addressed(name: str, addresses: dict[int, str]) -> None:
    """Give a link its addresses and raise it."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - heavy, and only the child needs it

    with IPRoute() as route:
        (index,) = route.link_lookup(ifname=name)
        route.addr("add", index=index, address=addresses[4], prefixlen=24)
        family = socket.AF_INET6
        route.addr("add", index=index, address=addresses[6], prefixlen=64, family=family, flags=IFA_F_NODAD)
        route.link("set", index=index, state="up")


def client(version: int, port: int, says: bytes = b"") -> tuple[int, int]:
    """Fork a client in a namespace of its own; return its pid and a socket to it.

    Told that it is linked, it connects to the pod, may say something, and tells what it heard there and its own port.
    """
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            ours.close()
            syscalls.unshare(CLONE_NEWNET)
            theirs.send(b"?")
            theirs.recv(1)
            addressed("eth1", CLIENT)
            raise_link("lo")
            with socket.create_connection((POD[version], port), timeout=5) as link:
                link.send(says)
                heard = link.recv(1000)
                theirs.send(heard + f" {link.getsockname()[1]}".encode())
        os._exit(0)
    theirs.close()
    ours.recv(1)
    return pid, ours.detach()


def link_to(pid: int) -> None:
    """Join this namespace, as the pod's, with that of the client."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - as above

    with IPRoute() as route:
        route.link("add", ifname="eth0", kind="veth", peer="eth1")
        route.link("set", index=route.link_lookup(ifname="eth1")[0], net_ns_pid=pid)
    addressed("eth0", POD)


@contextlib.contextmanager
def as_proxy() -> Iterator[None]:
    """Create sockets as the proxy does in this mode: root, so that it may be transparent, with the proxy's group."""
    os.setegid(PROXY_GID)
    try:
        yield
    finally:
        os.setegid(0)


def transparent(version: int) -> socket.socket:
    """Return a TCP socket that may have addresses which are not this machine's."""
    sock = socket.socket(FAMILIES[version])
    sock.settimeout(5)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if version == 4:
        sock.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    return sock


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("way", WAYS)
def test_the_proxy_gets_both_addresses_and_the_application_the_clients(way: Way, version: int) -> None:
    """The proxy's listener on 15006 accepts with original destination and client, and may call on as the client."""
    require(way)
    ruleset = build(Options.from_args("-m TPROXY -b * -d 15020 -i * --enable-ipv6".split()))

    def work() -> tuple[object, ...]:
        pid, answer = client(version, 8080)
        link_to(pid)
        ways.apply(ruleset, way)
        with as_proxy():
            proxy = transparent(version)
        application = socket.create_server(("", 8080), family=FAMILIES[version])
        application.settimeout(5)
        with proxy, application, socket.socket(fileno=answer) as told:
            proxy.bind(("", 15006))
            proxy.listen()
            told.send(b"!")
            inward, peer = proxy.accept()
            with inward, as_proxy(), transparent(version) as onward:
                original = inward.getsockname()[:2]
                onward.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, 1337)
                onward.bind((CLIENT[version], 0))
                onward.connect(original)
                served, seen = application.accept()
                with served:
                    served.send(b"hello")
                    inward.send(onward.recv(100))
                heard, _, port = told.recv(100).decode().partition(" ")
        os.waitpid(pid, 0)
        return original, peer[:2] == (CLIENT[version], int(port)), seen[0] == CLIENT[version], heard

    assert ((POD[version], 8080), True, True, "hello") == in_namespace(work)


def bundled(path: Path) -> int:
    """Fork the bundled proxy, as root with the proxy's group, and return its pid once it listens."""
    pid = os.fork()
    if pid == 0:
        with contextlib.suppress(BaseException):
            os.setgid(PROXY_GID)
            run(["sidelab-proxy", "--intent", str(path)])
        os._exit(1)
    health = Intent().ports.health
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", health)) == 0:
                return pid
        assert (0, 0) == os.waitpid(pid, os.WNOHANG)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", ["tcp", "http", "auto"])
def test_the_bundled_proxy_calls_the_application_as_its_client(
    protocol: Protocol, version: int, tmp_path: Path
) -> None:
    """With TPROXY the application sees the client's address, whatever the protocol, and its answer comes back."""
    ruleset = build(Options.from_args("-m TPROXY -b * -d 15020 -i * --enable-ipv6".split()))
    path = tmp_path / "intent.json"
    path.write_text(Intent(protocol=protocol, mode="tproxy").to_json())
    request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    def work() -> tuple[object, ...]:
        pid, answer = client(version, 8080, request)
        link_to(pid)
        ways.apply(ruleset, "nft")
        proxy = bundled(path)
        application = socket.create_server(("", 8080), family=FAMILIES[version])
        application.settimeout(5)
        with application, socket.socket(fileno=answer) as told:
            told.send(b"!")
            served, seen = application.accept()
            with served:
                asked = served.recv(1000)
                served.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                heard, _, _ = told.recv(1000).rpartition(b" ")
        os.waitpid(pid, 0)
        os.kill(proxy, signal.SIGKILL)
        os.waitpid(proxy, 0)
        return seen[0], asked[:14], heard[:15], heard[-5:]

    assert (CLIENT[version], b"GET / HTTP/1.1", b"HTTP/1.1 200 OK", b"hello") == in_namespace(work)
