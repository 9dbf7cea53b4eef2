"""What a pod's annotations decide about its injection, as one value that is valid once it exists. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidelab.lab.errors import InputError
from sidelab.sidecar import istio_ports
from sidelab.sidecar.config import annotations as table
from sidelab.sidecar.config.proxy_annotations import MODE, PROXY
from sidelab.sidecar.config.proxyconfig import ProxyConfig


@dataclass(frozen=True)
class Choices:
    """What a pod's annotations decide about its sidecar, with Istio's defaults.

    `mode` is REDIRECT, TPROXY or NONE. `agent_port` is the port on which the agent answers, 0 if it does not. `proxied`
    is false for a pod with rules but no proxy.
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
        """Whether the application waits for the proxy; for a native sidecar it waits in any case."""
        return self.config.hold and not self.native


def read(where: str, annotations: Mapping[str, str]) -> Choices:
    """Check all annotations that concern a sidecar and return their values.

    `where` names their owner in messages, like `pod web`. Raises `InputError` naming the annotation that is wrong.
    """
    try:
        for each in filter(None, map(table.TABLE.get, annotations)):
            each.read(annotations)
        config = table.CONFIG.read(annotations)
        ports = (table.STATUS_PORT.given(annotations), config.status_port, istio_ports.AGENT)
        return Choices(
            mode=MODE.given(annotations) or config.mode or MODE.default,
            agent_port=next(port for port in ports if port is not None),
            rewrite=table.REWRITE.read(annotations),
            native=table.NATIVE.read(annotations),
            proxied=PROXY.read(annotations) != "none",
            merge_metrics=table.MERGE_METRICS.read(annotations),
            config=config,
        )
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
