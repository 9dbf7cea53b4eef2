"""The command line that starts Envoy. Pure."""

import json

from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.envoy.configuration.bootstrap import bootstrap

DRAIN_S = 45
"""How long connections of a replaced listener may go on; Istio's default."""


def command(
    intent: Intent, config_path: str | None = None, *, envoy: str = "envoy", ipv6: bool = True
) -> tuple[str, ...]:
    """Return the command line that runs `envoy` with the configuration at `config_path`.

    Without a path the configuration (see `bootstrap`, also for `ipv6`) is in the command line itself, so that no file
    is needed. Hot restart is off: it would share memory between the pods of one user. As in Istio, the connections of
    a replaced listener are drained immediately, and the access log is flushed every second.
    """
    if config_path is None:
        config = ("--config-yaml", json.dumps(bootstrap(intent, ipv6=ipv6), separators=(",", ":")))
    else:
        config = ("-c", config_path)
    return (
        *(envoy, "--concurrency", str(intent.concurrency), "--disable-hot-restart", "--log-level", "warning"),
        *("--drain-time-s", str(DRAIN_S), "--drain-strategy", "immediate", "--file-flush-interval-msec", "100"),
        *config,
    )
