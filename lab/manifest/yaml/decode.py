"""Manifest files to a `Manifest`, or one message that says where the first mistake is and what to do about it."""

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sidelab.lab.base.text.textfile import decoded
from sidelab.lab.errors import InputError
from sidelab.lab.manifest.checks import FieldError, shown
from sidelab.lab.manifest.kinds import Namespace, Object, Service
from sidelab.lab.manifest.manifest import Manifest, title
from sidelab.lab.manifest.pod import Pod
from sidelab.lab.manifest.workload import Deployment, ServiceAccount
from sidelab.lab.manifest.yaml.classify import classify
from sidelab.lab.manifest.yaml.yaml_text import Document, read_documents

MAX_BYTES = 1_000_000

_INNER_MARK = re.compile("^(---[^\n]*\n)\ufeff|^\ufeff(?=---)", re.MULTILINE)
"""A byte order mark where a document begins: somebody has put two files with marks one behind the other."""

Kinds = Mapping[tuple[str, str], type[Object]]

_KINDS: Kinds = {
    ("v1", "Pod"): Pod,
    ("apps/v1", "Deployment"): Deployment,
    ("v1", "Service"): Service,
    ("v1", "Namespace"): Namespace,
    ("v1", "ServiceAccount"): ServiceAccount,
}


def load(paths: Sequence[str | Path], kinds: Kinds | None = None) -> Manifest:
    """Return the manifest in the files `paths`; "-" is standard input. See `decode`."""
    if not paths:
        raise InputError("no manifest given: name at least one file, or - for standard input")
    return decode([(str(path), _read(str(path))) for path in paths], kinds)


def decode(texts: Sequence[tuple[str, str | bytes]], kinds: Kinds | None = None) -> Manifest:
    """Return the manifest in `texts`, pairs of a name for messages and YAML.

    `kinds` are kinds beyond those known here, by (apiVersion, kind); their objects become `Manifest.others`.
    Raises `InputError` for the first thing that is wrong, with file, document, object, field and cure.
    """
    known = {**(kinds or {}), **_KINDS}
    caveats: list[str] = []
    objects: dict[tuple[str, str, str], Object] = {}
    origins: dict[tuple[str, str, str], str] = {}
    for name, content in texts:
        for place, raw in _objects(name, content):
            value = _object(place, raw, known, partial(_append, caveats, name))
            if value.identity in objects:
                raise InputError(
                    f"{place}: {title(value)} is in {origins[value.identity]} already: "
                    "change the name or the namespace of one"
                )
            objects[value.identity] = value
            origins[value.identity] = place
    return Manifest.of(objects.values(), tuple(caveats))


def _append(caveats: list[str], name: str, text: str) -> None:
    caveats.append(f"{name}: {text}")


def _read(path: str) -> bytes:
    """Return a file's bytes: one more than allowed at most, so that a huge file is never in memory."""
    if path == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path}: it can't be read: {reason}; name a manifest file, or - for standard input") from None


