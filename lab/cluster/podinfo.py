"""What a pod can read about itself, as Kubernetes' downward API puts it into a volume: labels and annotations.

Written like `state`'s file: anew whenever they change, complete, by rename. Values only.
"""

from collections.abc import Mapping

import msgspec

PODINFO = "/run/podinfo/pod.json"
"""Where a pod finds the file, read-only."""


class PodInfo(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A pod's own metadata and addresses."""

    namespace: str
    name: str
    service_account: str
    ipv4: str
    ipv6: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
