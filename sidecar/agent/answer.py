"""The answer to a request of the agent's own: bytes in, status, headers and body out. Pure.

More forgiving than the proxy's grammar, because it reads what applications say to a probe, and forwards little of it:
status and the first bytes of the body. Sources: RFC 9112 §4, §6 and §7.1.
"""

import re
from dataclasses import dataclass, field

_HEAD_BYTES = 1 << 16
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: [^\r\n]*)?\r?\n")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[^\r\n]*\r?\n")
_CHUNK_LINE_BYTES = 4096


class AnswerError(Exception):
    """What arrived is no HTTP answer; `str()` says how it differs."""


@dataclass
class Answer:
    """An answer as far as it has arrived; `headers` by lower-case names, of a repeated one the last.

    `body` is complete, or its first `limit` bytes, once `done`.
    """

    limit: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    done: bool = False
    _buffer: bytes = b""
    _left: int | None = None
    _chunked: bool = False

    def feed(self, data: bytes) -> None:
        """Take what has arrived; raises `AnswerError`."""
        if self.done:
            return
        self._buffer += data
        while not self.status:
            if not self._head():
                return
        if self._chunked:
            self._chunks()
        else:
            self._take(len(self._buffer) if self._left is None else self._left)
            if self._left == 0:
                self.done = True

    def ended(self) -> None:
        """Hear that the connection has ended: a body without a length is then complete. Raises `AnswerError`."""
        if not self.status:
            raise AnswerError("it ended without an HTTP answer")
        self.done = True

    def _head(self) -> bool:
        end = re.search(rb"\r?\n\r?\n", self._buffer)
        if end is None:
            if len(self._buffer) > _HEAD_BYTES:
                raise AnswerError(f"its headers are longer than {_HEAD_BYTES} bytes")
            return False
        head, self._buffer = self._buffer[: end.end()], self._buffer[end.end() :]
        match = _STATUS.match(head)
        if match is None:
            raise AnswerError("it is no HTTP answer")
        status = int(match[1])
        if status < 200:
            return True  # an interim answer: the one that counts is to come
        lines = (line.partition(":") for line in head[match.end() :].decode("latin-1").splitlines())
        self.headers = {name.strip().lower(): value.strip() for name, colon, value in lines if colon}
        length = self.headers.get("content-length", "")
        self._chunked = self.headers.get("transfer-encoding", "").lower().endswith("chunked")
        if status in (204, 304):
            self._left, self._chunked = 0, False
        elif not self._chunked and length.isascii() and length.isdigit():
            self._left = int(length[:18])
        self.status = status
        return True

    def _take(self, count: int) -> None:
        part = self._buffer[:count]
        self._buffer = self._buffer[len(part) :]
        if self._left is not None:
            self._left -= len(part)
        self.body += part[: self.limit - len(self.body)]
        self.done = self.done or len(self.body) == self.limit

    def _chunks(self) -> None:
        while not self.done:
            if self._left:
                self._take(self._left)
                if self._left:
                    return
            # What ends a chunk is passed over with the line that begins the next.
            match = _CHUNK.match(self._buffer.lstrip(b"\r\n"))
            if match is None:
                if len(self._buffer) > _CHUNK_LINE_BYTES:
                    raise AnswerError("its chunks are malformed")
                return
            self._buffer = self._buffer.lstrip(b"\r\n")[match.end() :]
            self._left = int(match[1], 16)
            self.done = self._left == 0
