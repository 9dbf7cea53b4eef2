"""The client that never sleeps."""

import socket

from serving import standin

from sidelab.bench.clients.client import Sockets
from sidelab.bench.clients.polling_client import PollingSocket


def test_it_gets_the_same_answers() -> None:
    """New and kept-alive requests are answered as those of the usual client."""
    found = {}
    with standin() as (host, port):
        for kind in (socket.socket, PollingSocket):
            client = Sockets([(host, port, "/size/100000")], kind)
            found[kind] = [client.measure(0, new)[4:] for new in (True, False, False)]
            client.close()
    assert [(200, 100_000)] * 3 == found[PollingSocket] == found[socket.socket]
