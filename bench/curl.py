"""libcurl as the measuring client: the cross-check of `bench.client`, with curl's own variables.

Below a millisecond curl's phases mislead (its starttransfer is stamped when the answer is already there); its total is
good.
"""

from collections.abc import Sequence

import pycurl

from bench.stamps import Stamps
from lab.errors import PodError

_TIMEOUT_S = 5


class Curl:
    """Requests by libcurl; per arm one handle whose connection is kept alive, and one that connects each time."""

    def __init__(self, targets: Sequence[tuple[str, int]], path: str) -> None:
        self._fresh = [_handle(target, path, fresh=True) for target in targets]
        self._kept = [_handle(target, path, fresh=False) for target in targets]
        self.opened = [0] * len(targets)

    def measure(self, arm: int, new: bool) -> Stamps:
        """Make one request; raises `PodError` with libcurl's own words when it fails."""
        handle = (self._fresh if new else self._kept)[arm]
        try:
            handle.perform()
        except pycurl.error as error:
            raise PodError(f"libcurl: {error.args[1]}") from error
        self.opened[arm] += handle.getinfo(pycurl.NUM_CONNECTS)
        return (
            _ns(handle, pycurl.CONNECT_TIME) if new else None,
            _ns(handle, pycurl.PRETRANSFER_TIME),
            _ns(handle, pycurl.STARTTRANSFER_TIME),
            _ns(handle, pycurl.TOTAL_TIME),
            int(handle.getinfo(pycurl.RESPONSE_CODE)),
            int(handle.getinfo(pycurl.SIZE_DOWNLOAD)),
        )


def _handle(target: tuple[str, int], path: str, *, fresh: bool) -> pycurl.Curl:
    host, port = target
    handle = pycurl.Curl()
    handle.setopt(pycurl.URL, f"http://{host}:{port}{path}")
    handle.setopt(pycurl.WRITEFUNCTION, len)
    handle.setopt(pycurl.TIMEOUT, _TIMEOUT_S)
    handle.setopt(pycurl.NOSIGNAL, 1)
    handle.setopt(pycurl.FRESH_CONNECT, fresh)
    handle.setopt(pycurl.FORBID_REUSE, fresh)
    return handle


def _ns(handle: pycurl.Curl, which: int) -> int:
    return round(float(handle.getinfo(which)) * 1e9)
