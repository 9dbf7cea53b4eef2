"""What is said between us and a measuring process."""

import socket
import sys

import pytest

from sidelab.bench.clients import client_process
from sidelab.lab.base import framing
from sidelab.lab.errors import PodError


def test_a_failure_is_told_in_the_processs_own_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends the process reaches whoever asked it, and is its exit status."""

    def failing(_link: socket.socket) -> None:
        raise PodError("the request to 10.244.0.2:80 failed: Connection refused")

    ours, theirs = socket.socketpair()
    monkeypatch.setattr(sys, "argv", ["x", str(theirs.detach())])
    with ours:
        with pytest.raises(SystemExit) as ended:
            client_process.run(failing)
        assert PodError.exit_status == ended.value.code
        assert ({"error": "the request to 10.244.0.2:80 failed: Connection refused"}, []) == framing.receive(ours)


@pytest.mark.parametrize(
    ("answer", "words"),
    [({"error": "refused"}, "the client failed: refused"), (None, "the client failed: it ended without a word")],
)
def test_who_asks_hears_why(answer: dict[str, str] | None, words: str) -> None:
    """An error is passed on, and a process that has gone is said to have."""
    ours, theirs = socket.socketpair()
    with ours:
        if answer is not None:
            framing.send(theirs, answer)
        theirs.close()
        with pytest.raises(PodError, match=words):
            client_process.ask(ours, {"slots": []}, "the client")
