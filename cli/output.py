"""Standard output and standard error in any state: in any encoding, closed, full, or without a reader.

A stream that can't write must not cost a verdict: characters that its encoding lacks are replaced, standard error
drops what nobody reads, and standard output fails with one of two exceptions, `BrokenPipeError` or `OutputError`.

Everything written to them is escaped (`lab.base.text.escapes`), because any of it may come from others. Our own text
that must not be escaped takes another way: see `lab.base.text.escaping_stream`.
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
"""Replacements for characters that we use and an encoding lacks; for all others it is a question mark."""


class OutputError(InputError):
    """Standard output can't be written to, for another reason than that its reader is gone."""


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
            while left and (written := super().write(left)):  # nothing written: it would block; the rest is lost
                left = left[written:]
        except OSError:
            pass  # there is nowhere to report it
        return len(data)


def open_standard() -> None:
    """Replace `sys.stdout` and `sys.stderr` by streams that behave as this module promises.

    Opens standard descriptors that we were started without: else the next socket would become some program's input.
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
            continue  # it was replaced on purpose
        if fd:
            setattr(sys, name, _tolerant(stream, _Output if fd == 1 else _Messages))


def _tolerant(stream: TextIO, kind: type[io.FileIO]) -> TextIO:
    raw = kind(stream.fileno(), "w", closefd=False)
    if issubclass(kind, _Messages):
        # Unbuffered: a signal that interrupts a write would leave the written text in the buffer, to be written again.
        return EscapingWriter(raw, encoding=stream.encoding, errors="sidelab", write_through=True)
    buffered = io.BufferedWriter(raw)
    keep_bytes = not raw.isatty()  # a program that reads paths needs them unchanged
    return EscapingWriter(
        buffered, encoding=stream.encoding, errors="sidelab", line_buffering=raw.isatty(), keep_bytes=keep_bytes
    )


def discard() -> None:
    """Discard what is still to be written to standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def flushed(status: int) -> int:
    """Flush standard output, and return the exit status: `status`, or that of a failure to flush."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # its reader has stopped reading
        discard()
    except OutputError as error:
        discard()
        sys.stderr.write(f"sidelab: {error}\n")
        return status or error.exit_status
    return status


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    """Replace what an encoding lacks; bytes of a file's name that are not text stay as they are."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    sign = error.object[error.start]
    if "\udc80" <= sign <= "\udcff":  # see PEP 383
        return bytes([ord(sign) - 0xDC00]), error.start + 1
    return _PLAIN.get(sign, "?"), error.start + 1
