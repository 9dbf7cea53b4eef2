"""The load generator's process: it runs on the client's CPU and enters a client pod for each load.

Its protocol is that of `bench.clients.client`: a socket whose descriptor is its argument, orders in, measurements out.
"""

import gc
import socket
from time import monotonic
from typing import Any

from sidelab.bench.clients.client_process import begin, run
from sidelab.bench.openloop.answers import AnswerParser
from sidelab.bench.openloop.due_times import starts_ns
from sidelab.bench.openloop.generator import Generator
from sidelab.bench.openloop.histogram import Histogram
from sidelab.lab.base import framing, syscalls
from sidelab.lab.errors import PodError
from sidelab.lab.net.ask import limit

_TIMEOUT_S = 5.0


def serve(link: socket.socket) -> None:
    """Take orders from `link` until it closes: first the pods and a CPU, then loads."""
    _, pods = begin(link)
    while (asked := framing.receive(link)[0]) != {}:
        syscalls.setns(pods[asked["pod"]], syscalls.CLONE_NEWNET)
        framing.send(link, load(asked))


def load(asked: dict[str, Any]) -> dict[str, Any]:
    """Make the load that the message describes; the answer holds histograms of latency and lag in ns, as pairs.

    Before that, every connection is opened and sends one unmeasured request; `warmup` counts these. Raises `PodError`
    if a connection fails.
    """
    target = (asked["host"], asked["port"])
    request = asked["request"].encode("ascii")
    starts = starts_ns(asked["schedule"], asked["rate_per_s"], asked["duration_s"], asked["seed"])
    sockets: list[socket.socket] = []
    try:
        for _ in range(asked["connections"]):
            sockets.append(socket.create_connection(target, timeout=_TIMEOUT_S))
            _ask(sockets[-1], request)
        gc.collect()
        gc.disable()
        found = Generator(sockets, request, starts).run()
    except OSError as error:
        said = error.strerror or "no answer in time"
        raise PodError(f"a connection to {target[0]}:{target[1]} failed: {said}") from error
    finally:
        gc.enable()
        for each in sockets:
            each.close()
    return {
        "latency": Histogram.of(found.latencies_ns).pairs(),
        "lag": Histogram.of(found.lags_ns).pairs(),
        "errors": found.errors,
        "elapsed_ns": found.elapsed_ns,
        "warmup": len(sockets),
    }


def _ask(link: socket.socket, request: bytes) -> None:
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    answer = AnswerParser()
    deadline_s = monotonic() + _TIMEOUT_S
    link.sendall(request)
    while data := link.recv(1 << 18):
        if answer.feed(data):
            return
        limit(link, deadline_s)  # its answer may never end
    raise PodError("the server closed a connection of the load unanswered")


if __name__ == "__main__":
    run(serve)
