"""Annotations that concern a sidecar: how each is read, which are known, and what a pod's say about injection. Pure.

What concerns the proxy alone is read by `sidecar.config.compute`, which chooses, and checked here before anything is
started.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sidelab.lab.errors import InputError
from sidelab.sidecar import istio_ports
from sidelab.sidecar.config import compute, contract, injected_names, proxyconfig
from sidelab.sidecar.config.proxyconfig import ProxyConfig
from sidelab.sidecar.interception.options import values
from sidelab.sidecar.interception.options.options import PROFILES, QUIRKS, WAYS

Reader = Callable[[str, str], Any]

_QUANTITY = re.compile(r"\d+(?:\.\d*)?(?:m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?|\.\d+")
_VERSION = re.compile(r"\d+(?:\.\d+){1,3}")
_WORD = re.compile(r"[-\w:,.]+", re.ASCII)


def _one_of(*words: str) -> Reader:
    def read(name: str, text: str) -> str:
        if text not in words:
            raise InputError(f"{name}: {text!r} is not one of {', '.join(words)}")
        return text

    return read


def _matching(pattern: re.Pattern[str], accepted: str) -> Reader:
    def read(name: str, text: str) -> str:
        if not pattern.fullmatch(text):
            raise values.refuse(name, text, accepted)
        return text

    return read


def _numeric(low: int, high: int, what: str) -> Reader:
    def read(name: str, text: str) -> int:
        return values.number(name, text, low, high, what)

    return read


def _envoy(name: str, text: str) -> str:
    if not (text.startswith("/") or _VERSION.fullmatch(text)):
        raise values.refuse(name, text, "the absolute path of an Envoy, or the version of a wheel, such as 1.35.0")
    return text


_quantity = _matching(_QUANTITY, "a quantity such as 100m or 128Mi")
_level = _matching(_WORD, "log levels, such as warning or misc:error")

READERS: Mapping[str, Reader] = {
    injected_names.INJECT: _one_of("true", "false"),
    injected_names.MODE: _one_of("REDIRECT", "TPROXY", "NONE"),
    injected_names.REWRITE: values.boolean,
    injected_names.NATIVE: values.boolean,
    injected_names.PROXY_IMAGE: _matching(re.compile(r"[-\w./:@]+", re.ASCII), "an image name"),
    **dict.fromkeys(
        (
            injected_names.PROXY_CPU,
            injected_names.PROXY_MEMORY,
            injected_names.PROXY_CPU_LIMIT,
            injected_names.PROXY_MEMORY_LIMIT,
        ),
        _quantity,
    ),
    **dict.fromkeys(
        (injected_names.LOG_LEVEL, injected_names.COMPONENT_LOG_LEVEL, injected_names.AGENT_LOG_LEVEL), _level
    ),
    injected_names.STATUS_PORT: lambda name, text: values.number(name, text.strip(), 0, 65535, "a port, or 0 for none"),
    f"{injected_names.READINESS}initialDelaySeconds": _numeric(0, 2**31 - 1, "seconds"),
    f"{injected_names.READINESS}periodSeconds": _numeric(1, 2**31 - 1, "seconds"),
    f"{injected_names.READINESS}failureThreshold": _numeric(1, 2**31 - 1, "a number"),
    injected_names.MERGE_METRICS: values.boolean,
    # As Istio's injector checks them (pkg/kube/inject/validate.go): no item is empty, blanks may stand around ports.
    injected_names.INCLUDE_INBOUND_PORTS: values.all_or_complete(values.port),
    injected_names.EXCLUDE_INBOUND_PORTS: values.complete(values.port),
    injected_names.INCLUDE_RANGES: values.all_or_complete(values.cidr),
    injected_names.EXCLUDE_RANGES: values.complete(values.cidr),
    injected_names.INCLUDE_OUTBOUND_PORTS: values.complete(values.port),
    injected_names.EXCLUDE_OUTBOUND_PORTS: values.complete(values.port),
    injected_names.EXCLUDE_INTERFACES: values.many(values.interface),
    injected_names.VIRTUAL_INTERFACES: values.many(values.interface),
    injected_names.PROFILE: _one_of(*PROFILES),
    injected_names.RULES: _one_of(*WAYS),
    injected_names.QUIRKS: _one_of(*QUIRKS),
    injected_names.ENVOY: _envoy,
}
"""How the text of each annotation is read; those of the proxy are read by `compute.orders` and `contract.command`."""

KNOWN = frozenset(
    (
        *READERS,
        *(injected_names.STATUS, injected_names.CONFIG, injected_names.PROXY, injected_names.PROXY_ARGS),
        *(
            compute.PROTOCOL,
            compute.ACCESS_LOG,
            compute.OUTBOUND_POLICY,
            compute.DETECTION_TIMEOUT,
            compute.CONCURRENCY,
            compute.METRICS,
        ),
    )
)


@dataclass(frozen=True)
class Choices:
    """What a pod's annotations say about its sidecar, with Istio's defaults.

    `mode` is REDIRECT, TPROXY or NONE. `agent_port` is where the agent answers, 0 for nowhere. `proxied` is false for
    a pod that has the rules and no proxy.
    """

    mode: str
    agent_port: int
    rewrite: bool
    native: bool
    proxied: bool
    merge_metrics: bool
    config: ProxyConfig

    @property
    def hold(self) -> bool:
        """Whether the application waits for the proxy; a native sidecar is waited for anyway."""
        return self.config.hold and not self.native


def read(where: str, annotations: Mapping[str, str]) -> Choices:
    """Check all annotations that concern a sidecar and return what they say.

    `where` says whose they are, like `pod web`. Raises `InputError` naming the annotation that is wrong.
    """
    try:
        found = {name: READERS[name](name, text) for name, text in annotations.items() if name in READERS}
        config = proxyconfig.of(annotations)
    except InputError as error:
        raise InputError(f"{where}: annotation {error}") from None
    proxied = annotations.get(injected_names.PROXY) != "none"
    try:
        compute.orders(annotations)
        if proxied:
            contract.command(annotations)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    port = found.get(injected_names.STATUS_PORT, config.status_port)
    return Choices(
        mode=found.get(injected_names.MODE, config.mode or "REDIRECT"),
        agent_port=istio_ports.AGENT if port is None else port,
        rewrite=found.get(injected_names.REWRITE, True),
        native=found.get(injected_names.NATIVE, False),
        proxied=proxied,
        merge_metrics=found.get(injected_names.MERGE_METRICS, True),
        config=config,
    )


def port_list(annotations: Mapping[str, str], name: str) -> tuple[int, ...] | str:
    """Return the ports that one annotation names; "*" is for all of them."""
    ports: tuple[int, ...] | str = READERS[name](name, annotations.get(name, ""))
    return ports
