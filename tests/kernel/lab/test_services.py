"""Services and names as programs in pods meet them: who answers, by which address, and what is refused."""

import json
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import dnslib
import pytest
from command_line import CommandLine, await_true, descendants
from netns_helper import in_namespace
from tools import needs

from sidelab.lab.base import identity
from sidelab.lab.client.lab import Lab
from sidelab.lab.cluster import service_rules
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedPort, PublishedService, State
from sidelab.lab.netlink import nftables
from sidelab.lab.netlink.nftables import objects as kernel
from sidelab.lab.netlink.nftables.objects import IPV4, IPV6

pytestmark = [pytest.mark.kernel, needs("curl")]

_ECHO = (
    "import os, socket, threading\n"
    "def serve(family):\n"
    "    s = socket.socket(family, socket.SOCK_DGRAM)\n"
    "    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)\n"
    "    s.bind(('', 5000))\n"
    "    while True:\n"
    "        data, peer = s.recvfrom(99)\n"
    "        s.sendto(os.uname().nodename.encode() + data, peer)\n"
    "threading.Thread(target=serve, args=(socket.AF_INET6,)).start()\n"
    "serve(socket.AF_INET)\n"
)

MANIFEST = f"""
apiVersion: v1
kind: Pod
metadata: {{name: web-1, labels: {{app: web, one: "yes"}}, annotations: {{example.org/note: first}}}}
spec:
  containers: [{{name: nginx, image: nginx, ports: [{{name: http, containerPort: 80}}]}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: web-2, labels: {{app: web}}}}
spec:
  containers:
    - {{name: nginx, image: nginx, env: [{{name: PORT, value: "8000"}}], ports: [{{name: http, containerPort: 8000}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: echo, labels: {{app: echo}}}}
spec:
  containers: [{{name: echo, image: any, command: [/usr/bin/env, python3, -c, {json.dumps(_ECHO)}]}}]
---
apiVersion: v1
kind: Pod
metadata: {{name: client}}
spec:
  hostAliases: [{{ip: 10.244.0.2, hostnames: [alias.example]}}]
  containers: [{{name: c, image: curl}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{selector: {{app: web}}, ports: [{{port: 8080, targetPort: http}}], ipFamilyPolicy: PreferDualStack}}
---
apiVersion: v1
kind: Service
metadata: {{name: mirror}}
spec: {{selector: {{one: "yes"}}, ports: [{{port: 80}}], ipFamilyPolicy: PreferDualStack}}
---
apiVersion: v1
kind: Service
metadata: {{name: all}}
spec: {{selector: {{app: web}}, clusterIP: None, ports: [{{name: http, port: 80, targetPort: http}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: echo}}
spec:
  selector: {{app: echo}}
  ipFamilyPolicy: PreferDualStack
  ports: [{{port: 53, targetPort: 5000, protocol: UDP}}]
---
apiVersion: v1
kind: Service
metadata: {{name: nobody}}
spec:
  selector: {{app: nobody}}
  ipFamilyPolicy: PreferDualStack
  ports: [{{name: a, port: 80}}, {{name: b, port: 80, protocol: UDP}}]
"""
FAMILIES = pytest.mark.parametrize("ip", ["ipv4", "ipv6"])


