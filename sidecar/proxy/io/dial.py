"""Opens TCP connections, from an address that the caller may choose. Knows sockets, nothing about clusters."""

import errno
import os
import socket

from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.transparent import MARK, make_transparent

IP_BIND_ADDRESS_NO_PORT = 24
"""linux/in.h; Python's socket module does not name it. The port is then chosen at connect, per destination."""


def dial(destination: Destination, source: str | None, *, transparent: bool) -> tuple[socket.socket, bool]:
    """Return a non-blocking socket, and whether it is connected already; if not, it is connecting. Raises `OSError`.

    `source` is the source address, None for the kernel's choice; `transparent`: it belongs to another machine.
    """
    family = socket.AF_INET6 if ":" in destination[0] else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source is not None:
            if transparent:
                make_transparent(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
            connection.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            connection.bind((source, 0))
        # Not `connect`: it would raise an exception, which is slow, for the normal case EINPROGRESS.
        number = connection.connect_ex(destination)
    except OSError:
        connection.close()
        raise
    if number == errno.EINPROGRESS:
        return connection, _is_connected(connection)
    if number:
        connection.close()
        raise OSError(number, os.strerror(number))
    return connection, True


def _is_connected(connection: socket.socket) -> bool:
    """Return whether the handshake ended within the call to connect, as it does between namespaces of one machine.

    Checking costs less than waiting for an event of the loop.
    """
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
