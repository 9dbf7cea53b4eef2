"""What a pod can read about itself: labels and annotations, as Kubernetes' downward API has them, and objects.

Written like `state`'s file: anew whenever they change, complete, by rename. Values only.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

PODINFO = "/run/podinfo/pod.json"
"""Where a pod finds the file, read-only."""

OBJECTS = "/run/podinfo/objects.json"
"""Where a pod finds `PodObjects`, read-only; without the file there are none and never were."""


class PodInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pod's own metadata and addresses."""

    namespace: str
    name: str
    service_account: str
    ipv4: str
    ipv6: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]


class PodObjects(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The objects of registered kinds that concern a pod, as in a manifest: apiVersion, kind, metadata and the rest.

    They are in the order in which they came. `generation` is greater than in everything published before.
    """

    version: int = 1
    generation: int = 0
    objects: tuple[Mapping[str, Any], ...] = ()
