"""The kubelet's gRPC probe on the loop: one call of a health service. Imported when the first such probe is made."""

from sidelab.lab.base.loop import Loop
from sidelab.lab.manifest import GRPC
from sidelab.lab.net.grpc_health import Call
from sidelab.lab.net.url import netloc
from sidelab.lab.runtime.probes.probe_outcome import Finish, ProbeOutcome
from sidelab.lab.runtime.probes.probe_stream import Stream


class GrpcCheck:
    """A call to `address`; `finish` is called once, with whether the answer is SERVING, and why not."""

    def __init__(self, loop: Loop, grpc: GRPC, address: tuple[str, int], finish: Finish) -> None:
        self._finish = finish
        self._call = Call(grpc.service, netloc(*address), "kube-probe/sidelab")
        self._stream = Stream(loop, address, self)

    def close(self) -> None:
        """Give up."""
        self._stream.close()

    def opened(self) -> None:
        """Send the request."""
        self._stream.send(self._call.outbox())

    def received(self, data: bytes) -> None:
        """Take a part of the answer, and answer HTTP/2's own frames."""
        if self._call.feed(data):
            self._end(self._call.problem)
        else:
            self._stream.send(self._call.outbox())

    def ended(self, reason: str) -> None:
        """Fail: there will be no answer."""
        self._end(reason or "no gRPC answer")

    def _end(self, problem: str) -> None:
        self._stream.close()
        self._finish(ProbeOutcome(passed=not problem, reason=problem))
