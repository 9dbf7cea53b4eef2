"""Standard output and standard error as they are found: in any encoding, closed, full, or with nobody reading.

What a stream can't write is no reason to lose a verdict: signs that its encoding lacks are replaced, what goes to
standard error is lost where nobody reads it, and standard output fails with one of two exceptions, `BrokenPipeError`
or `OutputError`.

Whatever is written to them is escaped (`lab.base.text.escapes`), because any of it may come from elsewhere. What is
ours and not to be escaped is written in another way: see `lab.base.text.escaping_stream`.
"""

import codecs
import io
import os
import sys
from typing import Any, Final, TextIO

from sidelab.lab.base.text.escaping_stream import EscapingWriter
from sidelab.lab.errors import InputError

_PLAIN: Final = {
    "µ": "u",
    "±": "+/-",
    "×": "x",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "·": "-",
    "…": "...",
    "–": "-",
    "—": "-",
    "\N{MINUS SIGN}": "-",
    "\N{NO-BREAK SPACE}": " ",
}
"""What stands for a sign of ours in an encoding that lacks it; for all others it is a question mark."""


class OutputError(InputError):
    """Standard output can't be written to, for another reason than that its reader has gone."""


class _Output(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(
                f"standard output can't be written to: {error.strerror}; make room, or send it elsewhere"
            ) from None


class _Messages(io.FileIO):
    def write(self, data: Any, /) -> int:
        left = memoryview(data)
        try:
            while left and (written := super().write(left)):  # nothing written: it would block, and is lost
                left = left[written:]
        except OSError:
            pass  # there is nobody to tell
        return len(data)


def open_standard() -> None:
    """Make `sys.stdout` and `sys.stderr` what this module promises.

    Opens what we were started without: the next socket would become some program's input.
    """
    codecs.register_error("sidelab", _replaced)
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            while os.open(os.devnull, os.O_RDWR) < fd:
                pass
            stream = os.fdopen(fd, "w" if fd else "r", encoding="utf-8", closefd=False)
            setattr(sys, name, stream)
        elif stream is not getattr(sys, f"__{name}__"):
            continue  # whoever has put another in its place knows why
        if fd:
            setattr(sys, name, _tolerant(stream, _Output if fd == 1 else _Messages))


def _tolerant(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    raw = kind(stream.fileno(), "w", closefd=False)
    if issubclass(kind, _Messages):
        # Without a buffer: a signal that interrupts a write would leave in it what was written, to be written again.
        return EscapingWriter(raw, encoding=stream.encoding, errors="sidelab", write_through=True)
    buffered = io.BufferedWriter(raw)
    keep_bytes = not raw.isatty()  # a program that reads paths wants them as they are
    return EscapingWriter(
        buffered, encoding=stream.encoding, errors="sidelab", line_buffering=raw.isatty(), keep_bytes=keep_bytes
    )


def discard() -> None:
    """Send what is still to be written to standard output nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def flushed(status: int) -> int:
    """Write out what is left for standard output, and return the exit status: `status`, or what failed just now."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # its reader has had enough
        discard()
    except OutputError as error:
        discard()
        sys.stderr.write(f"sidelab: {error}\n")
        return status or error.exit_status
    return status


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks; the bytes of a file's name that are no text stay the bytes that they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    if "\udc80" <= sign <= "\udcff":  # see PEP 383
        return bytes([ord(sign) - 0xDC00]), error.start + 1
    return _PLAIN.get(sign, "?"), error.start + 1
