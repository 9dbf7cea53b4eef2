import pytest

from sidelab.lab.cluster import etc_files
from sidelab.lab.manifest import Pod, decode
from sidelab.lab.plan.topology import PodAddress

ADDRESS = PodAddress(("shop", "web"), 0, "10.244.0.2", "fd00:10:244::2", "", "", 0)


def pod(spec: str = "") -> Pod:
    """Return a pod with more in its spec."""
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: web, namespace: shop}\nspec:\n"
    return decode([("a.yaml", f"{text}  containers: [{{name: a, image: a}}]\n{spec}")]).pods[0]


def test_names_are_looked_up_in_the_cluster():
    """The kubelet's file for ClusterFirst: the namespace's Services first, and five dots before a name counts whole."""
    assert etc_files.resolv_conf(pod()) == (
        "nameserver 10.96.0.10\n"
        "search shop.svc.cluster.local svc.cluster.local cluster.local\n"
        "options ndots:5\n"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            "  dnsConfig: {nameservers: [10.0.0.1], searches: [example.org], options: [{name: ndots, value: '2'}]}\n",
            (
                "nameserver 10.96.0.10\nnameserver 10.0.0.1\n"
                "search shop.svc.cluster.local svc.cluster.local cluster.local example.org\noptions ndots:2\n"
            ),
        ),
        (
            "  dnsPolicy: None\n  dnsConfig: {nameservers: [10.0.0.1], options: [{name: edns0}]}\n",
            "nameserver 10.0.0.1\noptions edns0\n",
        ),
        ("  dnsPolicy: Default\n", "# The node has no name server.\n"),
    ],
)
def test_a_pod_can_have_a_resolver_configuration_of_its_own(spec: str, expected: str):
    """Merged as the kubelet does: its entries after ours, its options instead of ours."""
    assert expected == etc_files.resolv_conf(pod(spec))


def test_the_hosts_file_has_the_pods_name_and_aliases():
    """Both addresses have the host name; each alias is a line."""
    aliases = "  hostAliases: [{ip: 10.1.2.3, hostnames: [a.example, b.example]}]\n"
    assert ["10.244.0.2\tweb", "fd00:10:244::2\tweb", "10.1.2.3\ta.example\tb.example"] == (
        etc_files.hosts(pod(aliases), ADDRESS, "web").splitlines()[2:]
    )


def test_a_subdomain_makes_the_name_a_whole_one():
    """As the kubelet writes it, so that `hostname -f` finds it."""
    lines = etc_files.hosts(pod("  hostname: h\n  subdomain: sub\n"), ADDRESS, "h").splitlines()
    assert "10.244.0.2\th.sub.shop.svc.cluster.local\th" == lines[2]


@pytest.mark.parametrize(
    "text", ["", "passwd: files\n", "passwd: files\nhosts: mymachines resolve [!UNAVAIL=return] dns\nservices: db"]
)
def test_no_service_of_the_host_looks_names_up(text: str):
    """Of the host's name service switch everything stays but where names of hosts are looked up."""
    found = etc_files.nsswitch_conf(text).splitlines()
    assert ["hosts: files dns"] == [line for line in found if line.startswith("hosts:")]
    assert [line for line in text.splitlines() if "hosts:" not in line] == [
        line for line in found if line and "hosts:" not in line
    ]
