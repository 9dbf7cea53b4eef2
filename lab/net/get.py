"""A GET with its redirects, as the kubelet's and pilot-agent's client makes it; pure.

It says what to connect to and what to send, takes what arrives, and has an answer in the end. Sources: kubernetes
pkg/probe/http (`DoHTTPProbe`, `RedirectChecker`, `newProbeRequest`); Go's net/http (`Client.do`, `Request.write`).
"""

from collections.abc import Iterable, Sequence

from sidelab.lab.net.http_answer import Answer, AnswerError
from sidelab.lab.net.url import Url, is_relative, redirected

BODY_BYTES = 10 << 10
"""So much of a body has to arrive (the kubelet's and pilot-agent's `maxRespBodyLength`)."""

Field = tuple[str, str]

_MOST_REQUESTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
_SLURPED_BYTES = 2 << 10  # of a redirect's body, if it is no longer than that
_NOT_SENT = ("Host", "User-Agent", "Content-Length", "Transfer-Encoding", "Trailer")


def kubelet_fields(given: Iterable[Field], purpose: str) -> list[Field]:
    """Return the fields of the kubelet's request for a manifest's; `purpose` is "probe" or "lifecycle".

    An empty Accept or User-Agent of the manifest's means that there is none.
    """
    fields = [(canonical(name), value) for name, value in given]
    names = [name for name, _ in fields]
    if "User-Agent" not in names:
        fields.append(("User-Agent", f"kube-{purpose}/sidelab"))
    if "Accept" not in names:
        fields.append(("Accept", "*/*"))
    elif not first(fields, "Accept"):
        fields = [each for each in fields if each[0] != "Accept"]
    return fields


def canonical(name: str) -> str:
    """Return a field's name as Go writes it: `x-forwarded-for` is `X-Forwarded-For`."""
    return "-".join(part.capitalize() for part in name.split("-"))


def first(fields: Sequence[Field], name: str) -> str:
    """Return the first value of a field by its canonical name, "" if it is missing."""
    return next((value for each, value in fields if each == name), "")


class Get:
    """One GET: connect to `url`, send `request()`, feed what arrives until that is all, then look at `answer`.

    `answer` is None where a redirect is to be followed: `url` is then what to connect to next. `warning` says which
    redirect was not followed.
    """

    def __init__(self, url: Url, fields: Sequence[Field]) -> None:
        """Prepare a request with `fields`, their names canonical; Host among them is sent in the address's place."""
        self.url = url
        self.answer: Answer | None = None
        self.warning = ""
        self._fields = list(fields)
        self._host = first(fields, "Host")
        self._referrer = ""
        self._requests = 0
        self._begin()

    def _begin(self) -> None:
        self._requests += 1
        self._arriving = Answer(BODY_BYTES)
        self._judged = False
        self._next: Url | None = None

    @property
    def answered(self) -> bool:
        """Whether the head of the answer that counts is there, whatever becomes of its body."""
        return self._judged and self._next is None

    def request(self) -> bytes:
        """Return what to send to `url`."""
        fields = [each for each in self._fields if each[0] not in _NOT_SENT]
        if self._referrer and not first(fields, "Referer"):
            fields.append(("Referer", self._referrer))
        agent = first(self._fields, "User-Agent")
        lines = [("Host", self._host or self.url.netloc), *([("User-Agent", agent)] if agent else [])]
        lines += sorted(fields, key=lambda each: each[0])
        if not any(name == "Connection" and "close" in value.lower() for name, value in fields):
            lines.append(("Connection", "close"))
        text = "".join(f"{name}: {value.strip()}\r\n" for name, value in lines)
        return f"GET {self.url.target} HTTP/1.1\r\n{text}\r\n".encode(errors="surrogateescape")

    def feed(self, data: bytes) -> bool:
        """Take what has arrived, b"" for the end; returns whether this connection has done its part.

        Raises `AnswerError` where there will be no answer.
        """
        try:
            done = self._arriving.feed(data)
        except AnswerError:
            if not self._leads_on():
                raise
            return self._follow()
        if self._leads_on():
            return (done or self._is_slurped()) and self._follow()
        if done:
            self.answer = self._arriving
        return done

    def broken(self) -> bool:
        """Take note that the connection broke; returns whether that does no harm: nobody needs a redirect's body."""
        return self._leads_on() and self._follow()

    def _leads_on(self) -> bool:
        """Return whether what arrives is a redirect to be followed, once its head is there."""
        location = self._arriving.field("location")
        if self._arriving.head is not None and not self._judged:
            self._judged = True
            if self._arriving.status in _REDIRECTS and location:
                self._next = redirected(self.url, location)
                self.warning = "" if self._next else f"it redirects to {location!r:.200}, which is not followed"
        return self._next is not None

    def _is_slurped(self) -> bool:
        head = self._arriving.head
        length = head.length if head is not None else None
        return len(self._arriving.body) >= _SLURPED_BYTES or (length is not None and length > _SLURPED_BYTES)

    def _follow(self) -> bool:
        if self._next is None or self._requests >= _MOST_REQUESTS:
            raise AnswerError(f"stopped after {_MOST_REQUESTS} redirects")
        downgrades = (self.url.scheme, self._next.scheme) == ("https", "http")
        self._referrer = "" if downgrades else str(self.url)
        self._host = first(self._fields, "Host") if is_relative(self._arriving.field("location")) else ""
        self.url = self._next
        self._begin()
        return True
