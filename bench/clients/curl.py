"""libcurl as the measuring client: the cross-check of `bench.clients.client`, with curl's own variables.

Below a millisecond curl's phases mislead (its starttransfer is stamped when the answer is already there); its total is
good.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import pycurl

from sidelab.bench.clients.stamps import Stamps
from sidelab.lab.errors import PodError

_TIMEOUT_S = 5

_NOWHERE = Path(os.devnull).open("wb")  # noqa: SIM115  # open as long as the process measures


class Curl:
    """Requests by libcurl; per arm one handle whose connection is kept alive, and one that connects each time.

    `namelookup_ns` is when the last request's name look-up was over: libcurl makes the socket then, where our own
    client's clock starts; with an address for a name it is libcurl's own set-up.
    """

    def __init__(self, targets: Sequence[tuple[str, int, str]]) -> None:
        self._closing: list[int] = []
        self._fresh = [self._handle(target, fresh=True) for target in targets]
        self._kept = [self._handle(target, fresh=False) for target in targets]
        self.opened = [0] * len(targets)
        self.namelookup_ns = 0

    def measure(self, arm: int, new: bool) -> Stamps:
        """Make one request; raises `PodError` with libcurl's own words when it fails."""
        handle = (self._fresh if new else self._kept)[arm]
        try:
            handle.perform()
        except pycurl.error as error:
            raise PodError(f"libcurl: {error.args[1]}") from error
        while self._closing:
            os.close(self._closing.pop())
        self.opened[arm] += handle.getinfo(pycurl.NUM_CONNECTS)
        self.namelookup_ns = _ns(handle, pycurl.NAMELOOKUP_TIME)
        return (
            _ns(handle, pycurl.CONNECT_TIME) if new else None,
            _ns(handle, pycurl.PRETRANSFER_TIME),
            _ns(handle, pycurl.STARTTRANSFER_TIME),
            _ns(handle, pycurl.TOTAL_TIME),
            int(handle.getinfo(pycurl.RESPONSE_CODE)),
            int(handle.getinfo(pycurl.SIZE_DOWNLOAD)),
        )

    def _handle(self, target: tuple[str, int, str], *, fresh: bool) -> pycurl.Curl:
        host, port, path = target
        name = f"[{host}]" if ":" in host else host
        handle = pycurl.Curl()
        handle.setopt(pycurl.URL, f"http://{name}:{port}{path}")
        handle.setopt(pycurl.WRITEDATA, _NOWHERE)
        handle.setopt(pycurl.TIMEOUT, _TIMEOUT_S)
        handle.setopt(pycurl.NOSIGNAL, 1)
        handle.setopt(pycurl.FRESH_CONNECT, fresh)
        handle.setopt(pycurl.FORBID_REUSE, fresh)
        # Closing is a part of libcurl's total, and 20 µs of it; here it comes afterwards, as in our own client.
        handle.setopt(pycurl.CLOSESOCKETFUNCTION, self._close_later)
        return handle

    def _close_later(self, fd: int) -> int:
        self._closing.append(fd)
        return 0


def _ns(handle: pycurl.Curl, which: int) -> int:
    return round(float(handle.getinfo(which)) * 1e9)