def _curl(line: CommandLine, pod: str, *words: str) -> str:
    done = line.exec(pod, "curl", "-sS", "--max-time", "5", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def _service(line: CommandLine, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(each for each in line.state()["services"] if each["name"] == name)
    return found


def _opened(line: CommandLine, pod: str, address: str, kind: int) -> socket.socket:
    """Return a socket of a pod for `address`, which does not wait for ever."""
    with Lab(line.name) as lab:
        found = lab.open_socket(lab.pod(pod), socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    found.settimeout(5)
    return found


@pytest.mark.parametrize("name", ["web", "web.default", "web.default.svc", "web.default.svc.cluster.local"])
@pytest.mark.parametrize("family", ["-4", "-6"])
def test_a_service_is_reached_by_its_names(shared: CommandLine, name: str, family: str):
    """Short or whole, by either family, from a pod's own program and resolver."""
    assert json.loads(_curl(shared, "client", family, f"http://{name}:8080/whoami"))["pod"] in ("web-1", "web-2")


@FAMILIES
def test_connections_are_spread_over_the_ready_endpoints(shared: CommandLine, ip: str):
    """Each goes to one of the pods at random, at that pod's own port, with the client's address kept."""
    address = _service(shared, "web")[ip]
    host = f"[{address}]" if ":" in address else address
    text = _curl(shared, "client", "-H", "Connection: close", *[f"http://{host}:8080/whoami"] * 40)
    answers = [json.loads(each) for each in text.splitlines()]
    seen = Counter(each["pod"] for each in answers)
    assert {"web-1", "web-2"} == set(seen)  # all of 40 at one would be a chance of 2 in 10^12
    assert {shared.pod("client")[ip]} == {each["peer"].rpartition(":")[0].strip("[]") for each in answers}
    assert {"80", "8000"} == {each["local"].rpartition(":")[2] for each in answers}


@FAMILIES
def test_a_pod_reaches_itself_through_its_service(shared: CommandLine, ip: str):
    """It sees the node as its client, for answers to itself would go astray."""
    address = _service(shared, "mirror")[ip]
    host = f"[{address}]" if ":" in address else address
    answer = json.loads(_curl(shared, "web-1", f"http://{host}/whoami"))
    assert "web-1" == answer["pod"]
    node = {"ipv4": "10.244.0.1", "ipv6": "fd00:10:244::1"}[ip]
    assert node == answer["peer"].rpartition(":")[0].strip("[]")


@FAMILIES
def test_udp_is_translated_too(shared: CommandLine, ip: str):
    """The answer comes from the Service's address."""
    address = _service(shared, "echo")[ip]
    with _opened(shared, "client", address, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 53))
        sock.send(b"!")
        assert b"echo!" == sock.recv(99)


@FAMILIES
@pytest.mark.parametrize(("service", "port"), [("nobody", 80), ("web", 81)])
def test_a_service_without_endpoint_or_port_refuses_at_once(shared: CommandLine, service: str, port: int, ip: str):
    """Again and again: a reset is not rate-limited."""
    address = _service(shared, service)[ip]
    for _ in range(20):
        with _opened(shared, "client", address, socket.SOCK_STREAM) as sock, pytest.raises(ConnectionRefusedError):
            sock.connect((address, port))


@FAMILIES
def test_datagrams_for_a_service_without_endpoint_are_refused(shared: CommandLine, ip: str):
    """ICMP says that the port is unreachable."""
    address = _service(shared, "nobody")[ip]
    with _opened(shared, "client", address, socket.SOCK_DGRAM) as sock:
        sock.connect((address, 80))
        sock.send(b"!")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(99)


def test_status_shows_services_and_that_connections_are_tracked(shared: CommandLine):
    """Addresses, ports, endpoints and their readiness; the caveat is there because nothing else tells of it."""
    found = _service(shared, "web")
    assert ("10.96.0.11", "fd00:10:96::b") == (found["ipv4"], found["ipv6"])
    assert [("default/web-1", True, [80]), ("default/web-2", True, [8000])] == [
        (each["pod"], each["ready"], each["targets"]) for each in found["endpoints"]
    ]
    done = shared.run("status", shared.name)
    assert ["default", "web", "2/2", "10.96.0.11", "fd00:10:96::b", "8080/TCP"] in map(
        str.split, done.stdout.splitlines()
    )
    assert ["default", "all", "2/2", "none", "none", "80/TCP"] in map(str.split, done.stdout.splitlines())
    assert "note: connection tracking is on in the node" in done.stderr


def _ask(line: CommandLine, name: str, kind: str = "A", *, tcp: bool = False) -> dnslib.DNSRecord:
    with _opened(line, "client", "10.96.0.10", socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.connect(("10.96.0.10", 53))
        data = dnslib.DNSRecord.question(name, kind).pack()
        sock.sendall(len(data).to_bytes(2, "big") * tcp + data)
        answer = sock.recv(4096)
    return dnslib.DNSRecord.parse(answer[2 * tcp :])


@pytest.mark.parametrize("tcp", [False, True])
def test_a_headless_services_name_has_the_pods_addresses(shared: CommandLine, tcp: bool):
    """Over UDP as over TCP."""
    found = _ask(shared, "all.default.svc.cluster.local", tcp=tcp)
    assert {shared.pod(pod)["ipv4"] for pod in ("web-1", "web-2")} == {str(each.rdata) for each in found.rr}


def test_names_outside_the_cluster_are_refused(shared: CommandLine):
    """A program hears soon that a name can't be resolved."""
    assert "REFUSED" == dnslib.RCODE[_ask(shared, "example.com").header.rcode]
    assert 6 == shared.exec("client", "curl", "-s", "http://example.com/").returncode  # CURLE_COULDNT_RESOLVE_HOST


def test_garbage_does_not_end_the_name_server(shared: CommandLine):
    """Nor does a connection that says half a message and stays."""
    with _opened(shared, "client", "10.96.0.10", socket.SOCK_STREAM) as half:
        half.connect(("10.96.0.10", 53))
        half.send(b"\xff\xff\0")
        with _opened(shared, "client", "10.96.0.10", socket.SOCK_DGRAM) as sock:
            for data in (b"", b"\0" * 11, b"\xff" * 512, bytes(range(256)) * 20):
                sock.sendto(data, ("10.96.0.10", 53))
        assert "NOERROR" == dnslib.RCODE[_ask(shared, "web.default.svc.cluster.local", tcp=True).header.rcode]


def test_the_name_server_has_no_rights(shared: CommandLine):
    """It is nobody, without capabilities."""
    _ask(shared, "web.default.svc.cluster.local")
    (server,) = _name_servers(shared)
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{server}/status").read_text().splitlines() if "\t" in line
    )
    here = identity.decide(identity.read())
    first = here.uids.start - 1 if isinstance(here, identity.Subordinate) else 0
    assert (str(first + 65534), "0" * 16, "0" * 16) == (
        status["Uid"].split()[0],
        status["CapEff"].strip(),
        status["CapBnd"].strip(),
    )


def _name_servers(line: CommandLine) -> list[int]:
    inside = descendants(line.state()["pid"])
    return [
        pid
        for pid in inside
        if b"sidelab.lab.cluster.dns.nameserver_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_killed_name_server_is_started_by_the_next_question(shared: CommandLine):
    """A resolver's repetition meets the new one."""
    _ask(shared, "web.default.svc.cluster.local")
    (server,) = _name_servers(shared)
    os.kill(server, signal.SIGKILL)
    await_true(lambda: not _name_servers(shared), "it is gone")
    assert "NOERROR" == dnslib.RCODE[_ask(shared, "web.default.svc.cluster.local").header.rcode]


def test_a_pod_reads_about_itself_and_its_cluster(shared: CommandLine):
    """Both files are there, for every uid, and can't be written."""
    script = "cat /run/podinfo/pod.json; echo; cat /run/cluster/state.json; : > /run/cluster/state.json"
    done = shared.exec("web-1", "sh", "-c", script)
    info, state = map(json.loads, done.stdout.splitlines())
    assert ("default", "web-1", "10.244.0.2", {"app": "web", "one": "yes"}, {"example.org/note": "first"}) == tuple(
        info[field] for field in ("namespace", "name", "ipv4", "labels", "annotations")
    )
    assert ["kube-dns", "web", "mirror", "all", "echo", "nobody"] == [each["name"] for each in state["services"]]
    assert "Read-only file system" in done.stderr


def test_host_aliases_are_in_the_hosts_file(shared: CommandLine):
    """A program finds the address by that name."""
    assert "web-1" == json.loads(_curl(shared, "client", "http://alias.example/whoami"))["pod"]


def test_endpoints_follow_readiness(sidelab: CommandLine):
    """A pod that gets ready, or is no more, is in the Service or not; and `up` does not wait with telling."""
    text = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
    - {name: nginx, image: nginx}
    - name: gate
      image: any
      command: [sh, -c, "touch /tmp/ready; exec sleep 1000"]
      readinessProbe: {exec: {command: [test, -e, /tmp/ready]}, periodSeconds: 1, failureThreshold: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: always}
spec: {selector: {app: web}, ports: [{port: 80}], publishNotReadyAddresses: true}
"""
    assert 0 == sidelab.up(sidelab.manifest(text)).returncode
    ask = ("curl", "-s", "-o", "/dev/null", "--max-time", "5")
    assert 0 == sidelab.exec("web", *ask, "http://10.96.0.11/").returncode
    for script, status in (("rm /tmp/ready", 7), ("touch /tmp/ready", 0)):
        sidelab.run("exec", "web", "-c", "gate", "--lab", sidelab.name, "--", "sh", "-c", script)
        await_true(lambda: sidelab.exec("web", *ask, "http://10.96.0.11/").returncode == status, script)  # noqa: B023  # called in the same round
        assert 0 == sidelab.exec("web", *ask, "http://10.96.0.12/").returncode


def test_a_lab_without_services_has_names_and_no_rules(sidelab: CommandLine):
    """The first question starts the name server; the node tracks no connections."""
    text = "apiVersion: v1\nkind: Pod\nmetadata: {name: client}\nspec:\n  containers: [{name: c, image: curl}]\n"
    assert 0 == sidelab.up(sidelab.manifest(text)).returncode
    assert [] == _name_servers(sidelab)
    done = sidelab.exec("client", "getent", "ahostsv4", "10-244-0-2.default.pod")
    assert "10.244.0.2" == done.stdout.split()[0]
    with Lab(sidelab.name) as lab:
        link = lab.open_socket(None, socket.AF_NETLINK, socket.SOCK_RAW, nftables.NETLINK_NETFILTER)
    with link:
        assert ((), ()) == (nftables.dump(link, IPV4), nftables.dump(link, IPV6))
    assert [] == sidelab.state()["caveats"]


def test_the_kernel_shows_the_rules_of_services_as_they_were_sent():
    """Registers, sets and maps by name, translation and refusal: nothing is read back as something unknown."""
    endpoints = tuple(
        PublishedEndpoint(
            pod=("a", f"{n}"), ipv4=f"10.244.0.{n}", ipv6=f"fd00:10:244::{n}", ready=True, targets=(8080,)
        )
        for n in (2, 3)
    )
    ports = (PublishedPort(name="http", port=80, protocol="TCP"),)
    web = PublishedService(
        namespace="a", name="web", ipv4="10.96.0.11", ipv6="fd00:10:96::b", ports=ports, endpoints=endpoints
    )

    def work() -> list[tuple[kernel.Expression, ...]]:
        with nftables.open_socket() as link:
            nftables.send(link, service_rules.batch(State(services=(web,))))
            tables = [table for family in (IPV4, IPV6) for table in nftables.dump(link, family)]
            return [rule.expressions for table in tables for chain in table.chains for rule in chain.rules]

    shown = in_namespace(work)
    sent = [each for family in service_rules._FAMILIES for _, each in service_rules._frame_rules(family)]
    assert [] == [each for each in sent if each not in shown]
    assert 2 * (len(sent) // 2 + 2 * 2 + 1 + 1) == len(shown)
    found = {type(each) for expressions in shown for each in expressions}
    assert kernel.Unknown not in found
    assert {kernel.TranslateDestination, kernel.RandomNumber, kernel.MapReference, kernel.Unreachable} <= found
