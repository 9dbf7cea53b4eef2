"""The files that pods read about their cluster and themselves: complete, replaced by renaming, readable by any uid.

Writing and replacing are separate steps: what can fail for lack of space is done before anything is replaced.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from sidelab.lab.base.replace_file import Draft, link_draft, write_draft
from sidelab.lab.cluster.podinfo import OBJECTS, PODINFO, PodInfo
from sidelab.lab.cluster.state import STATE, State
from sidelab.lab.plan.blueprint import PodPlan
from sidelab.lab.sandbox.sandbox import RUN

CLUSTER_DIRECTORY = Path(RUN, "cluster")
STATE_FILE = CLUSTER_DIRECTORY / Path(STATE).name

_encode = msgspec.json.Encoder().encode


Written = Draft
"""A file that is complete but not yet in its place."""


def write_state(state: State) -> Written:
    """Write the file that describes the cluster. Raises `OSError`, and leaves nothing."""
    return _written(STATE_FILE, _encode(state))


def write_podinfo(plan: PodPlan) -> Written:
    """Write the file in which a pod finds its own labels and annotations. Raises what `write_state` raises."""
    pod = plan.source
    info = PodInfo(
        namespace=pod.namespace,
        name=pod.name,
        service_account=pod.spec.service_account_name,
        ipv4=plan.address.ipv4,
        ipv6=plan.address.ipv6,
        labels=pod.metadata.labels,
        annotations=pod.metadata.annotations,
    )
    return _written(Path(RUN, "podinfo", *plan.key, Path(PODINFO).name), _encode(info))


def write_objects(pod: tuple[str, str], generation: int, objects: Sequence[bytes]) -> Written:
    """Write the file in which a pod finds the objects that concern it, each JSON already. Raises as `write_state`."""
    data = b'{"version":1,"generation":%d,"objects":[%b]}' % (generation, b",".join(objects))
    return _written(_objects_file(pod), data)


def link_objects(pod: tuple[str, str], same: Path) -> Written:
    """Give a pod the file `same`, which another pod reads, too. Raises what `write_state` raises."""
    path = _objects_file(pod)
    path.parent.mkdir(0o755, parents=True, exist_ok=True)
    return link_draft(path, same)


def _objects_file(pod: tuple[str, str]) -> Path:
    return Path(RUN, "podinfo", *pod, Path(OBJECTS).name)


def put(files: Iterable[Written]) -> None:
    """Replace what was published by what was written."""
    for each in files:
        each.put()


def discard(files: Iterable[Written]) -> None:
    """Remove what was written but will not be published."""
    for each in files:
        each.discard()


def _written(path: Path, data: bytes) -> Written:
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)  # whatever the umask is
    return write_draft(path, data, mode=0o644)