def _objects(name: str, content: str | bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the objects of a file as plain values, each with its place for messages; a List gives its items."""
    empty = True
    for number, line, value in _documents(name, content):
        empty = False
        place = f"{name}: document {number} (line {line})"
        if not isinstance(value, dict):
            raise InputError(f"{place}: {shown(value)} is no object; begin with `apiVersion:` and `kind:`")
        if value.get("kind") != "List" or value.get("apiVersion") != "v1":
            yield place, value
            continue
        items = value.get("items")
        if not isinstance(items, list):
            raise InputError(f"{place}: List: items: it must be a list of objects; write `items: [...]`")
        for index, item in enumerate(items):
            if not isinstance(item, dict) or item.get("kind") == "List":
                raise InputError(f"{place}: List: items[{index}]: {shown(item)} is no object; write a Pod, for example")
            yield f"{place}: items[{index}]", item
    if empty:
        raise InputError(f"{name}: it holds no object: write at least one Pod, like examples/nginx.yaml")


def _documents(name: str, content: str | bytes) -> Iterator[Document]:
    if len(content) > MAX_BYTES:
        raise InputError(f"{name}: it is larger than {MAX_BYTES // 1000} kB; split it into several files")
    text = decoded(name, content) if isinstance(content, bytes) else content
    return read_documents(name, _INNER_MARK.sub(r"\1", text))


def _object(place: str, raw: dict[str, Any], kinds: Kinds, caveat: Callable[[str], None]) -> Object:
    version, kind = raw.get("apiVersion"), raw.get("kind")
    type_ = kinds.get((version, kind)) if isinstance(version, str) and isinstance(kind, str) else None
    if type_ is None:
        raise InputError(f"{place}: {_unknown_kind(version, kind, kinds)}")
    name = _title(raw)
    try:
        classify(raw, type_, lambda path, reason: caveat(f"{name}: {path} has no effect here: {reason}"))
        return msgspec.convert(raw, type_)
    except FieldError as error:
        raise InputError(f"{place}: {name}: {error}") from None
    except msgspec.ValidationError as error:
        raise InputError(f"{place}: {name}: {_conversion_message(raw, error)}") from None


def _unknown_kind(version: object, kind: object, kinds: Kinds) -> str:
    known = ", ".join(f"{kind} ({version})" for version, kind in kinds)
    for field, value in (("apiVersion", version), ("kind", kind)):
        if not isinstance(value, str):
            problem = "it is missing" if value is None else f"{shown(value)} is not text"
            return f"{field}: {problem}; accepted: {known}"
    versions = [each for each, name in kinds if name == kind]
    if versions:
        return f"apiVersion: {shown(version)} has no {kind}; write {' or '.join(versions)}"
    return f"kind: {shown(kind)} of {shown(version)} is not accepted; accepted: {known}"


def _title(raw: Mapping[str, Any]) -> str:
    """Return kind, namespace and name of what may not be valid yet."""
    metadata = raw.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    name, namespace = metadata.get("name"), metadata.get("namespace") or "default"
    if not isinstance(name, str) or not isinstance(namespace, str):
        return f"{raw['kind']} without a name"
    return f"{raw['kind']} {namespace:.63}/{name:.253}" if f"{namespace}{name}".isprintable() else f"{raw['kind']}"


_LOCATED = re.compile(r"(?P<problem>.*) - at `\$\.?(?P<path>.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_EXPECTED = re.compile(r"Expected `(.*)`, got `(.*)`")
_STEP = re.compile(r"\[(\d+|\.\.\.)\]|([^.\[\]]+)")
_TYPES = {
    "array": "a list; begin each item with `- `",
    "bool": "true or false, without quotes",
    "int": "a whole number, without quotes",
    "int | str": "a whole number, or a name in quotes",
    "object": "fields; write `name: value` lines, indented",
    "str": "text; put it in quotes",
}


def _conversion_message(raw: object, error: msgspec.ValidationError) -> str:
    """Return msgspec's complaint as path, problem and cure."""
    located = _LOCATED.fullmatch(str(error))
    path = located["path"] if located else ""
    cause = error.__cause__
    if isinstance(cause, FieldError):
        return str(FieldError(".".join(filter(None, (path, cause.field))), cause.problem))
    problem = located["problem"] if located else str(error)
    if missing := _MISSING.fullmatch(problem):
        return f"{'.'.join(filter(None, (path, missing[1])))}: it is missing; write it"
    if expected := _EXPECTED.fullmatch(problem):
        wanted = expected[1].removesuffix(" | null")
        path, value = _follow(raw, path)
        return f"{path}: {_yaml(value)} is not {_TYPES.get(wanted, wanted)}"
    return f"{path}: {problem}"


def _follow(value: Any, path: str) -> tuple[str, Any]:
    """Return the value at msgspec's `path`, and the path as in the file; `[...]` is any key of a text mapping."""
    steps = []
    for index, name in _STEP.findall(path):
        if index == "...":
            key = next(key for key, each in value.items() if not isinstance(each, str))
            steps.append(f"[{shown(key)}]")
        else:
            key = name or int(index)
            steps.append(f".{name}" if name else f"[{index}]")
        value = value[key]
    return "".join(steps).removeprefix("."), value


def _yaml(value: object) -> str:
    """Return a value as YAML means it, which may not be how it was written: `yes` is true."""
    if isinstance(value, bool):
        return str(value).lower()
    return "nothing" if value is None else shown(value)
