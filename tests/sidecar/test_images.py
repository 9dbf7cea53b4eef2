"""What istio-proxy's container becomes: an agent, told what its pod's manifest decides."""

import pytest

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import decode
from sidelab.lab.plan.registry import Program, Standin
from sidelab.sidecar.config.agent_settings import Settings
from sidelab.sidecar.config.contract import BUNDLED
from sidelab.sidecar.config.intent import Intent, Ports
from sidelab.sidecar.inject import PROXY_NAME, inject
from sidelab.sidecar.istio_images import IMAGES

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: web
  labels: {{sidecar.istio.io/inject: "true"}}
  annotations: {{{annotations}}}
spec:
  containers:
    - name: app
      image: nginx
      ports: [{{containerPort: 80}}, {{containerPort: 53, protocol: UDP}}]
      {probe}
    - {{name: other, image: nginx, ports: [{{containerPort: 9000}}]}}
"""


def program(annotations: str = "", probe: str = "") -> Program:
    """Return what the sidecar's container of an injected pod runs."""
    (pod,) = inject(decode([("pod.yaml", POD.format(annotations=annotations, probe=probe))])).pods
    return IMAGES.program(pod, pod.container(PROXY_NAME))


def agent(annotations: str = "", probe: str = "") -> tuple[Settings, tuple[str, ...]]:
    """Return what the agent is told, and what is imported before it is forked."""
    found = program(annotations, probe)
    assert isinstance(found, Standin)
    assert ("sidelab.sidecar.agent.main:main", True) == (found.entry, found.files)
    return Settings.of(dict(found.env)), found.preload


def test_a_plain_pod_has_the_bundled_proxy_and_its_tcp_ports():
    """IPv6 is not captured, and nothing is imported that few pods need."""
    expected = Settings(proxy=(BUNDLED,), ports=(80, 9000), base=Intent(ipv6=False))
    assert (
        expected,
        ("sidelab.sidecar.agent.main", "sidelab.sidecar.agent.pilot_agent", "sidelab.sidecar.proxy.main"),
    ) == agent()


def test_the_rules_decide_mode_and_dns():
    """Whatever annotation they come from."""
    settings, preload = agent('sidecar.istio.io/interceptionMode: TPROXY, proxy.istio.io/config: "{proxyMetadata: '
                              '{ISTIO_META_DNS_CAPTURE: \'true\'}}"')  # fmt: skip
    assert ("tproxy", True, True) == (settings.base.mode, settings.dns, "sidelab.sidecar.agent.dns.resolver" in preload)


def test_proxy_config_is_followed():
    """How long to drain, how many workers, and where the agent answers."""
    config = '"{terminationDrainDuration: 2s, concurrency: 2, statusPort: 16000}"'
    settings, _ = agent(f"proxy.istio.io/config: {config}")
    assert (2.0, 2, Ports(agent=16000)) == (
        settings.base.drain_s,
        settings.base.concurrency,
        settings.base.ports,
    )


@pytest.mark.parametrize(
    ("probe", "modules"),
    [
        ("livenessProbe: {grpc: {port: 80}}", {"sidelab.lab.net.grpc_health"}),
        ("livenessProbe: {httpGet: {port: 80, scheme: HTTPS}}", {"ssl"}),
        ("livenessProbe: {tcpSocket: {port: 80}}", set()),
    ],
)
def test_what_a_probe_needs_is_imported_before(probe: str, modules: set[str]):
    """HTTP/2 and TLS, for pods whose probes speak them."""
    assert modules == {"sidelab.lab.net.grpc_health", "ssl"} & set(agent(probe=probe)[1])


def test_another_program_is_not_imported():
    """It is a command line, with its own arguments."""
    settings, preload = agent("sidelab.io/proxy: /opt/p, sidelab.io/proxy-args: -v")
    assert (("/opt/p", "-v"), ("sidelab.sidecar.agent.main", "sidelab.sidecar.agent.pilot_agent")) == (
        settings.proxy,
        preload,
    )


def test_a_wrong_annotation_is_refused_before_anything_starts():
    """Pod and annotation are named."""
    with pytest.raises(InputError, match=r"pod web: .*sidelab.io/proxy"):
        program("sidelab.io/proxy: haproxy")
