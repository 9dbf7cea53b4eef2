"""Verbs that show and remove the objects of a running lab, as kubectl does."""

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from sidelab.cli.command import JSON, LAB, Argument, Given, Verb, print_json, print_table, reader_may_leave
from sidelab.lab.errors import InputError

_NAMES = ("Namespace", "ServiceAccount")
_FORMATS = ("yaml", "json", "name", "wide")
_GET_EXAMPLE = "sidelab get services -o yaml"
_DELETE_EXAMPLE = "sidelab delete service nginx"


def get(given: Given) -> None:
    """Show a lab's objects, as kubectl does: Services, pods and others, one of them, or all."""
    from sidelab.lab.client.lab import find
    from sidelab.lab.client.object_requests import get as tables_of

    wanted = _wanted(given.objects)
    if given.all_namespaces and any(name is not None for _, name in wanted):
        raise InputError("get: an object can't be had by name from all namespaces: say which with -n NAMESPACE")
    form = "json" if given.json else given.output
    namespace = None if given.all_namespaces else given.namespace
    with find(given.lab) as found:
        tables = tables_of(found, wanted, namespace, wide=form == "wide", values=form in ("yaml", "json"))
    with reader_may_leave():
        if form in ("yaml", "json"):
            one = len(wanted) == 1 and wanted[0][1] is not None
            _print_values([row["value"] for table in tables for row in table["rows"]], form, one=one)
        elif form == "name":
            sys.stdout.writelines(f"{row['reference']}\n" for table in tables for row in table["rows"])
        else:
            _print_tables(tables, several=len({kind for kind, _ in wanted}) != 1, spaces=given.all_namespaces)
    if not tables and form not in ("yaml", "json"):
        where = "" if namespace is None else f" in {namespace} namespace"
        sys.stderr.write(f"No resources found{where}.\n")


def _print_values(values: list[dict[str, Any]], form: str, *, one: bool) -> None:
    """Print objects: in JSON a single one as it is and several as a List; in YAML a document each."""
    if form == "json":
        print_json(values[0] if one else {"apiVersion": "v1", "kind": "List", "items": values})
        return
    from sidelab.lab.manifest.yaml.yaml_text import write_documents

    sys.stdout.write(write_documents(values or [{"apiVersion": "v1", "kind": "List", "items": []}]))


def _print_tables(tables: list[dict[str, Any]], *, several: bool, spaces: bool) -> None:
    """Print a table for each kind; if there may be `several` kinds, names are prefixed with theirs."""
    for number, table in enumerate(tables):
        sys.stdout.write("\n" if number else "")
        headings = (*(("NAMESPACE",) if spaces else ()), "NAME", *table["headings"])
        rows = []
        for row in table["rows"]:
            space = (row["namespace"] if table["namespaced"] else "",) if spaces else ()
            rows.append((*space, row["reference"] if several else row["name"], *row["cells"]))
        print_table(headings, rows)


def delete(given: Given) -> None:
    """Remove objects from a running lab, such as Services; its pods stay."""
    from sidelab.lab.client.lab import find
    from sidelab.lab.client.object_requests import delete as removed

    objects = [(kind, given.namespace, _named(kind, name)) for kind, name in _wanted(given.objects)]
    if given.filename:
        from sidelab.cli.registered_kinds import known
        from sidelab.lab.manifest import load, title

        manifest = load(given.filename, known().types).expanded()
        for each in reversed(manifest.objects):
            if each.kind in _NAMES:
                sys.stderr.write(f"note: {title(each)}: it is only a name here, and there is nothing to remove\n")
            else:
                objects.append((each.kind, each.namespace, each.name))
    if not objects:
        raise InputError(f"delete: say what, as in `{_DELETE_EXAMPLE}`, or give a manifest with -f")
    with find(given.lab) as found:
        outcomes = removed(found, objects, ignore_not_found=given.ignore_not_found)
    with reader_may_leave():
        for reference, outcome in outcomes:
            kind, _, name = reference.partition("/")
            sys.stdout.write(f'{kind} "{name}" {outcome}\n')


def _named(kind: str, name: str | None) -> str:
    if name is None:
        raise InputError(f"delete: {kind}: a name is missing: as in `{_DELETE_EXAMPLE}`")
    return name


def _wanted(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Parse `KIND[,KIND] [NAME…]` or `KIND/NAME…` into pairs of a kind's word and a name, or None for all."""
    if not words or words[0] == "all":
        if len(words) > 1:
            raise InputError(f"{words[1]!r}: an object's name says nothing about all kinds: give its kind")
        return []
    if any("/" in word for word in words):
        return list(_pairs(words))
    kinds = [kind for kind in words[0].split(",") if kind]
    names = words[1:] or (None,)
    return [(kind, name) for kind in kinds for name in dict.fromkeys(names)]


def _pairs(words: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    for word in words:
        kind, _, name = word.partition("/")
        if not kind or not name or "/" in name:
            raise InputError(f"{word!r}: give either a KIND and its NAMEs, or KIND/NAME each time")
        yield kind, name


_OBJECTS = Argument("objects", nargs="*", metavar="OBJECT", help="KIND, KIND NAME …, or KIND/NAME …, as in svc/nginx")
_NAMESPACE = Argument(
    "--namespace", "-n", default="default", metavar="NAMESPACE", help="where the objects are (default: default)"
)

VERBS = (
    Verb(
        "get",
        get,
        _GET_EXAMPLE,
        (
            _OBJECTS,
            LAB,
            _NAMESPACE,
            Argument("--all-namespaces", "-A", action="store_true", help="objects of all namespaces"),
            Argument(
                "--output",
                "-o",
                choices=_FORMATS,
                metavar="FORMAT",
                help="yaml, which `apply` reads; json, name or wide",
            ),
            JSON,
        ),
    ),
    Verb(
        "delete",
        delete,
        _DELETE_EXAMPLE,
        (
            _OBJECTS,
            LAB,
            _NAMESPACE,
            Argument(
                "--filename", "-f", action="append", default=[], metavar="MANIFEST", help="remove what a YAML file has"
            ),
            Argument("--ignore-not-found", action="store_true", help="what is not there is no mistake"),
        ),
    ),
)
