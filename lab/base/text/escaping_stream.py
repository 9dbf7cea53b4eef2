"""A text stream that escapes what is written to it, but for what its writer vouches for.

Escaping is what happens to all text unless somebody says otherwise, because a message may have a name, a log or an
answer in it that nobody thought of. Otherwise say `styled` (a progress line's carriage return, a table's colours) and
`write_command` (a CI system's own command).
"""

import codecs
import io
import re
from typing import Any, Final, TextIO

from sidelab.lab.base.text import escapes

_COLOUR: Final = re.compile(r"(\x1b\[[0-9;:]{0,40}m)")  # SGR (ECMA-48 8.3.117)
_NO_COLOUR: Final = "\x1b[0m"


class EscapingWriter(io.TextIOWrapper):
    """A `TextIOWrapper` whose `write` escapes; with `keep_bytes`, bytes of file names that are no text stay."""

    def __init__(self, buffer: Any, *, keep_bytes: bool = False, **how: Any) -> None:
        super().__init__(buffer, **how)
        self._keep_bytes = keep_bytes
        self._at_start = True

    def write(self, text: str, /) -> int:
        """Write text, whoever it comes from."""
        return self.write_styled(escapes.visible(text, keep_bytes=self._keep_bytes))

    def write_styled(self, text: str) -> int:
        """Write text whose control characters are meant; it is no command to a CI system."""
        shown = escapes.uncommanding(text, at_start=self._at_start)
        self._follow(text)
        super().write(shown)
        return len(text)

    def write_command(self, text: str) -> int:
        """Write text as it is: lines that a CI system is to obey."""
        self._follow(text)
        return super().write(text)

    def _follow(self, text: str) -> None:
        """Keep in mind whether the line that comes next, or goes on, has had nothing but blanks so far."""
        _, newline, last = text.rpartition("\n")
        self._at_start = (self._at_start or bool(newline)) and not last.strip()


class _Styled:
    """A stream as rich wants it: its `write` passes control characters."""

    def __init__(self, stream: EscapingWriter) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write_styled(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def styled(stream: TextIO) -> Any:
    """Return a stream that passes control characters on to `stream`; whatever comes from elsewhere is yours to escape.

    A stream that escapes nothing is returned as it is.
    """
    return _Styled(stream) if isinstance(stream, EscapingWriter) else stream


class LogText:
    """Where the bytes of a log go that a person looks at: escaped, but for its colours, as `less -R` does."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode

    def write(self, data: bytes) -> None:
        """Write what has come of the log; a character may go on with the next bytes."""
        coloured = styled(self._stream)
        pieces = _COLOUR.split(self._decode(data))
        for text, colour in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
            self._stream.write(text)
            coloured.write(colour)
        if len(pieces) > 1:
            coloured.write(_NO_COLOUR)  # whatever the log has left on

    def flush(self) -> None:
        """Make everything visible."""
        self._stream.flush()


def write_command(stream: TextIO, text: str) -> None:
    """Write lines that a CI system is to obey."""
    (stream.write_command if isinstance(stream, EscapingWriter) else stream.write)(text)
