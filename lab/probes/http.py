"""One GET as the kubelet makes it: headers, TLS without verification, redirects on the same host.

Source: kubernetes pkg/probe/http (`DoHTTPProbe`, `RedirectChecker`); redirects as Go's net/http follows them.
"""

from lab.loop import Loop
from lab.manifest import HTTPGet
from lab.probes.outcome import Finish, Outcome
from lab.probes.stream import Stream

_HEAD_BYTES = 1 << 16
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_SAFE = "%/?:=&~+!$,;'@()*[]"
_PORTS = {"http": 80, "https": 443}


class Get:
    """A request to `address`; `finish` hears once whether the answer passes, and why not.

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
        self._loop = loop
        self._finish = finish
        self._any_answer = any_answer
        self._headers = [(header.name, header.value) for header in get.http_headers]
        self._redirects = 0
        self._open(get.scheme.lower(), address, get.path)

    def _open(self, scheme: str, address: tuple[str, int], path: str) -> None:
        self._scheme, self._address, self._path = scheme, address, path
        self._head = b""
        self._stream = Stream(self._loop, address, self, tls=scheme == "https")

    def close(self) -> None:
        """Give up."""
        self._stream.close()

    def opened(self) -> None:
        """Send the request."""
        said = {name.lower() for name, _ in self._headers}
        headers = [("Host", self._netloc()), ("User-Agent", "kube-probe/sidelab"), ("Accept", "*/*")]
        headers = [each for each in headers if each[0].lower() not in said] + self._headers + [("Connection", "close")]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self._stream.send(f"GET {self._path} HTTP/1.1\r\n{lines}\r\n".encode())

    def received(self, data: bytes) -> None:
        """Judge the answer as soon as its headers are complete."""
        self._head += data
        while (end := self._head.find(b"\r\n\r\n")) >= 0:
            code, headers = _parsed(self._head[:end])
            if not 100 <= code < 200:
                self._judge(code, headers)
                return
            self._head = self._head[end + 4 :]  # an interim answer
        if len(self._head) > _HEAD_BYTES:
            self._finish_with(passed=False, reason=f"its headers are longer than {_HEAD_BYTES} bytes")

    def ended(self, reason: str) -> None:
        """Hear that there will be no answer."""
        self._finish_with(passed=False, reason=reason or "no HTTP answer")

    def _judge(self, code: int, headers: dict[str, str]) -> None:
        if self._any_answer and code:
            self._finish_with(passed=True, reason="")
        elif code in _REDIRECTS and headers.get("location"):
            self._redirect(headers["location"])
        elif 200 <= code < 400:
            self._finish_with(passed=True, reason="")
        else:
            self._finish_with(passed=False, reason=f"status {code}" if code else "no HTTP answer")

    def _redirect(self, location: str) -> None:
        """Follow a redirect on the same host; another host's would not be the container's answer."""
        from urllib.parse import quote, urljoin, urlsplit  # noqa: PLC0415  # for the few that redirect

        self._stream.close()
        try:
            relative = not urlsplit(location).netloc
            target = urlsplit(urljoin(f"{self._scheme}://{self._netloc()}{self._path}", location))
            port = target.port or _PORTS[target.scheme]
        except (ValueError, KeyError):
            self._finish_with(passed=False, reason=f"it redirects to {location!r:.200}, which is no URL of HTTP")
            return
        self._redirects += 1
        if target.hostname != self._address[0]:
            self._finish_with(passed=True, reason=f"it redirects to {target.hostname!r:.200}, which is not followed")
        elif self._redirects >= _MOST_REDIRECTS:
            self._finish_with(passed=False, reason=f"stopped after {_MOST_REDIRECTS} redirects")
        else:
            if not relative:
                self._headers = [each for each in self._headers if each[0].lower() != "host"]
            path = (target.path or "/") + (f"?{target.query}" if target.query else "")
            try:
                self._open(target.scheme, (self._address[0], port), quote(path, safe=_SAFE))
            except OSError as error:
                self._finish_with(passed=False, reason=error.strerror or str(error))

    def _netloc(self) -> str:
        host, port = self._address
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _finish_with(self, *, passed: bool, reason: str) -> None:
        self._stream.close()
        self._finish(Outcome(passed, reason))


def _parsed(head: bytes) -> tuple[int, dict[str, str]]:
    """Return status (0 for what is no HTTP) and headers, by lower-case names, of an answer's head."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdecimal():
        return 0, {}
    headers = (line.partition(":") for line in lines)
    return int(code), {name.strip().lower(): value.strip() for name, _, value in headers}
