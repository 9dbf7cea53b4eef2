"""The listening sockets of a proxy, bound all at once or not at all."""

import socket
from contextlib import ExitStack
from dataclasses import dataclass

from sidelab.lab.errors import InputError, PodError
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.io.listener import listen

_FIXED = ("ports", "ipv6", "mode", "concurrency")
"""Fields of an intent that cannot change while a proxy runs: its listening sockets depend on them."""


def check_fixed(before: Intent, after: Intent) -> None:
    """Raise `InputError` for an intent that needs other sockets than the previous one."""
    for name in _FIXED:
        if getattr(after, name) != getattr(before, name):
            raise InputError(f"intent: {name}: it cannot change while the proxy runs: start the pod anew")


@dataclass(frozen=True)
class ListeningSockets:
    """The listening sockets by purpose; those for IPv6 exist if the pod has it."""

    outbound: tuple[socket.socket, ...]
    inbound: tuple[socket.socket, ...]
    admin: tuple[socket.socket, ...]
    health: tuple[socket.socket, ...]
    stats: tuple[socket.socket, ...]

    @staticmethod
    def open(intent: Intent) -> "ListeningSockets":
        """Bind the ports that `intent` names; raises `PodError` for a port that cannot be bound."""
        ports, transparent = intent.ports, intent.mode == "tproxy"
        with ExitStack() as opened:
            everywhere = _Everywhere(opened, ipv6=intent.ipv6)
            sockets = ListeningSockets(
                outbound=everywhere.listen(ports.outbound, transparent=transparent),
                inbound=everywhere.listen(ports.inbound, transparent=transparent),
                admin=(everywhere.listen_on(socket.AF_INET, "127.0.0.1", ports.admin),),
                health=everywhere.listen(ports.health),
                stats=everywhere.listen(ports.stats),
            )
            opened.pop_all()
        return sockets


class _Everywhere:
    """Listens on all addresses, and registers each socket with `opened`, which closes them if a later step fails."""

    def __init__(self, opened: ExitStack, *, ipv6: bool) -> None:
        self._opened = opened
        self._ipv6 = ipv6

    def listen(self, port: int, *, transparent: bool = False) -> tuple[socket.socket, ...]:
        ipv4 = self.listen_on(socket.AF_INET, "0.0.0.0", port, transparent=transparent)
        if not self._ipv6:
            return (ipv4,)
        try:
            return ipv4, self._opened.enter_context(listen(socket.AF_INET6, "::", port, transparent=transparent))
        except OSError:
            # The pod or the kernel has no IPv6: then nothing can arrive over it either.
            return (ipv4,)

    def listen_on(
        self, family: socket.AddressFamily, host: str, port: int, *, transparent: bool = False
    ) -> socket.socket:
        try:
            return self._opened.enter_context(listen(family, host, port, transparent=transparent))
        except PermissionError as error:
            cure = "give the container NET_ADMIN" if transparent else "take a port from 1024 on"
            raise PodError(f"proxy: {host}:{port}: {error.strerror}: {cure}") from error
        except OSError as error:
            raise PodError(
                f"proxy: {host}:{port}: {error.strerror}: let nothing else in the pod use this port"
            ) from error
