"""Netlink attributes, and descriptions of them that serve both directions: packing values and reading them back. Pure.

A description has a row for each attribute: its number, how its value is packed, and where that value comes from.
Source of the layout: Linux' include/uapi/linux/netlink.h (struct nlattr).
"""

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

HEADER = struct.Struct("=HH")  # length, type
NESTED = 0x8000  # NLA_F_NESTED
LIST_ELEMENT = 1  # NFTA_LIST_ELEM


class Kind(NamedTuple):
    """How a value becomes an attribute's content, and how it is read back.

    `read` raises `ValueError` for a content that no value has. The content of a `nested` kind is attributes again.
    """

    pack: Callable[[Any], bytes]
    read: Callable[[bytes], Any]
    nested: bool = False


class Attribute(NamedTuple):
    """A row of a description.

    `value` names a field of the described object, or is the number that the attribute always holds, or describes the
    attributes inside this one. An `optional` attribute is left out if its value is 0 or empty.
    """

    number: int
    kind: Kind
    value: "str | int | Description"
    optional: bool = False


Description = tuple[Attribute, ...]


def number(layout: str, meaning: Callable[[int], Any] = int) -> Kind:
    """Return the kind of numbers packed as struct's `layout`; `meaning` raises `ValueError` for those without one."""
    packer = struct.Struct(layout)

    def read(content: bytes) -> Any:
        if len(content) != packer.size:
            raise ValueError(f"{len(content)} bytes where {packer.size} are expected")
        return meaning(packer.unpack(content)[0])

    return Kind(packer.pack, read)


def text(value: str) -> bytes:
    """Return a name as the kernel reads it."""
    return value.encode() + b"\0"


def name(content: bytes) -> str:
    """Return a name as the kernel tells it."""
    return content.rstrip(b"\0").decode("utf-8", "replace")


U32 = number("!I")
I32 = number("!i")
U64 = number("!Q")
TEXT = Kind(text, name)
BYTES = Kind(bytes, bytes)
INSIDE = Kind(bytes, bytes, nested=True)


def many(pack_one: Callable[[Any], bytes], read_one: Callable[[bytes], Any]) -> Kind:
    """Return the kind of lists: `pack_one` makes a whole attribute of an element, `read_one` gets its content."""
    return Kind(
        lambda elements: b"".join(map(pack_one, elements)),
        lambda content: tuple(read_one(element) for _, _, element in attributes(content)),
        nested=True,
    )


def attribute(kind: int, content: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    size = len(content)
    return HEADER.pack(size + 4, kind) + content + b"\0\0\0"[: -size % 4]


def attributes(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield offset, number and content of each attribute in `data`."""
    offset = 0
    while offset + 4 <= len(data):
        length, kind = HEADER.unpack_from(data, offset)
        if length < 4:
            return
        yield offset, kind & ~NESTED, data[offset + 4 : offset + length]
        offset += length + -length % 4


def contents(data: bytes) -> dict[int, bytes]:
    """Return the content of each attribute in `data` by number."""
    return {kind: content for _, kind, content in attributes(data)}


_getter = lru_cache(maxsize=None)(attrgetter)  # names may be dotted


def pack(description: Description, thing: object) -> bytes:
    """Return the attributes of `thing`."""
    parts = []
    for kind, how, value, optional in description:
        if isinstance(value, tuple):
            content = pack(value, thing)
            if optional and not content:
                continue
        else:
            said = _getter(value)(thing) if isinstance(value, str) else value
            if optional and not said:
                continue
            content = how.pack(said)
        parts.append(attribute(kind | NESTED if how.nested else kind, content))
    return b"".join(parts)


def read(description: Description, data: bytes, *, strict: bool = False) -> dict[str, Any]:
    """Return the described fields that `data` holds, by name.

    Raises `ValueError` if an attribute is missing, has a content that it cannot have or, if `strict`, is not described.
    """
    found: dict[str, Any] = {}
    rest = contents(data)
    for kind, how, value, optional in description:
        content = rest.pop(kind, None)
        if content is None:
            if not optional:
                raise ValueError(f"attribute {kind} is missing")
        elif isinstance(value, tuple):
            found |= read(value, content, strict=strict)
        elif isinstance(value, str):
            told = how.read(content)
            if found.setdefault(value, told) != told:
                raise ValueError(f"attribute {kind} is not {found[value]}, as another one says")
        elif how.read(content) != value:
            raise ValueError(f"attribute {kind} is not {value}")
    if strict and any(rest.values()):  # empty ones are padding (nla_put_64bit)
        raise ValueError(f"attributes {sorted(rest)} are not described")
    return found
