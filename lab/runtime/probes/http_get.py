"""The kubelet's GET on the loop: each connection of `lab.net.get`, one after the other, and what its answer means.

An answer counts when its body has arrived, or the first ten kilobytes of it: see docs/injection.md for what the kubelet
does if the body breaks off. Source: kubernetes pkg/probe/http, pkg/kubelet/lifecycle (`runHTTPHandler`).
"""

from sidelab.lab.base.loop import Loop
from sidelab.lab.manifest import HTTPGet
from sidelab.lab.net.get import Get as Exchange
from sidelab.lab.net.get import kubelet_fields
from sidelab.lab.net.http_answer import AnswerError
from sidelab.lab.net.url import Url, target_of
from sidelab.lab.runtime.probes.probe_outcome import Finish, ProbeOutcome
from sidelab.lab.runtime.probes.probe_stream import Stream

_NOT_TLS = "wrong version number"
"""OpenSSL's reason for bytes that are not a TLS record, such as `HTTP/1.1 400 Bad Request`."""


class HttpCheck:
    """A request to `address`; `finish` is called once, with whether the answer passes, and why not.

    A passing answer may come with a warning as its reason. With `any_answer` every status passes, as for a hook.
    """

    def __init__(
        self,
        loop: Loop,
        get: HTTPGet,
        address: tuple[str, int],
        finish: Finish,
        *,
        any_answer: bool = False,
    ) -> None:
        """Begin; raises `OSError` where the address can't be reached at all."""
        self._loop = loop
        self._finish = finish
        self._any_answer = any_answer
        self._fields = kubelet_fields(
            ((header.name, header.value) for header in get.http_headers), "lifecycle" if any_answer else "probe"
        )
        try:
            url = Url(get.scheme.lower(), *address, target_of(get.path))
        except AnswerError as error:
            raise OSError(str(error)) from error
        self._exchange = Exchange(url, self._fields)
        self._connect()

    def _connect(self) -> None:
        url = self._exchange.url
        self._stream = Stream(self._loop, (url.host, url.port), self, tls=url.scheme == "https")

    def close(self) -> None:
        """Give up."""
        self._stream.close()

    def opened(self) -> None:
        """Send the request."""
        self._stream.send(self._exchange.request())

    def received(self, data: bytes) -> None:
        """Take a part of the answer."""
        try:
            done = self._exchange.feed(data)
        except AnswerError as error:
            self._fail(str(error))
            return
        if done:
            self._go_on()

    def ended(self, reason: str) -> None:
        """React when nothing more will come: closed normally (""), or failed for `reason`."""
        if not reason:
            self.received(b"")
            return
        url = self._exchange.url
        if self._any_answer and url.scheme == "https" and _NOT_TLS in reason:
            # A hook's server that answers TLS with plain HTTP is asked again as it wants (`runHTTPHandler`).
            self._exchange = Exchange(url._replace(scheme="http"), [f for f in self._fields if f[0] != "Authorization"])
            self._go_on()
            return
        try:
            harmless = self._exchange.broken()
        except AnswerError as error:
            self._fail(str(error))
            return
        if harmless:
            self._go_on()
        else:
            self._fail(reason)

    def _go_on(self) -> None:
        """Follow the redirect, or judge the answer."""
        self._stream.close()
        answer = self._exchange.answer
        if answer is None:
            try:
                self._connect()
            except OSError as error:
                self._fail(error.strerror or str(error))
        elif self._any_answer or 200 <= answer.status < 400:
            self._finish(ProbeOutcome(passed=True, reason="" if self._any_answer else self._exchange.warning))
        else:
            self._finish(ProbeOutcome(passed=False, reason=f"status {answer.status}"))

    def _fail(self, reason: str) -> None:
        """Fail, unless only the body of a hook's answer is missing, which is not used."""
        self._stream.close()
        passed = self._any_answer and self._exchange.answered
        self._finish(ProbeOutcome(passed=passed, reason="" if passed else reason))
