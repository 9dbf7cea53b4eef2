"""What `sidelab status` shows of a running lab, as plain values; only reads."""

from collections.abc import Mapping
from typing import Any

from sidelab.lab.base.incidents import Incidents
from sidelab.lab.cluster.live import Cluster
from sidelab.lab.cluster.state import PublishedService
from sidelab.lab.keys import PodKey
from sidelab.lab.runtime.live_pod import LiveContainer, LivePod
from sidelab.lab.runtime.supervision.order import Order


def status(order: Order, pods: Mapping[PodKey, LivePod], cluster: Cluster, incidents: Incidents) -> dict[str, Any]:
    """Return name, pods, Services and caveats of a lab, as plain values."""
    return {
        "name": order.name,
        "pods": [_pod_status(pod, cluster.generation(key)) for key, pod in pods.items()],
        "services": [_service_status(service) for service in cluster.services],
        "caveats": [
            *order.blueprint.caveats,
            *cluster.caveats,
            *incidents.texts,
        ],
    }


def shown_of(pod: LivePod) -> dict[str, str]:
    """Return what the columns of `sidelab get pods` show of a pod."""
    ready = f"{sum(each.ready for each in pod.containers)}/{len(pod.containers)}"
    restarts = str(sum(each.restarts for each in pod.containers))
    address = pod.plan.address
    return {
        "ready": ready,
        "phase": pod.phase,
        "restarts": restarts,
        "ipv4": address.ipv4,
        "ipv6": address.ipv6,
    }


def _service_status(service: PublishedService) -> dict[str, Any]:
    return {
        "namespace": service.namespace,
        "name": service.name,
        "ipv4": service.ipv4,
        "ipv6": service.ipv6,
        "ports": [
            {"name": port.name, "port": port.port, "protocol": port.protocol, "app_protocol": port.app_protocol}
            for port in service.ports
        ],
        "endpoints": [
            {"pod": "/".join(each.pod), "ready": each.ready, "targets": list(each.targets)}
            for each in service.endpoints
        ],
    }


def _pod_status(pod: LivePod, generation: int) -> dict[str, Any]:
    address = pod.plan.address
    return {
        "namespace": pod.plan.key[0],
        "name": pod.plan.key[1],
        "phase": pod.phase,
        "ready": pod.ready,
        "reason": pod.reason,
        "ipv4": address.ipv4,
        "ipv6": address.ipv6,
        "generation": generation,
        "init_containers": [_container_status(each) for each in pod.init],
        "containers": [_container_status(each) for each in pod.containers],
    }


def _container_status(container: LiveContainer) -> dict[str, Any]:
    return {
        "name": container.plan.name,
        "image": container.plan.image,
        "state": container.state,
        "started": container.started,
        "ready": container.ready,
        "restarts": container.restarts,
        "pid": container.pid,
        "exit_status": container.exit_status,
        "reason": container.reason,
        "last_exit_status": container.last_exit_status,
        "last_reason": container.last_reason,
    }
