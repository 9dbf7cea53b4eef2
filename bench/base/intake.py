"""Read files that may come from others, with limits: those of a run and, as TOML, plans and budgets.

CI reads the results of pull requests. So a file must be regular and not a symbolic link (messages quote the content,
and would reveal any file of ours); its size is limited, and that of compressed data before it is inflated.
"""

import json
import math
import os
import stat
import tomllib
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from sidelab.lab.base.text import escapes
from sidelab.lab.base.text.textfile import decoded
from sidelab.lab.errors import InputError

MAX_JSON_BYTES: Final = 4 << 20
MAX_TOML_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 64
_MAX_TEXT: Final = 4000
_CHUNK: Final = 1 << 16
_RESTORE: Final = "restore the file as it was written"


class GzipMember(NamedTuple):
    """A whole member of a gzip file: its content, and where the next one begins."""

    content: bytes
    end: int


def content(path: Path, most_bytes: int, cure: str) -> bytes:
    """Return the content of a file; raises `InputError`, with `cure` if it can't be opened."""
    try:
        # Without waiting for the other end of a FIFO, which is then refused.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise InputError(f"{path} is a symbolic link: put the file itself in its place") from None
        raise InputError(f"cannot read {path}: {error.strerror}; {cure}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{path} is not a regular file; {cure}")
    with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor
        try:
            data = file.read(most_bytes + 1)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; {cure}") from None
    if len(data) > most_bytes:
        raise InputError(f"{path} is larger than {most_bytes:,} bytes, the most that such a file has; {_RESTORE}")
    return data


def members(path: Path, data: bytes, most_bytes: int) -> Iterator[GzipMember]:
    """Yield the gzip members of `data` up to the first that is not whole; in pieces, at a cost linear in the size.

    Raises `InputError` that names `path` if they hold more than `most_bytes` in all.
    """
    start = 0
    while start < len(data):
        inflate = zlib.decompressobj(wbits=31)  # 31: exactly one gzip member, its checksum verified
        pieces = []
        position = start
        try:
            while not inflate.eof and position < len(data):
                pieces.append(inflate.decompress(data[position : position + _CHUNK], most_bytes + 1))
                position += _CHUNK
                most_bytes -= len(pieces[-1])
                if most_bytes < 0:
                    raise InputError(f"{path} holds more than its plan can have recorded; {_RESTORE}")
        except zlib.error:
            return
        if not inflate.eof:
            return
        start = min(position, len(data)) - len(inflate.unused_data)
        yield GzipMember(b"".join(pieces), start)


def json_object(path: Path, cure: str) -> dict[str, Any]:
    """Read a JSON object and escape its strings for display, each in one line; raises `InputError`."""
    data = content(path, MAX_JSON_BYTES, cure)
    try:
        value = json.loads(data, parse_constant=_refused, parse_float=_finite, object_pairs_hook=_unique)
        found = _shown(value, 0)
    except RecursionError:
        raise InputError(f"{path} is nested deeper than {_MAX_DEPTH} levels; {_RESTORE}") from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON that a run writes: {error}; {_RESTORE}") from None
    return found if isinstance(found, dict) else {}


def toml(what: str, path: Path) -> dict[str, Any]:
    """Read a TOML file that a user named; raises `FileNotFoundError`, and `InputError` that calls the file `what`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_TOML_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {what} {path}: {error.strerror}; give a readable TOML file") from None
    if len(data) > MAX_TOML_BYTES:
        raise InputError(f"{what} {path} is larger than {MAX_TOML_BYTES:,} bytes: give the TOML file that you mean")
    try:
        return tomllib.loads(decoded(f"{what} {path}", data))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{what} {path} is not valid TOML: {error}; correct that line") from None
    except (RecursionError, ValueError) as error:
        said = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{what} {path} can't be read: {said}; write it plainly") from None


def _shown(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(key): _shown(each, depth + 1) for key, each in value.items()}
    return [_shown(each, depth + 1) for each in value] if isinstance(value, list) else value


def _text(value: str) -> str:
    if len(value) > _MAX_TEXT:
        raise ValueError(f"a text of {len(value):,} characters, of which {_MAX_TEXT:,} are the most: {value!r:.40}…")
    return escapes.line(value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        ((key, _),) = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {key!r:.80} is there twice")
    return found


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text:.40} is no number that can be reckoned with")
    return value


def _refused(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a number")
