"""The kubelet's part and the agent's, asked about the same server: their verdicts are the same."""

import contextlib
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidelab.lab.base.loop import Loop
from sidelab.lab.manifest import GRPC, HTTPGet
from sidelab.lab.plan.blueprint import PlannedCheck
from sidelab.lab.runtime.probes import ProbeOutcome, begin
from sidelab.sidecar.agent.probes import probers
from sidelab.sidecar.agent.probes.probers import AppProber
from sidelab.sidecar.agent.probes.probes import ask

sys.path.append(str(Path(__file__).parents[2] / "lab"))
from go_answers import BODY, GO_ANSWERS, HEAD

LOCAL = "127.0.0.1"
PATIENCE_S = 0.15


@contextlib.contextmanager
def serving(data: bytes, *, held: bool) -> Iterator[int]:
    """Answer every connection with `data`, and close it or hold it until the end; yields the port."""
    over = threading.Event()

    def answer(link: socket.socket) -> None:
        with link, contextlib.suppress(OSError):
            received = b""
            while b"\r\n\r\n" not in received and (part := link.recv(65536)):
                received += part
            link.sendall(data)
            if held:
                over.wait(10)

    with socket.create_server((LOCAL, 0), backlog=64) as listening:

        def serve() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)


def kubelet(handler: HTTPGet | GRPC, port: int, patience_s: float) -> bool:
    """Return whether the kubelet's part lets the server pass."""
    loop, outcomes = Loop(), list[ProbeOutcome]()
    attempt = begin(loop, PlannedCheck(handler, (LOCAL, port)), lambda *_: lambda: None, outcomes.append)
    loop.after(patience_s, lambda: outcomes.append(ProbeOutcome(passed=False, reason="timed out")))
    while not outcomes:
        loop.turn()
    attempt.close()
    loop.close()
    return outcomes[0].passed


@pytest.mark.parametrize("name", GO_ANSWERS)
def test_both_judge_an_answer_as_go_does(name: str):
    """A pod is as ready with a sidecar as without."""
    data, held, comes = GO_ANSWERS[name]
    # What comes too late may only be waited for as long as a test likes; what comes has all the time it wants.
    patience_s = PATIENCE_S if held and comes in (HEAD, BODY) else 10.0
    expected = isinstance(comes, int) and 200 <= comes < 400
    with serving(data, held=held) as port:
        direct = kubelet(HTTPGet(port=port), port, patience_s)
        reply = ask(AppProber(http_get=probers.HttpProber(port=port)), LOCAL, patience_s)
    assert [expected, expected] == [direct, reply.status < 400]


@pytest.mark.parametrize("endless", [b"HTTP/1.1 100 C\r\n\r\n", b"data: 1\n\n"])
def test_neither_waits_for_what_never_ends(endless: bytes):
    """Interim answers without end, and a stream that has begun: both are over when their time is."""
    begun = b"" if endless.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n\r\n"
    with serving(begun + endless * 100, held=True) as port:
        direct = kubelet(HTTPGet(port=port), port, PATIENCE_S)
        reply = ask(AppProber(http_get=probers.HttpProber(port=port)), LOCAL, PATIENCE_S)
    assert [False, 500] == [direct, reply.status]


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 400 Bad\r\n\r\n", b"\0\0\0\4\0\0\0\0\0"])
def test_both_refuse_what_speaks_no_grpc(data: bytes):
    """Silence, another protocol, and a connection that ends."""
    with serving(data, held=False) as port:
        direct = kubelet(GRPC(port=port), port, 10.0)
        reply = ask(AppProber(grpc=probers.GrpcProber(port=port)), LOCAL, 10.0)
    assert [False, 500] == [direct, reply.status]
