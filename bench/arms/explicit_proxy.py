"""The bundled proxy addressed directly: no rules, no conntrack, a client that dials the proxy's own port.

It is the sidecar's proxy with one difference: it is given a connection's destination instead of asking the kernel,
because a connection that no rule redirected has no original destination. So its cost is the extra hop alone.
"""

import gc
import signal
import socket

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Container, Pod, SecurityContext
from sidelab.lab.plan.registry import Context, Program, Registry, Standin
from sidelab.sidecar.config.intent import InboundPort, Intent
from sidelab.sidecar.inject import PROXY_NAME, PROXY_UID
from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.sockets import ListeningSockets
from sidelab.sidecar.proxy.proxy import Proxy

IMAGE = "sidelab/explicit-proxy"


def container(port: int, protocol: str) -> Container:
    """Return the container that forwards connections to its inbound port to `port` of the same pod."""
    return Container(
        name=PROXY_NAME,
        image=IMAGE,
        args=(str(port), protocol),
        security_context=SecurityContext(run_as_user=PROXY_UID, run_as_group=PROXY_UID),
    )


def main(context: Context) -> None:
    """Serve until SIGTERM; `context.args` are the application's port and its protocol: tcp or http."""
    text, protocol = context.args
    port = int(text)
    if protocol not in ("tcp", "http"):
        raise InputError(f"explicit proxy: {protocol!r}: give tcp or http")
    wanted = InboundPort(port=port, protocol="http" if protocol == "http" else "tcp")
    # Of the addresses that come with rules, the pod has 127.0.0.6 anyway, but not ::6.
    intent = Intent(inbound=(wanted,), protocol=wanted.protocol, inbound_bind_ipv6="::1")

    def destination(connection: socket.socket) -> Destination:
        # The dialled address is the pod's own, as it is for a redirected connection.
        return connection.getsockname()[0], port

    sockets = ListeningSockets.open(intent)
    loop = ProxyLoop()
    proxy = Proxy(loop, intent, sockets, destination)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: loop.call_threadsafe(proxy.drain))
    # As in `sidecar.proxy.main`: the objects that exist now are kept out of garbage collection.
    gc.collect()
    gc.freeze()
    context.ready()
    loop.run()
    proxy.close()


def _program(_pod: Pod, container: Container) -> Program:
    return Standin(
        "sidelab.bench.arms.explicit_proxy:main", args=container.args, preload=("sidelab.bench.arms.explicit_proxy",)
    )


IMAGES = Registry(((IMAGE, _program),))
