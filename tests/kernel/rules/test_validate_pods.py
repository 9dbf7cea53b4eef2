"""`sidelab doctor --pod`: Istio's validation in pods with rules, without, with a proxy and without, right and wrong."""

import json
import select
import socket
import subprocess
import sys

import pytest
from command_line import EXAMPLE, PATIENCE_S, ROOT, CommandLine
from netns_helper import add_pod_link, in_namespace, owner

from sidelab.evidence import validate
from sidelab.evidence.validate import ConnectionAttempt, Expected, FamilyCheck
from sidelab.lab.netlink import conntrack, nftables
from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.apply import kernel as rules

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: meshed, labels: {sidecar.istio.io/inject: "true"}}
spec:
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata:
  name: rules-only
  labels: {sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/proxy: none}
spec:
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata:
  name: classic
  labels: {sidecar.istio.io/inject: "true"}
  annotations: {sidelab.io/profile: classic}
spec:
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata:
  name: broken
  labels: {sidecar.istio.io/inject: "true"}
  annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "15002"}
spec:
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: dual}
spec:
  initContainers: [{name: istio-init, image: istio/proxyv2, args: [istio-iptables, -i, "*", -b, "*", --enable-ipv6]}]
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  containers: [{name: nginx, image: nginx}]
"""
EXPECTED = "a connection from 127.0.0.1 to 127.0.0.6:15002, by uid 1337 and gid 1337, arrives at the proxy's port 15006"


@pytest.mark.parametrize(
    ("pod", "listener"),
    [("meshed", False), ("classic", False), ("rules-only", True)],
)
def test_a_pod_with_istios_rules_passes(shared: CommandLine, pod: str, listener: bool):
    """Beside a proxy conntrack tells where the connection went; without one our listener hears it as well."""
    done = shared.run("doctor", "--pod", pod, "--lab", shared.name, "--json")
    told = json.loads(done.stdout)
    (check,) = told["checks"]
    assert (0, True, f"default/{pod}", 4, EXPECTED) == (
        done.returncode,
        told["ok"],
        told["pod"],
        check["family"],
        check["expected"],
    )
    assert "dst=127.0.0.6" in check["seen"]
    assert "sport=15006" in check["seen"]
    assert listener == check["seen"].endswith("(our own listener there recovered 127.0.0.6 port 15002)")


@pytest.mark.parametrize(
    ("pod", "cure"),
    [
        ("broken", "`sidelab rules check POD` tells how the rules differ"),
        ("plain", "this pod has no istio-init"),
    ],
)
def test_a_pod_without_them_fails_with_status_1(shared: CommandLine, pod: str, cure: str):
    """What was expected, what was seen and what to do are told, and the exit status is that of a failed check."""
    done = shared.run("doctor", "--pod", pod, "--lab", shared.name)
    assert (1, "", f"IPv4 FAILED\n  expected  {EXPECTED}\n  seen      Connection refused\n  cure      {cure}") == (
        done.returncode,
        done.stderr,
        done.stdout[: done.stdout.index(cure) + len(cure)],
    )


def test_a_pod_with_rules_for_ipv6_passes_twice(shared: CommandLine):
    """The second check is IPv6's: `::6` is an address of the pod, and the rules redirect it as they do 127.0.0.6."""
    done = shared.run("doctor", "--pod", "dual", "--lab", shared.name, "--json")
    assert (0, [(4, True), (6, True)]) == (
        done.returncode,
        [(check["family"], check["ok"]) for check in json.loads(done.stdout)["checks"]],
    )


def test_a_running_proxy_keeps_its_connections(shared: CommandLine):
    """Validation is one connection to the proxy, and what the proxy serves goes on."""
    before = shared.pod("meshed")
    assert 0 == shared.run("doctor", "--pod", "meshed", "--lab", shared.name).returncode
    assert before == shared.pod("meshed")


INSIDE = """
import os, sys, time
from sidelab.lab.client.lab import find
from sidelab.lab.client.run_inside import in_pod

def work():
    os.write(1, b"it lives")
    time.sleep(1000)

in_pod(find(sys.argv[1]), ("default", "plain"), 1337, 1337, work)
"""


