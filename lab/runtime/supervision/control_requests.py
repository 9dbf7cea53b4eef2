"""The requests of the control socket, as they are sent.

A request is JSON with its `verb`; some requests and some answers carry descriptors. Everything is bounded.
"""

from typing import Annotated, Any

import msgspec

from sidelab.lab.keys import PodKey
from sidelab.lab.manifest.object_table import AskedObjects

_MOST_NAMESPACES = 200  # what one message carries (SCM_MAX_FD)
_MOST_OBJECTS = 200_000
_Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]


class StatusRequest(msgspec.Struct, tag="status", tag_field="verb"):
    """Ask for pods, Services and caveats."""


class StopRequest(msgspec.Struct, tag="stop", tag_field="verb"):
    """Ask the lab to end."""


class ManifestRequest(msgspec.Struct, tag="manifest", tag_field="verb"):
    """Ask for a pod as a manifest."""

    pod: PodKey


class LogRequest(msgspec.Struct, tag="log", tag_field="verb"):
    """Ask for the log of a container, the pod's default one for None."""

    pod: PodKey
    container: str | None


class SocketRequest(msgspec.Struct, tag="socket", tag_field="verb"):
    """Ask for a socket opened in a pod, in the node for None."""

    pod: PodKey | None
    family: _Number
    type: _Number
    protocol: _Number


class NamespacesRequest(msgspec.Struct, tag="namespaces", tag_field="verb"):
    """Ask for the user namespace of pods and their network namespaces."""

    pods: Annotated[tuple[PodKey, ...], msgspec.Meta(max_length=_MOST_NAMESPACES)]


class ExecRequest(msgspec.Struct, tag="exec", tag_field="verb"):
    """Run a program in a pod, beside a container; its standard three come as descriptors."""

    pod: PodKey
    argv: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    container: str | None
    env: dict[str, str]
    terminal: bool


class ApplyRequest(msgspec.Struct, tag="apply", tag_field="verb"):
    """Bring what runs into the state that these objects describe, each a registered kind's plain value."""

    objects: Annotated[tuple[dict[str, Any], ...], msgspec.Meta(max_length=_MOST_OBJECTS)]
    live: tuple[str, ...]
    prune: bool


class DeleteRequest(msgspec.Struct, tag="delete", tag_field="verb"):
    """Remove objects, each by kind, namespace and name."""

    objects: Annotated[tuple[tuple[str, str, str], ...], msgspec.Meta(max_length=_MOST_OBJECTS)]
    ignore_not_found: bool


class GetRequest(AskedObjects, frozen=True, tag="get", tag_field="verb"):
    """Ask for objects, as a table or as values."""


Request = (
    StatusRequest
    | StopRequest
    | ManifestRequest
    | LogRequest
    | SocketRequest
    | NamespacesRequest
    | ExecRequest
    | ApplyRequest
    | DeleteRequest
    | GetRequest
)
