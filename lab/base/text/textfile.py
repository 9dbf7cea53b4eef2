"""The text of a file that a user wrote, whatever their editor put in front: for manifests, plans and budgets.

kubectl reads UTF-8, with a byte order mark or without, and UTF-16 with one, as some Windows programs write
(k8s.io/cli-runtime pkg/resource, `FileVisitor`, by golang.org/x/text's `BOMOverride`). Here every such file is read so;
lines may end with CR LF, which YAML and TOML take as they are.
"""

import codecs

from sidelab.lab.errors import InputError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decoded(name: str, content: bytes) -> str:
    """Return the text in `content` without its mark; raises `InputError` that calls the file `name`."""
    encoding = "UTF-16" if content.startswith(_UTF16) else "UTF-8"
    try:
        return content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start} is not {encoding}; save the file as UTF-8 text") from None
