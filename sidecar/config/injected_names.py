"""The names that injection uses: labels, containers and ports. Annotations are in `sidecar.config.annotations`.

Sources: istio.io/docs/reference/config/annotations and …/labels; the injection template of istio/istio,
manifests/charts/istio-control/istio-discovery/files.
"""

from sidelab.sidecar import istio_ports
from sidelab.sidecar.config import contract

NAMESPACE_LABEL = "istio-injection"
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
"""The ports on which a sidecar listens, with their purpose: an application in the same pod cannot use them."""
