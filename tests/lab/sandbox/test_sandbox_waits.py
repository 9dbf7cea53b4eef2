"""Waiting for a sandbox, without one: only its channel is needed."""

import signal
import socket
import threading
import time

import pytest

from sidelab.lab.sandbox.sandbox import Sandbox


class _ArrivedError(Exception):
    pass


def _raise(_number: int, _frame: object) -> None:
    raise _ArrivedError


def test_a_signal_is_handled_though_the_wait_itself_is_not_interrupted() -> None:
    """As when it comes just before the system call begins: here the kernel gives it to another thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    waiting = threading.Event()

    def be_signalled() -> None:
        waiting.wait()
        time.sleep(0.1)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, _raise)
    other = threading.Thread(target=be_signalled)
    other.start()
    late = threading.Timer(30, theirs.send, (b"too late",))
    late.start()
    try:
        waiting.set()
        with ours, theirs, pytest.raises(_ArrivedError):
            Sandbox(ours, keeper=0).hear()
        assert late.is_alive(), "it was noticed only when a message came"
    finally:
        late.cancel()
        other.join()
        late.join()
        signal.signal(signal.SIGUSR1, before)
