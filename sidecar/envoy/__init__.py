"""Envoy as a sidecar's proxy: its binary, its configuration from an intent, and a program that follows the contract.

    Intent ── configuration: bootstrap, virtual, outbound … ──▶ files, which Envoy reads again when replaced

Listener, cluster and statistics names are Istio's, so that the same counters can be read from either proxy. Everything
except `find_binary`, `config_files` and what `main` imports is pure.
"""

from sidelab.sidecar.envoy.command_line import command
from sidelab.sidecar.envoy.configuration.bootstrap import bootstrap
from sidelab.sidecar.envoy.find_binary import envoy_version, find_envoy

__all__ = ["bootstrap", "command", "envoy_version", "find_envoy"]