def test_what_is_run_inside_a_pod_dies_with_who_runs_it(shared: CommandLine):
    """Although it has become another user, which makes the kernel forget that it is to."""
    command = [sys.executable, "-c", INSIDE, shared.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0) as process:
        assert process.stdout is not None
        assert b"it lives" == process.stdout.read(8)
        process.kill()
        assert select.select([process.stdout], [], [], PATIENCE_S)[0]
        assert b"" == process.stdout.read()


def test_an_ordinary_users_pod_is_validated_as_roots_is(rootless: CommandLine):
    """The proxy's uid is then one of the user's subordinate ids, and the rules see it as 1337 all the same."""
    assert 0 == rootless.up(EXAMPLE).returncode
    done = rootless.run("doctor", "--pod", "nginx", "--lab", rootless.name)
    assert (0, "IPv4 ok") == (done.returncode, done.stdout.splitlines()[0]), done.stderr


def checks(arguments: str, *addresses: str, listen: bool = False) -> tuple[FamilyCheck, ...]:
    """Return what validation says in a namespace with these rules and addresses; `listen` for a proxy, IPv4 only."""

    def work() -> tuple[FamilyCheck, ...]:
        add_pod_link("10.9.0.1", "fd00:9::1")
        for address in addresses:
            add_loopback(address)
        options = Options.from_args(arguments.split())
        with nftables.open_socket() as link:
            rules.apply(link, build(options))
            wanted = validate.expected(options)
            proxies = [socket.create_server(("", port)) for port in (15001, 15006)] if listen else []
            with owner(wanted.uid):
                told = [ConnectionAttempt(**each) for each in validate.attempts(wanted)]
            for proxy in proxies:
                proxy.close()
            entries = conntrack.dump(link)
        return tuple(validate.judge(wanted, each, validate.entry_of(wanted, each, entries)) for each in told)

    return in_namespace(work)


def add_loopback(address: str) -> None:
    """Add an address to lo."""
    from pyroute2 import IPRoute  # noqa: PLC0415 - heavy, and only the child needs it

    with IPRoute() as route:
        route.addr("add", index=1, address=address, prefixlen=128, family=socket.AF_INET6)


def test_rules_for_ipv6_are_validated_too():
    """With IPv6 on there are two checks; the second one goes from ::1 to [::6]:15002."""
    first, second = checks("-i * -b * --enable-ipv6", "::6")
    assert [(4, True), (6, True)] == [(first.family, first.ok), (second.family, second.ok)]
    assert "dst=::6" in second.seen
    assert second.seen.endswith("(our own listener there recovered ::6 port 15002)")


def test_a_proxy_without_ipv6_is_not_hidden_by_our_own_listener():
    """Where the proxy holds its ports in one family alone, the other's refusal is the proxy's, and said to be."""
    first, second = checks("-i * -b * --enable-ipv6", "::6", listen=True)
    assert (True, False) == (first.ok, second.ok)
    assert second.cure.startswith("nobody listens on ::1 port 15006: is the proxy meant for IPv6?")


def test_another_uid_and_another_port_are_taken_from_the_options():
    """Who dials, and where the connection must arrive, is what istio-init was told."""
    (check,) = checks("-u 2000 -z 16006 -i * -b *")
    assert check.ok
    assert check.expected.endswith("by uid 2000 and gid 2000, arrives at the proxy's port 16006")


def test_a_loopback_range_that_holds_127_0_0_6_fails_as_istios_own_does():
    """With ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR=127.0.0.1/8 the proxy's call of 127.0.0.6 counts as talking to itself."""

    def work() -> list[dict[str, object]]:
        variables = {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.1/8"}
        with nftables.open_socket() as link:
            rules.apply(link, build(Options.from_args("-i * -b *".split(), variables)))
        with owner(1337):
            return validate.attempts(Expected())

    (attempt,) = in_namespace(work)
    assert "Connection refused" == attempt["problem"]
