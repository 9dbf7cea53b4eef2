"""Prometheus' text exposition format, version 0.0.4: https://prometheus.io/docs/instrumenting/exposition_formats/.

Pure: values in, text out. Knows nothing about what is measured.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sidelab.sidecar.proxy.stats.buckets import cumulative

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MetricKind = Literal["counter", "gauge", "histogram"]

_NOT_IN_NAMES = re.compile("[^a-zA-Z0-9_:]")


@dataclass(frozen=True, slots=True)
class MetricSample:
    """A line: the suffix of the family's name (`_bucket`, usually empty), the labels, the value."""

    labels: Mapping[str, str]
    value: float
    suffix: str = ""


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """All samples of a metric, which the format requires to be together; `description` may be empty."""

    name: str
    kind: MetricKind
    description: str
    samples: Sequence[MetricSample]


def render(families: Iterable[MetricFamily]) -> str:
    """Return the page; each family may occur only once."""
    return "".join(_render(family) for family in families)


def name_of(text: str) -> str:
    """Return `text` as a metric's name: characters that are not allowed become `_`, as in Envoy."""
    name = _NOT_IN_NAMES.sub("_", text)
    return name if name and not name[0].isdigit() else "_" + name


def histogram(
    labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[int], total: float
) -> list[MetricSample]:
    """Return the samples of one histogram; `counts` as in `buckets`, `total` the sum of its values."""
    buckets = cumulative(bounds, counts)
    return [
        *(MetricSample({**labels, "le": bound}, count, "_bucket") for bound, count in buckets),
        MetricSample(labels, total, "_sum"),
        MetricSample(labels, buckets[-1][1], "_count"),
    ]


def _render(family: MetricFamily) -> str:
    description = family.description.replace("\\", "\\\\").replace("\n", "\\n")
    head = f"# HELP {family.name} {description}\n" if description else ""
    return f"{head}# TYPE {family.name} {family.kind}\n" + "".join(
        _line(family.name, sample) for sample in family.samples
    )


def _line(name: str, sample: MetricSample) -> str:
    labels = ",".join(f'{key}="{_escaped(value)}"' for key, value in sample.labels.items())
    return f"{name}{sample.suffix}{{{labels}}} {sample.value}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
