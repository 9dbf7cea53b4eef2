"""Text from elsewhere: whatever it holds, a terminal and a CI system obey none of it."""

import io
import json
import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidelab.lab.base.text import escapes
from sidelab.lab.base.text.escaping_stream import EscapingWriter, LogText, styled, write_command

# Every code point, lone surrogates too, and more often those that matter.
_SIGNS = st.one_of(st.characters(), st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp", "Zs"]))
_HOSTILE = ["\x1b]52;c;Y3VybA==\x07", "\x9b2J", "::error::x", "  ::set-output name=a::b", "##[error]x", "##vso[task.x]"]
_PIECES = st.one_of(_SIGNS, st.sampled_from([*_HOSTILE, "\r", "\n", ":", "#", "[", "\t", "\u202e", "\udcc2\udc9b"]))
TEXTS = st.lists(_PIECES, max_size=12).map("".join)


def dangerous(text: str) -> list[str]:
    """Return the signs of `text` that a terminal obeys, or that hide or reorder what stands around them."""
    return [
        sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Cs", "Zl", "Zp") and sign not in "\n\t"
    ]


def obeyed(text: str) -> list[str]:
    """Return the lines of `text` that a CI system takes for a command, as GitHub's runner and others read them."""
    lines = text.replace("\r", "\n").split("\n")
    return [line for line in lines if line.strip().startswith("::") or any(f"##{k}[" in line for k in ("", "vso"))]


def shown(*texts: str, keep_bytes: bool = False) -> str:
    """Return what a stream has written of these texts."""
    raw = io.BytesIO()
    stream = EscapingWriter(raw, encoding="utf-8", errors="surrogateescape", write_through=True, keep_bytes=keep_bytes)
    for text in texts:
        stream.write(text)
    return raw.getvalue().decode("utf-8", "surrogateescape")


@given(TEXTS)
def test_no_text_has_a_terminal_do_anything(text: str):
    """What is left is printable, a blank, a line feed or a tab; and printable text is as it was."""
    found = escapes.visible(text)
    assert [] == dangerous(found)
    assert not text.isprintable() or found == text
    assert found == escapes.visible(found)


@given(st.lists(TEXTS, max_size=5))
@example([":", ":error::x"])
@example(["  ", "::error::x"])
@example(["a\n", "\t", "::error::x"])
@example(["\r::error::x"])
@example(["a\u2028::error::x\x85::error::y"])
def test_no_text_commands_a_ci_system(texts: list[str]):
    """However it is cut into writes."""
    written = shown(*texts)
    assert ([], []) == (dangerous(written), [line for line in obeyed(written) if line.strip().startswith("::")])
    assert [] == obeyed(shown("".join(texts)))


@given(TEXTS)
def test_a_line_stays_one(text: str):
    """For a table's cell."""
    assert not set("\n\t\r") & set(escapes.line(text))


@given(st.recursive(TEXTS | st.integers(), lambda each: st.lists(each) | st.dictionaries(TEXTS, each), max_leaves=5))
def test_json_means_what_it_meant(value: object):
    """Escaped as JSON escapes, and nothing in it is obeyed."""
    for ascii_ in (True, False):
        text = json.dumps(value, indent=2, ensure_ascii=ascii_)
        found = escapes.json(text)
        assert json.loads(json.dumps(value)) == json.loads(found)
        assert ([], []) == (dangerous(found), obeyed(found))
        assert found == shown(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain é 漢 µs\n\ttab", "plain é 漢 µs\n\ttab"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\x9bb\x7fc\rd\x00", "a\\x9bb\\x7fc\\x0dd\\x00"),
        ("user\u202etxt.exe", "user\\u202etxt.exe"),
        ("\U000e0041", "\\U000e0041"),
        ("\udcff", "\\xff"),
        ("\udcc2\udc9b\udcc3\udca9", "\\x9bé"),
        ("a\u00a0b\u3000c", "a\u00a0b\u3000c"),
    ],
)
def test_escapes_are_pythons(text: str, expected: str):
    """Controls, what hides or reorders, and bytes that are no text; letters and blanks of any script stay."""
    assert expected == escapes.visible(text)


def test_a_files_name_stays_bytes_where_a_program_reads_it():
    """What is no text stays as it is; what would be a control character after all is escaped."""
    assert "run-\udcff \\x9b" == shown("run-\udcff \udcc2\udc9b", keep_bytes=True)


def test_what_is_ours_is_written_as_it_is():
    """Colours by `styled`, whose lines are no commands; commands by `write_command`."""
    raw = io.BytesIO()
    stream = EscapingWriter(raw, encoding="utf-8", write_through=True)
    styled(stream).write("\r\x1b[1mbold\x1b[0m\n::error::x\n")
    write_command(stream, "::warning::y\n")
    assert b"\r\x1b[1mbold\x1b[0m\n\\x3a:error::x\n::warning::y\n" == raw.getvalue()
    assert styled(plain := io.StringIO()) is plain


def logged(*pieces: bytes) -> str:
    """Return what is shown of a log that comes in these pieces."""
    raw = io.BytesIO()
    log = LogText(EscapingWriter(raw, encoding="utf-8", write_through=True))
    for each in pieces:
        log.write(each)
    return raw.getvalue().decode()


def test_a_log_keeps_its_colours_and_nothing_else():
    """As `less -R` shows it: no title, no clipboard, no cursor; and colours end with it."""
    text = b"\x1b[1;31mred\x1b[0m \x1b]52;c;Zm9v\x07 \x1b[2J\x9b2J caf\xc3\xa9\n::error::x\n"
    expected = "\x1b[1;31mred\x1b[0m \\x1b]52;c;Zm9v\\x07 \\x1b[2J\\x9b2J café\n\\x3a:error::x\n\x1b[0m"
    assert expected == logged(text)
    assert "café" == logged(b"caf\xc3", b"\xa9")


@given(st.lists(st.binary(max_size=20)))
def test_no_log_has_a_terminal_do_anything(pieces: list[bytes]):
    """Whatever its bytes are, and however they are cut."""
    assert [] == dangerous(re.sub(r"\x1b\[[0-9;:]*m", "", logged(*pieces)))
