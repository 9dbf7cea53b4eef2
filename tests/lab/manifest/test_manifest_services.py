import pytest

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import decode


def message(kind: str, spec: str) -> str:
    """Return what is said about an object whose spec is `spec`."""
    with pytest.raises(InputError) as caught:
        decode([("a.yaml", f"apiVersion: v1\nkind: {kind}\nmetadata: {{name: x}}\nspec: {spec}\n")])
    return str(caught.value).removeprefix(f"a.yaml: document 1 (line 1): {kind} default/x: ")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{ports: [{port: 80, protocol: SCTP}]}", "spec.ports[0].protocol: 'SCTP' is not accepted; accepted: TCP, UDP"),
        ("{ports: [{port: 80}], ipFamilies: [IPv5]}", "spec.ipFamilies[0]: 'IPv5' is not accepted"),
        ("{ports: [{port: 80}], ipFamilies: [IPv4, IPv4]}", "spec.ipFamilies[1]: the family 'IPv4' is there twice"),
        ("{ports: [{port: 80}], ipFamilies: [IPv4, IPv6]}", "spec.ipFamilyPolicy: with two families it must be"),
        ("{ports: [{port: 80}], ipFamilyPolicy: Both}", "spec.ipFamilyPolicy: 'Both' is not accepted"),
        ("{ports: [{port: 80}], sessionAffinity: ClientIP}", "spec.sessionAffinity: 'ClientIP' is not accepted here"),
    ],
)
def test_a_mistake_in_a_service_is_named_with_its_field(spec: str, expected: str):
    """What the node can't do is refused, as is what makes no sense."""
    assert message("Service", spec).startswith(expected)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("dnsPolicy: Cluster", "spec.dnsPolicy: 'Cluster' is not accepted; accepted: ClusterFirst"),
        ("dnsPolicy: None", "spec.dnsConfig.nameservers: with the dnsPolicy None it needs one"),
        ("dnsConfig: {nameservers: [dns.example]}", "spec.dnsConfig.nameservers[0]: 'dns.example' is no IP address"),
        ("dnsConfig: {nameservers: ['::1', '::2', '::3', '::4']}", "spec.dnsConfig.nameservers: a program asks 3"),
        ("dnsConfig: {searches: [-a]}", "spec.dnsConfig.searches[0]: '-a' is no name"),
        ("dnsConfig: {options: [{name: 'a b'}]}", "spec.dnsConfig.options[0].name: 'a b' is no option"),
        ("dnsConfig: {options: [{name: ''}]}", "spec.dnsConfig.options[0].name: it is empty"),
        ("hostAliases: [{ip: x, hostnames: [a]}]", "spec.hostAliases[0].ip: 'x' is no IP address"),
        ("hostAliases: [{ip: 10.0.0.1, hostnames: [A]}]", "spec.hostAliases[0].hostnames[0]: 'A' is no name"),
        ("subdomain: a.b", "spec.subdomain: 'a.b' is no name"),
    ],
)
def test_a_mistake_in_a_pods_names_is_named_with_its_field(spec: str, expected: str):
    """Nothing gets into /etc/resolv.conf or /etc/hosts that would be another line or word there."""
    assert message("Pod", f"{{containers: [{{name: a, image: a}}], {spec}}}").startswith(expected)
