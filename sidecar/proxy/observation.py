"""Everything that a proxy counts and logs: plain counters, Istio's metrics, the access log."""

import sys
from typing import TYPE_CHECKING

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.io.logwriter import LogWriter
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.stats.accesslog import access_log
from sidelab.sidecar.proxy.stats.prometheus import MetricFamily
from sidelab.sidecar.proxy.stats.proxy_counters import CounterRegistry
from sidelab.sidecar.proxy.stats.stats import Stat
from sidelab.sidecar.proxy.stats.telemetry import Telemetry

if TYPE_CHECKING:
    from sidelab.sidecar.proxy.stats.outcome import Observer


class ProxyObservation:
    """The counters in `registry`, and an `observer` for the data path: None if `intent` wants no metrics or log."""

    def __init__(self, loop: ProxyLoop, intent: Intent) -> None:
        self.registry = CounterRegistry()
        self.observer: Observer | None = None
        self._loop = loop
        self._telemetry = Telemetry(intent.workload)
        self._log: LogWriter | None = None
        self.follow(intent)

    def follow(self, intent: Intent) -> None:
        """Observe what `intent` asks for from now on."""
        if intent.access_log and self._log is None:
            self._log = LogWriter(self._loop, sys.stdout.fileno())
        self._telemetry.log_to(access_log(intent.access_log, self._log.write if self._log is not None else _nothing))
        self.observer = self._telemetry if intent.metrics or intent.access_log else None

    def stats(self) -> list[Stat]:
        """Return every counter and gauge."""
        log = self._log.stats() if self._log is not None else []
        return [*self.registry, *self._telemetry.stats(), *log]

    def families(self) -> list[MetricFamily]:
        """Return Istio's metrics."""
        return self._telemetry.families()

    def reset(self) -> None:
        """Set all counters to zero."""
        self.registry.reset()
        self._telemetry.reset()

    def close(self) -> None:
        """Write the rest of the access log."""
        if self._log is not None:
            self._log.close()


def _nothing(_line: bytes) -> None:
    """Drop the line."""
