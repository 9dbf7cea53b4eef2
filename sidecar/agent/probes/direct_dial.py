"""Connections to the application that bypass the proxy: from 127.0.0.6 or ::6, which the rules leave alone.

Blocking, with one deadline for everything on a connection. Sources: istio/istio
pilot/cmd/pilot-agent/status/server.go (`ProbeDialer`); rule 9 of ISTIO_OUTPUT in docs/rules.md.
"""

import socket
import struct
from typing import TYPE_CHECKING, Self

from sidelab.lab.net.ask import limit

if TYPE_CHECKING:
    import ssl

SOURCES = {socket.AF_INET: "127.0.0.6", socket.AF_INET6: "::6"}

_LINGER_1_S = struct.pack("ii", 1, 1)
_IP_BIND_ADDRESS_NO_PORT = 24  # otherwise every probe would need its own port, whatever its destination
_READ_BYTES = 16 * 1024


class Line:
    """One connection to `host` (numeric, or `localhost`) and `port`; a context manager.

    Every method raises `OSError`; it is `TimeoutError` once time.monotonic() has passed `deadline_s`.
    """

    def __init__(self, host: str, port: int, deadline_s: float, *, tls: bool = False) -> None:
        self._deadline_s = deadline_s
        host = "127.0.0.1" if host == "localhost" else host
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket: socket.socket | ssl.SSLSocket = socket.socket(family, socket.SOCK_STREAM)
        try:
            self._socket.setsockopt(socket.SOL_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_1_S)
            self._socket.bind((SOURCES[family], 0))
            limit(self._socket, deadline_s)
            self._socket.connect((host, port))
            if tls:
                self._socket = _secured(self._socket, host)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        limit(self._socket, self._deadline_s)
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """Return the bytes that have arrived, b"" at the end."""
        limit(self._socket, self._deadline_s)
        return self._socket.recv(_READ_BYTES)


def _secured(connection: socket.socket, host: str) -> "ssl.SSLSocket":
    """Do the TLS handshake without verifying the certificate, like the kubelet."""
    import ssl  # noqa: PLC0415  # it is there already where a probe may lead to it: see `sidecar.istio_images`

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection, server_hostname=None if host[0].isdigit() or ":" in host else host)
