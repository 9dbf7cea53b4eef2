"""The kubelet's probes and lifecycle hooks, run from the node's namespace.

`prober` decides when to probe and what results mean for a container, `attempt` is a single probe, and `probe_stream`,
`http_get` and `grpc` carry it out. Nothing here knows containers: callers pass in how to run a command in one.
"""

from sidelab.lab.runtime.probes.attempt import Execute, ProbeAttempt, begin
from sidelab.lab.runtime.probes.probe_outcome import Finish, ProbeOutcome
from sidelab.lab.runtime.probes.prober import FIRST_RETRY_S, Prober

__all__ = ["FIRST_RETRY_S", "Execute", "Finish", "ProbeAttempt", "ProbeOutcome", "Prober", "begin"]
