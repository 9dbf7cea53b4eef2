"""The client that never sleeps."""

import socket
import threading

from bench.client import Sockets
from bench.polling import PollingSocket
from lab.programs import nginx


def test_it_gets_the_same_answers() -> None:
    """New and kept-alive requests are answered as those of the usual client."""
    listening = nginx.listen(socket.AF_INET, "127.0.0.1", 0)
    host, port = listening.getsockname()
    server = nginx.Server([listening], "nginx")
    thread = threading.Thread(target=server.run)
    thread.start()
    found = {}
    for kind in (socket.socket, PollingSocket):
        client = Sockets([(host, port, "/size/100000")], kind)
        found[kind] = [client.measure(0, new)[4:] for new in (True, False, False)]
        client.close()
    server.stop()
    thread.join(10)
    assert [(200, 100_000)] * 3 == found[PollingSocket] == found[socket.socket]
