import codecs

import pytest

from sidelab.lab.base.text.textfile import decoded
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import decode

TEXT = "a: é\r\n"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: c, image: nginx}]}\n"
MARK = "\ufeff"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
    ],
)
def test_a_users_text_is_read_whatever_marks_its_encoding(content: bytes):
    """As kubectl reads files; line ends stay as they are."""
    assert TEXT == decoded("f", content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"\xef\xbb\xbfa\xff", "f: byte 4 is not UTF-8; save the file as UTF-8 text"),
        (b"\xff\xfea", "f: byte 2 is not UTF-16; save the file as UTF-8 text"),
    ],
)
def test_what_is_no_text_is_named_with_its_place(content: bytes, problem: str):
    """File, byte and cure."""
    with pytest.raises(InputError) as caught:
        decoded("f", content)
    assert problem == str(caught.value)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("between", ["---\n", f"---\n{MARK}", f"{MARK}---\n", "---\n---\n"])
def test_a_manifest_may_be_marked_at_every_document(between: str, encoding: str, end: str):
    """As one has it who puts two files with marks behind each other."""
    text = f"{MARK}---\n{POD % 'a'}{between}{POD % 'b'}".replace("\n", end)
    content = text.removeprefix(MARK).encode(encoding) if encoding == "utf-16" else text.encode()
    assert ["a", "b"] == [each.name for each in decode([("f", content)]).pods]
