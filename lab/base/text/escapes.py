r"""Text from elsewhere, made safe to show: what a container, a server, another user or a file of results has said.

What a terminal would obey, or what hides or reorders the text around it, is shown as Python, YAML and `ls` write it:
`\x1b`, `\u202e`. What a CI system would obey at the beginning of a line is kept from being one.

GitHub's runner obeys a line that begins with `::`, blanks in front of it or not, and `##[` anywhere in a line
(actions/runner, src/Runner.Common/ActionCommand.cs); Azure Pipelines obeys `##vso[`, TeamCity `##teamcity[`.
"""

import re
import unicodedata
from typing import Final

_COMMAND: Final = re.compile(r"##(?=\[|vso\[|teamcity\[)", re.IGNORECASE)
_LINE_COMMAND: Final = re.compile(r"^([^\S\n]*):(?=:|\Z)", re.MULTILINE)
_BYTES: Final = re.compile("[\udc80-\udcff]+")
_KEPT: Final = "\n\t"


def visible(text: str, *, keep_bytes: bool = False) -> str:
    r"""Return `text` with all but printable characters, blanks, line feeds and tabs written as escapes.

    Bytes that were no text (PEP 383's lone surrogates) are `\xff`, or stay with `keep_bytes`: those of a file's name.
    """
    if text.isprintable():
        return text
    text = _BYTES.sub(_decoded, text)
    return "".join(sign if _harmless(sign) or (keep_bytes and _is_byte(sign)) else _escaped(sign) for sign in text)


def line(text: str) -> str:
    """Return `text` as `visible` does, in one line: line ends, tabs and rows of blanks are a blank each."""
    return visible(" ".join(text.split()))


def uncommanding(text: str, *, at_start: bool = True) -> str:
    r"""Return `text` without what a CI system obeys: `::` at the beginning of a line is `\x3a:`, `##[` is `\x23#[`.

    `at_start` says whether `text` begins a line.
    """
    if ":" not in text and "#" not in text:
        return text
    text = _COMMAND.sub(r"\\x23#", text)
    if at_start:
        return _LINE_COMMAND.sub(r"\1\\x3a", text)
    first, newline, rest = text.partition("\n")
    return first + newline + _LINE_COMMAND.sub(r"\1\\x3a", rest)


def json(text: str) -> str:
    """Return JSON text in which the same is escaped, as JSON does it: it means what it meant."""
    text = _COMMAND.sub(r"\\u0023#", text)
    if text.isprintable():
        return text
    return "".join(sign if _harmless(sign) else _json_escaped(sign) for sign in text)


def _decoded(found: re.Match[str]) -> str:
    """Return the characters that bytes are together: a terminal would take them for that, too."""
    return found[0].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def _is_byte(sign: str) -> bool:
    return "\udc80" <= sign <= "\udcff"


def _harmless(sign: str) -> bool:
    return sign.isprintable() or sign in _KEPT or unicodedata.category(sign) == "Zs"


def _escaped(sign: str) -> str:
    code = ord(sign) - 0xDC00 if _is_byte(sign) else ord(sign)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escaped(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
