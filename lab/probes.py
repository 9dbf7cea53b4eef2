"""Readiness probes, as the kubelet makes them: from the node's namespace, with Kubernetes' timings and thresholds.

One thing is quicker than the kubelet: until a container has been ready for the first time, a failed probe is repeated
after a hundredth of a second, doubling up to the period: a lab should not wait ten seconds for a server that takes one.
"""

import errno
import os
import selectors
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lab.loop import Loop
from lab.manifest import HTTPGet, Probe

if TYPE_CHECKING:
    from lab.timers import Timer

_FIRST_RETRY_S = 0.01
_ANSWER_BYTES = 4096

Execute = Callable[[tuple[str, ...], Callable[[int], None]], Callable[[], None]]


class Prober:
    """Probes one container until `stop`; tells `on_change` whenever readiness changes."""

    def __init__(
        self,
        loop: Loop,
        probe: Probe,
        address: tuple[str, int],
        execute: Execute,
        on_change: Callable[[bool, str], None],
    ) -> None:
        """Begin to probe `address` (host, port) after the initial delay.

        `execute` runs a command in the container, calls back with its status, and returns how to end it.
        """
        self._loop = loop
        self._probe = probe
        self._address = address
        self._execute = execute
        self._on_change = on_change
        self._ready = False
        self._ever_ready = False
        self._streak = 0
        self._number = 0
        self._retry_s = _FIRST_RETRY_S
        self._attempt: _Connection | None = None
        self._cancel: Callable[[], None] | None = None
        self._deadline: Timer | None = None
        self._next = loop.after(probe.initial_delay_seconds, self._begin)

    def stop(self) -> None:
        """Probe no more; `on_change` is not called again."""
        self._next.cancel()
        self._end_attempt()

    def _begin(self) -> None:
        probe = self._probe
        self._deadline = self._loop.after(probe.timeout_seconds, lambda: self._finish(passed=False, reason="timed out"))
        if probe.exec is not None:
            self._number += 1
            self._cancel = self._execute(tuple(probe.exec.command), partial(self._executed, self._number))
            return
        handler = probe.http_get or probe.tcp_socket
        host, port = self._address
        target = ((handler and handler.host) or host, port)
        request = _http_request(probe.http_get, target) if probe.http_get is not None else None
        try:
            self._attempt = _Connection(self._loop, target, request, self._finish)
        except OSError as error:
            self._finish(passed=False, reason=error.strerror or str(error))

    def _executed(self, number: int, status: int) -> None:
        """Judge a command that has ended; one that was given up before may do so at any time, and counts no more."""
        if self._cancel is not None and number == self._number:
            self._finish(passed=status == 0, reason=f"exit status {status}")

    def _end_attempt(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None
        if self._cancel is not None:
            self._cancel()
            self._cancel = None

    def _finish(self, *, passed: bool, reason: str) -> None:
        self._end_attempt()
        self._streak = self._streak + 1 if passed != self._ready else 0
        needed = self._probe.success_threshold if passed else self._probe.failure_threshold
        if self._streak >= needed:
            self._ready, self._streak = passed, 0
            self._ever_ready = self._ever_ready or passed
        if not passed or not self._streak:
            self._on_change(self._ready, "" if passed else f"readiness probe failed: {reason}")
        delay_s: float = self._probe.period_seconds
        if not self._ever_ready:
            delay_s = min(delay_s, self._retry_s)
            self._retry_s *= 2
        self._next = self._loop.after(delay_s, self._begin)


def _http_request(get: HTTPGet, target: tuple[str, int]) -> bytes:
    headers = {"Host": f"{target[0]}:{target[1]}", "User-Agent": "kube-probe/sidelab", "Accept": "*/*"}
    headers |= {header.name: header.value for header in get.http_headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"GET {get.path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n".encode()


class _Connection:
    """One attempt: connect, and where there is a request, judge the status line of the answer."""

    def __init__(
        self,
        loop: Loop,
        address: tuple[str, int],
        request: bytes | None,
        finish: Callable[..., None],
    ) -> None:
        self._loop = loop
        self._request = request
        self._finish = finish
        self._answer = b""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        status = self._socket.connect_ex(address)
        if status not in (0, errno.EINPROGRESS):
            self._socket.close()
            raise OSError(status, os.strerror(status))
        loop.watch(self._socket, self._connected, selectors.EVENT_WRITE)

    def close(self) -> None:
        self._loop.forget(self._socket)
        self._socket.close()

    def _connected(self) -> None:
        status = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if status:
            self._finish(passed=False, reason=os.strerror(status))
        elif self._request is None:
            self._finish(passed=True, reason="")
        else:
            try:
                self._socket.send(self._request)
            except OSError as error:
                self._finish(passed=False, reason=error.strerror or str(error))
                return
            self._loop.change(self._socket, self._answered, selectors.EVENT_READ)

    def _answered(self) -> None:
        try:
            data = self._socket.recv(_ANSWER_BYTES)
        except OSError as error:
            self._finish(passed=False, reason=error.strerror or str(error))
            return
        self._answer += data
        if data and b"\r\n" not in self._answer and len(self._answer) < _ANSWER_BYTES:
            return
        fields = self._answer.split(None, 2)
        code = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else 0
        self._finish(passed=200 <= code < 400, reason=f"status {code}" if code else "no HTTP answer")
