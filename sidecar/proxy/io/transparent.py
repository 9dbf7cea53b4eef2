"""Sockets with addresses that are not this pod's, for TPROXY; they require CAP_NET_ADMIN or CAP_NET_RAW."""

import socket

IP_TRANSPARENT = 19
"""linux/in.h."""

IPV6_TRANSPARENT = 75
"""linux/in6.h."""

MARK = 1337
"""The rules recognise the proxy's own packets by it, and the routes bring the application's answers back to it."""


def make_transparent(connection: socket.socket) -> None:
    """Let `connection` use any address; raises `OSError`."""
    if connection.family == socket.AF_INET6:
        connection.setsockopt(socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1)
    else:
        connection.setsockopt(socket.SOL_IP, IP_TRANSPARENT, 1)
