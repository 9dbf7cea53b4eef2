"""Istio's standard metrics: requests by service, their duration, and their sizes in bytes.

https://istio.io/latest/docs/reference/config/metrics/. Counting costs a look-up and a few additions; labels are made
when the metrics are read. Memory is bounded by the number of services in the intent times the number of status codes.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from operator import add, itemgetter
from typing import TypeVar

from sidelab.sidecar.config.intent import Workload
from sidelab.sidecar.proxy.stats.buckets import DURATIONS_MS, SIZES_BYTES, new_counts
from sidelab.sidecar.proxy.stats.outcome import RequestKey, TrafficOutcome
from sidelab.sidecar.proxy.stats.prometheus import MetricFamily, MetricSample, histogram

UNKNOWN = "unknown"
"""Istio's value for labels of a peer that are unknown without mutual TLS."""

Log = Callable[[TrafficOutcome], None]
"""Called with an outcome: an access log."""

_KNOWN_STATUSES = frozenset((0, *map(int, HTTPStatus)))
_MOST_ODD_STATUSES = 64
"""A server may send any status, each adding sixty lines to a page; beyond this, they are counted by class, like 700."""

_DURATIONS_US = tuple(int(bound * 1000) for bound in DURATIONS_MS)

_TCP_FAMILIES = {
    "istio_tcp_connections_opened_total": ("opened", "TCP connections that began."),
    "istio_tcp_connections_closed_total": ("closed", "TCP connections that ended."),
    "istio_tcp_sent_bytes_total": ("sent_bytes", "Bytes to clients, of TCP connections that ended."),
    "istio_tcp_received_bytes_total": ("received_bytes", "Bytes from clients, of TCP connections that ended."),
}


class _Requests:
    """The requests of one key."""

    __slots__ = ("duration_us", "durations", "received", "received_bytes", "sent", "sent_bytes")

    def __init__(self) -> None:
        self.durations = new_counts(DURATIONS_MS)
        self.received = new_counts(SIZES_BYTES)
        self.sent = new_counts(SIZES_BYTES)
        self.duration_us = self.received_bytes = self.sent_bytes = 0

    def add(self, other: "_Requests") -> None:
        self.durations = [*map(add, self.durations, other.durations)]
        self.received = [*map(add, self.received, other.received)]
        self.sent = [*map(add, self.sent, other.sent)]
        self.duration_us += other.duration_us
        self.received_bytes += other.received_bytes
        self.sent_bytes += other.sent_bytes


class _Connections:
    """The TCP connections of one key."""

    __slots__ = ("closed", "opened", "received_bytes", "sent_bytes")

    def __init__(self) -> None:
        self.opened = self.closed = self.received_bytes = self.sent_bytes = 0

    def add(self, other: "_Connections") -> None:
        self.opened += other.opened
        self.closed += other.closed
        self.received_bytes += other.received_bytes
        self.sent_bytes += other.sent_bytes


_Slot = TypeVar("_Slot", _Requests, _Connections)


