"""The nginx stand-in on loopback, for tests of its clients."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sidelab.lab.standins import nginx


@contextmanager
def standin() -> Iterator[tuple[str, int]]:
    """Serve for the block; yields host and port."""
    listening = nginx.listen(socket.AF_INET, "127.0.0.1", 0)
    host, port = listening.getsockname()
    server = nginx.NginxServer([listening], "nginx")
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield host, port
    finally:
        server.stop()
        thread.join(10)
