"""The files that pods read about their cluster and themselves: complete, replaced by renaming, readable by any uid."""

import os
from pathlib import Path

import msgspec

from lab.blueprint import PodPlan
from lab.cluster.podinfo import PODINFO, PodInfo
from lab.cluster.state import STATE, State
from lab.sandbox import RUN

CLUSTER_DIRECTORY = Path(RUN, "cluster")
STATE_FILE = CLUSTER_DIRECTORY / Path(STATE).name

_encode = msgspec.json.Encoder().encode


def publish_state(state: State) -> None:
    """Replace the file that describes the cluster."""
    _replace(STATE_FILE, _encode(state))


def publish_podinfo(plan: PodPlan) -> Path:
    """Replace the file in which a pod finds its own labels and annotations; return the directory that holds it."""
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
    directory = Path(RUN, "podinfo", *plan.key)
    _replace(directory / Path(PODINFO).name, _encode(info))
    return directory


def _replace(path: Path, data: bytes) -> None:
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
        path.parent.chmod(0o755)  # whatever the umask is
    new = path.with_name(f".{path.name}.new")
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "wb") as file:
        os.fchmod(fd, 0o644)
        file.write(data)
    new.replace(path)
