"""A sidecar with Envoy in its own network namespace: Istio's rules, an application, and a client outside.

It uses no lab: Envoy is started by the same program as in a pod. For use inside `netns_helper.in_namespace`.
"""

import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from netns_helper import CLONE_NEWNET, IFA_F_NODAD, raise_link
from tools import PATIENCE_S

from sidelab.lab.base import syscalls
from sidelab.lab.plan.machine_view import plan
from sidelab.lab.runtime.forkserver import end_with
from sidelab.lab.runtime.mounts import reveal
from sidelab.lab.sandbox.overlay import DetachedMounts
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.envoy import find_envoy
from sidelab.sidecar.envoy.main import run
from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.apply import ways

POD, CLIENT = "10.9.0.1", "10.9.0.77"
POD6, CLIENT6 = "fd00:9::1", "fd00:9::77"
ARGUMENTS = "-p 15001 -z 15006 -u 1337 -i * -b * -d 15090,15021,15020"
_ID = 1337


class Sidecar:
    """A running sidecar; `log` is its output."""

    def __init__(self, folder: Path, outside: int, inside: int) -> None:
        self.folder = folder
        self._outside, self._inside = outside, inside
        self.pid = 0

    def start(self, intent: Intent, uid: int = _ID) -> None:
        """Start Envoy for `intent` and wait until it is ready."""
        self.write(intent)
        envoy = find_envoy()
        self.pid = _forked(lambda: self._become(uid, envoy))
        self.until(lambda: self.ready() == 200, "Envoy is ready")

    def write(self, intent: Intent) -> None:
        """Write the intent's file as the agent does."""
        new = self.folder / "new"
        new.write_text(intent.to_json())
        new.chmod(0o644)
        new.replace(self.folder / "intent.json")

    def update(self, intent: Intent) -> None:
        """Give it another intent."""
        self.write(intent)
        os.kill(self.pid, signal.SIGHUP)

    def ready(self) -> int:
        """Return the status of the readiness page, 0 if there is no answer."""
        with contextlib.suppress(OSError):
            return int(get(("127.0.0.1", 15021), "any", path="/healthz/ready")[0])
        return 0

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        """Return the first true value of `condition`; fail with the log if it takes too long."""
        end_s = time.monotonic() + PATIENCE_S
        while not (value := condition()):
            assert time.monotonic() < end_s, f"not in time: {what}\n{self.log()}"
            time.sleep(0.01)
        return value

    def log(self) -> str:
        """Return its output and errors."""
        return (self.folder / "log").read_text()

    def wait(self) -> int:
        """Return its exit status once it has ended."""
        pid, self.pid = self.pid, 0
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Create sockets in the client's namespace during the block."""
        syscalls.setns(self._outside, CLONE_NEWNET)
        try:
            yield
        finally:
            syscalls.setns(self._inside, CLONE_NEWNET)

    def _become(self, uid: int, envoy: Path) -> None:
        _show(envoy, self.folder)
        # A file that belongs to root, like a container's log.
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for target in (1, 2):
            os.dup2(log, target)
        syscalls.mount(str(self.folder), "/mnt", "", syscalls.MS_BIND)  # pytest's directories are closed to others
        os.chdir("/mnt")
        os.setgroups([])
        os.setresgid(_ID, _ID, _ID)
        os.setresuid(uid, uid, uid)
        run(("sidelab-envoy", "--envoy", str(envoy), "--intent", "intent.json"))


@contextlib.contextmanager
def pod(folder: Path, arguments: str = ARGUMENTS) -> Iterator[Sidecar]:
    """Make this network namespace a pod with Istio's rules, and another for a client; finally end the sidecar."""
    work = folder / "run"
    work.mkdir()
    os.chown(work, _ID, _ID)
    inside = os.open("/proc/self/ns/net", os.O_RDONLY)
    syscalls.unshare(CLONE_NEWNET)
    outside = os.open("/proc/self/ns/net", os.O_RDONLY)
    raise_link("lo")
    syscalls.setns(inside, CLONE_NEWNET)
    _join(outside)
    sidecar = Sidecar(work, outside, inside)
    with sidecar.outside():
        _address("eth1", CLIENT, CLIENT6)
    _address("eth0", POD, POD6, gateway=CLIENT)
    options = Options.from_args(arguments.split())
    ways.apply(build(options), "nft", options)
    try:
        yield sidecar
    finally:
        if sidecar.pid:
            os.kill(sidecar.pid, signal.SIGKILL)
            sidecar.wait()
        os.close(inside)
        os.close(outside)


@contextlib.contextmanager
def serving(port: int, name: str, host: str = "0.0.0.0") -> Iterator[None]:
    """Answer HTTP on `port` with `name`, the peer's address, and the Host field's value."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = f"{name} {self.client_address[0]} {self.headers['Host']}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = True

    with Server((host, port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield
        server.shutdown()


@contextlib.contextmanager
def greeting(port: int) -> Iterator[None]:
    """Serve a protocol whose server speaks first."""
    with socket.create_server(("", port)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError), listening.accept()[0] as link:
                link.sendall(b"220 welcome")
                link.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        yield


def connection(address: tuple[str, int]) -> http.client.HTTPConnection:
    """Return an HTTP connection that is already open, in the current namespace."""
    link = http.client.HTTPConnection(*address, timeout=5)
    link.connect()
    return link


def ask(link: http.client.HTTPConnection, host: str, path: str = "/") -> tuple[int, str, dict[str, str]]:
    """Send a request over an open connection; return status, body and fields of the response."""
    link.request("GET", path, headers={"Host": host})
    response = link.getresponse()
    return response.status, response.read().decode(), {name.lower(): value for name, value in response.getheaders()}


def get(address: tuple[str, int], host: str, path: str = "/") -> tuple[int, str, dict[str, str]]:
    """Send a request over a new connection; see `ask`."""
    with contextlib.closing(connection(address)) as link:
        return ask(link, host, path)


def _show(program: Path, folder: Path) -> None:
    """Let every user reach `program`, in a mount namespace of this process's own, as a lab does in a pod's."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    (folder / "empty").mkdir(exist_ok=True)
    view, shown = plan([program], own=()), DetachedMounts()
    shown.open([path for each in view.covers for path in each.shown], folder / "empty")
    reveal(shown, view.covers)


def _forked(call: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        end_with(call)
    return pid


def _join(outside: int) -> None:
    from pyroute2 import IPRoute  # noqa: PLC0415 - heavy, and only the child needs it

    with IPRoute() as route:
        route.link("add", ifname="eth0", kind="veth", peer={"ifname": "eth1", "net_ns_fd": outside})


def _address(name: str, ipv4: str, ipv6: str, gateway: str = "") -> None:
    from pyroute2 import IPRoute  # noqa: PLC0415 - as above

    with IPRoute() as route:
        (index,) = route.link_lookup(ifname=name)
        route.addr("add", index=index, address=ipv4, prefixlen=24)
        route.addr("add", index=index, address=ipv6, prefixlen=64, family=socket.AF_INET6, flags=IFA_F_NODAD)
        route.link("set", index=index, state="up")
        if gateway:
            route.route("add", gateway=gateway)
