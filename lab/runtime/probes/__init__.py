"""What the kubelet asks of containers and does for them: probes and lifecycle hooks, from the node's namespace.

`prober` knows when to ask and what answers mean for a container, `attempt` one question, `probe_stream`, `http_get` and
`grpc` how it is put. Nothing here knows containers: it is told how to run a command in one.
"""

from sidelab.lab.runtime.probes.attempt import Execute, ProbeAttempt, begin
from sidelab.lab.runtime.probes.probe_outcome import Finish, ProbeOutcome
from sidelab.lab.runtime.probes.prober import FIRST_RETRY_S, Prober

__all__ = ["FIRST_RETRY_S", "Execute", "Finish", "ProbeAttempt", "ProbeOutcome", "Prober", "begin"]