class Telemetry:
    """An `Observer` that counts for the sidecar of `workload`, and passes whole outcomes to a log if there is one."""

    def __init__(self, workload: Workload, log: Log | None = None) -> None:
        self._workload = workload
        self._requests: dict[RequestKey, _Requests] = {}
        self._connections: dict[RequestKey, _Connections] = {}
        self._odd_statuses = 0
        self.log_to(log)

    def log_to(self, log: Log | None) -> None:
        """Pass outcomes to `log` (None: to none) from now on."""
        self.wants_outcomes = log is not None
        self._log = log

    def requested(self, key: RequestKey, duration_us: int, received_bytes: int, sent_bytes: int) -> None:
        """Count a request that ended; the bytes are those of bodies."""
        slot = self._requests.get(key)
        if slot is None:
            slot = self._requests.setdefault(self._bounded(key), _Requests())
        slot.durations[bisect_left(_DURATIONS_US, duration_us)] += 1
        slot.received[bisect_left(SIZES_BYTES, received_bytes)] += 1
        slot.sent[bisect_left(SIZES_BYTES, sent_bytes)] += 1
        slot.duration_us += duration_us
        slot.received_bytes += received_bytes
        slot.sent_bytes += sent_bytes

    def _bounded(self, key: RequestKey) -> RequestKey:
        """Return the key to count a request by: only a limited number of unknown statuses are counted separately."""
        if key[3] in _KNOWN_STATUSES:
            return key
        if self._odd_statuses < _MOST_ODD_STATUSES:
            self._odd_statuses += 1
            return key
        return (*key[:3], key[3] // 100 * 100, key[4])

    def connected(self, key: RequestKey) -> None:
        """Count a TCP connection that began."""
        self._connection(key).opened += 1

    def disconnected(self, key: RequestKey, received_bytes: int, sent_bytes: int) -> None:
        """Count a TCP connection that ended."""
        slot = self._connection(key)
        slot.closed += 1
        slot.received_bytes += received_bytes
        slot.sent_bytes += sent_bytes

    def observed(self, outcome: TrafficOutcome) -> None:
        """Pass the outcome to the log."""
        if self._log is not None:
            self._log(outcome)

    def reset(self) -> None:
        """Set everything to zero: totals are computed from histograms, so unlike Envoy this resets those too."""
        self._requests.clear()
        self._connections.clear()
        self._odd_statuses = 0

    def families(self) -> list[MetricFamily]:
        """Return the metrics that have values, sorted by name."""
        found = []
        requests = self._labelled(self._requests, "http", _Requests)
        if requests:
            found += _request_families(requests)
        connections = self._labelled(self._connections, "tcp", _Connections)
        if connections:
            found += [
                MetricFamily(
                    name, "counter", text, [MetricSample(labels, getattr(slot, field)) for labels, slot in connections]
                )
                for name, (field, text) in _TCP_FAMILIES.items()
            ]
        return sorted(found, key=lambda family: family.name)

    def stats(self) -> Iterator[tuple[str, int]]:
        """Yield the counters (not the histograms) under their names in Envoy's `/stats`."""
        for family in self.families():
            if family.kind == "counter":
                for sample in family.samples:
                    labels = ".".join(f"{key}.{value}" for key, value in sample.labels.items())
                    yield f"istiocustom.{family.name}.{labels}", int(sample.value)

    def _connection(self, key: RequestKey) -> _Connections:
        slot = self._connections.get(key)
        if slot is None:
            slot = self._connections[key] = _Connections()
        return slot

    def _labelled(
        self, slots: Mapping[RequestKey, _Slot], protocol: str, new: Callable[[], _Slot]
    ) -> list[tuple[dict[str, str], _Slot]]:
        """Return the sums by labels, sorted: several keys may have the same labels."""
        sums: dict[tuple[str, ...], tuple[dict[str, str], _Slot]] = {}
        for key, slot in sorted(slots.items(), key=itemgetter(0)):
            labels = self._labels(key, protocol)
            sums.setdefault(tuple(labels.values()), (labels, new()))[1].add(slot)
        return list(sums.values())

    def _labels(self, key: RequestKey, protocol: str) -> dict[str, str]:
        direction, service, pod, status, flags = key
        inbound = direction == "inbound"
        own = _own(self._workload)
        name, namespace, host = _service(service, "InboundPassthroughCluster" if inbound else "PassthroughCluster")
        source = _peer("", "") if inbound else own
        destination = own if inbound else _peer(pod, namespace)
        labels = {"reporter": "destination" if inbound else "source"}
        labels |= {f"source_{field}": value for field, value in source.items()}
        labels |= {f"destination_{field}": value for field, value in destination.items()}
        labels |= {
            "destination_service": host,
            "destination_service_name": name,
            "destination_service_namespace": namespace,
            "request_protocol": protocol,
        }
        if protocol == "http":
            labels["response_code"] = str(status)
        return labels | {
            "response_flags": flags,
            # Only the server's side knows that no policy applied: https://istio.io, "Istio Standard Metrics".
            "connection_security_policy": "none" if inbound else UNKNOWN,
        }


def _request_families(requests: list[tuple[dict[str, str], _Requests]]) -> list[MetricFamily]:
    durations, received, sent = [], [], []
    for labels, slot in requests:
        durations += histogram(labels, DURATIONS_MS, slot.durations, slot.duration_us / 1000)
        received += histogram(labels, SIZES_BYTES, slot.received, slot.received_bytes)
        sent += histogram(labels, SIZES_BYTES, slot.sent, slot.sent_bytes)
    totals = [MetricSample(labels, sum(slot.durations)) for labels, slot in requests]
    return [
        MetricFamily("istio_requests_total", "counter", "Requests that ended.", totals),
        MetricFamily(
            "istio_request_duration_milliseconds", "histogram", "From a request's head to its end, in ms.", durations
        ),
        MetricFamily("istio_request_bytes", "histogram", "Sizes of request bodies.", received),
        MetricFamily("istio_response_bytes", "histogram", "Sizes of response bodies.", sent),
    ]


def _own(workload: Workload) -> dict[str, str]:
    return {
        "workload": workload.pod,
        "workload_namespace": workload.namespace,
        "principal": UNKNOWN,
        "app": workload.app or UNKNOWN,
        "version": workload.version or UNKNOWN,
        "canonical_service": workload.app or workload.pod,
        "canonical_revision": workload.version or "latest",
    }


def _peer(pod: str, namespace: str) -> dict[str, str]:
    """Return the labels of the other side, of which at most the pod is known.

    `pod` is a name, in `namespace` unless it contains another (`kube-system/kube-dns`); "" if it is unknown.
    """
    namespace, _, pod = pod.rpartition("/") if "/" in pod else (namespace if pod else "", "", pod)
    return {
        "workload": pod or UNKNOWN,
        "workload_namespace": namespace or UNKNOWN,
        "principal": UNKNOWN,
        "app": UNKNOWN,
        "version": UNKNOWN,
        "canonical_service": pod or UNKNOWN,
        "canonical_revision": "latest",
    }


def _service(service: str, default: str) -> tuple[str, str, str]:
    """Return the name, namespace and host of a service; for traffic to no service, those of its cluster."""
    if "." not in service:
        return service or default, UNKNOWN, UNKNOWN
    name, namespace = service.split(".")[:2]
    return name, namespace, service
