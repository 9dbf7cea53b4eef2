"""A TCP connection that is being made, from an address of the caller's choice. Knows sockets, nothing of clusters."""

import errno
import os
import socket

from sidelab.sidecar.proxy.io.destination import Destination
from sidelab.sidecar.proxy.io.transparent import MARK, make_transparent

IP_BIND_ADDRESS_NO_PORT = 24
"""linux/in.h; Python's socket module does not name it. The port is then chosen at connect, per destination."""


def dial(destination: Destination, source: str | None, *, transparent: bool) -> tuple[socket.socket, bool]:
    """Return a non-blocking socket and whether it is connected, else it is about to be; raises `OSError`.

    `source` is the address to come from, None the kernel's choice; `transparent`: it is another machine's.
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
        # Not `connect`: that it is not finished yet is no exception worth its price.
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
    """Whether the handshake ended within the call to connect, as it does between namespaces of one machine.

    To ask costs less than to wait for the loop to tell.
    """
    try:
        connection.getpeername()
    except OSError:
        return False
    return True
