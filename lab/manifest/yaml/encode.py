"""A `Manifest` back to YAML: what `decode` reads as the same manifest, and what kubectl applies."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from msgspec import NODEFAULT
from msgspec.structs import fields as struct_fields

from sidelab.lab.manifest.kinds import Object, Part
from sidelab.lab.manifest.manifest import Manifest
from sidelab.lab.manifest.yaml.yaml_text import write_documents


def encode(manifest: Manifest) -> str:
    """Return `manifest` as YAML documents: what is referred to first, fields as in the model, no defaults."""
    return write_documents(plain(each) for each in manifest.objects)


def plain(value: Any) -> Any:
    """Return an object or a part of one as plain values, named as in a file, without defaults."""
    if isinstance(value, Part):
        return _fields(value)
    if isinstance(value, Mapping):
        return dict(value)
    return [plain(each) for each in value] if isinstance(value, tuple) else value


def _fields(part: Part) -> dict[str, Any]:
    out = {"apiVersion": part.api_version, "kind": part.kind} if isinstance(part, Object) else {}
    for name, encoded, default in _defaults(type(part)):
        value = getattr(part, name)
        if value != default:
            out[encoded] = plain(value)
    return {**out, **part.inert}


@cache
def _defaults(kind: type[Part]) -> tuple[tuple[str, str, Any], ...]:
    """Return the fields of a type: name here, name in a file, default."""
    return tuple(
        (each.name, each.encode_name, each.default if each.default_factory is NODEFAULT else each.default_factory())
        for each in struct_fields(kind)
        if each.name != "inert"
    )
