"""Where a captured connection was going before the rules sent it here.

Knows sockets and netfilter's socket option, nothing about protocols.
"""

import errno
import ipaddress
import socket
import struct
from collections.abc import Callable

SO_ORIGINAL_DST = 80
"""For SOL_IP and, as IP6T_SO_ORIGINAL_DST, SOL_IPV6: linux/netfilter_ipv4.h and netfilter_ipv6/ip6_tables.h."""

_SOCKADDR_IN = struct.Struct("!2xH4s8x")
_SOCKADDR_IN6 = struct.Struct("!2xH4x16s4x")
_NOT_TRANSLATED = {errno.ENOENT, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
"""No conntrack entry, or no conntrack at all in this kernel."""

Destination = tuple[str, int]
"""An address as text (its form tells the family) and a port."""

FindDestination = Callable[[socket.socket], Destination]


def original_destination(connection: socket.socket) -> Destination:
    """Return the address and port that the client dialled.

    If no rule redirected the connection, that is its local address. This covers direct dials of the proxy's port as
    well as TPROXY, which leaves the destination in place.
    """
    try:
        # The base class returns the family as a number; `socket` would make an enum of it on every access.
        if super(socket.socket, connection).family == socket.AF_INET:
            port, packed = _SOCKADDR_IN.unpack(connection.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, _SOCKADDR_IN.size))
            return socket.inet_ntoa(packed), port
        raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, _SOCKADDR_IN6.size)
        port, packed = _SOCKADDR_IN6.unpack(raw)
        return str(ipaddress.IPv6Address(packed)), port
    except OSError as error:
        if error.errno not in _NOT_TRANSLATED:
            raise
    address = connection.getsockname()
    return address[0], address[1]


def address_text(address: Destination) -> str:
    """Return `address` as Envoy writes it; "" if it is empty."""
    host, port = address[:2]
    if not host:
        return ""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
