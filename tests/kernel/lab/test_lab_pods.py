"""What a pod is from inside: its network, its file system, its user, and the rights that it has not."""

import json
import re
import sys
import time
from pathlib import Path

import pytest
from command_line import CommandLine
from tools import needs

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: tool}
spec:
  hostname: toolbox
  containers:
    - name: plain
      image: any
      command: [sleep, "1000"]
      workingDir: /usr
      securityContext: {runAsUser: 1234, runAsGroup: 2345}
    - name: capable
      image: any
      command: [sleep, "1000"]
      securityContext: {runAsUser: 1234, capabilities: {add: [NET_RAW, NET_ADMIN]}}
    - {name: root, image: any, command: [sleep, "1000"]}
"""
WEB4, WEB6, TOOL4, TOOL6, NODE4 = "10.244.0.2", "fd00:10:244::2", "10.244.0.3", "fd00:10:244::3", "10.244.0.1"


def _sh(line: CommandLine, container: str, script: str) -> str:
    done = line.run("exec", "tool", "-c", container, "--lab", line.name, "--", "sh", "-c", script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@needs("curl")
@pytest.mark.parametrize(("host", "peer"), [(WEB4, TOOL4), (f"[{WEB6}]", TOOL6)])
def test_pods_reach_each_other_by_either_family(shared: CommandLine, host: str, peer: str):
    """The server sees the client pod's own address: nothing translates between pods."""
    answer = shared.exec("tool", "curl", "-s", "-i", f"http://{host}/whoami").stdout
    assert peer in re.search("(?m)^X-Peer: (.*)", answer)[1]  # type: ignore[index]  # no match fails as well
    assert "X-Pod: web" in answer


@pytest.mark.parametrize("version", [4, 6])
def test_packets_between_pods_cross_the_nodes_ip_stack(shared: CommandLine, version: int):
    """The node's stack forwards what pods say to each other, so a packet with a hop limit of 1 does not arrive."""
    source = (
        "import socket; l = socket.socket(socket.AF_INET{six}); l.settimeout(5);"
        "l.setsockopt(socket.{level}, socket.{option}, {hops}); print(l.connect_ex(({to!r}, 80)))"
    )
    names = {
        4: {"six": "", "level": "IPPROTO_IP", "option": "IP_TTL", "to": WEB4},
        6: {"six": "6", "level": "IPPROTO_IPV6", "option": "IPV6_UNICAST_HOPS", "to": WEB6},
    }[version]
    answers = [
        shared.exec("tool", "/usr/bin/env", "python3", "-c", source.format(hops=hops, **names)).stdout.strip()
        for hops in (2, 1)
    ]
    assert answers[0] == "0"
    assert answers[1] != "0"


@needs("curl")
def test_pods_reach_the_node(shared: CommandLine):
    """The node answers a pod: with a refusal, for nothing listens there."""
    assert shared.exec("tool", "curl", "-s", f"http://{NODE4}:9/").returncode == 7  # CURLE_COULDNT_CONNECT


def test_a_pod_has_its_addresses_ready_and_no_socket_of_ours(shared: CommandLine):
    """No address is tentative, lo is up, and no netlink or other socket is left in the pod."""
    lines = [line.split() for line in _sh(shared, "plain", "cat /proc/net/if_inet6").splitlines()]
    assert {("lo", 0x80), ("eth0", 0x82)} == {(line[5], int(line[4], 16) & 0xFF) for line in lines}  # permanent, no DAD
    assert {"lo": "unknown", "eth0": "up"}.keys() == {
        line.split(":")[0].strip() for line in _sh(shared, "plain", "cat /proc/net/dev").splitlines()[2:]
    }
    tables = _sh(
        shared, "plain", "tail -qn +2 /proc/net/udp /proc/net/udp6 /proc/net/unix /proc/net/packet /proc/net/raw"
    )
    assert tables == ""
    assert _sh(
        shared, "plain", "tail -qn +2 /proc/net/netlink | grep -cv ' 0 *0 *$' || true"
    )  # the kernel's own remain


def test_a_pod_has_its_own_hosts_file_and_name(shared: CommandLine):
    """/etc/hosts gives the pod's host name both of its addresses."""
    assert _sh(shared, "plain", "hostname; grep toolbox /etc/hosts") == (
        f"toolbox\n{TOOL4}\ttoolbox\n{TOOL6}\ttoolbox\n"
    )
    assert "toolbox" not in Path("/etc/hosts").read_text()  # the machine's own is as it was


@pytest.mark.parametrize("path", ["/usr/x", "/etc/x", "/var/tmp/x", "/dev/x", "/home/x", "/sys/x"])
def test_the_file_system_is_read_only(shared: CommandLine, path: str):
    """Even a container's root can't write to what is the machine's."""
    done = shared.run("exec", "tool", "-c", "root", "--lab", shared.name, "--", "touch", path)
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr


def test_tmp_and_run_are_the_pods_own_and_empty(shared: CommandLine):
    """Any user may write there, unseen from outside; only the lab's own Python and what is published shows through."""
    environment = {Path(each).parts[2] for each in (sys.prefix, sys.base_prefix) if Path(each).is_relative_to("/tmp")}
    assert environment | {"cluster", "podinfo"} == set(
        _sh(shared, "plain", "ls -A /tmp; ls -A /run; ls -A /dev/shm").split()
    )
    _sh(shared, "plain", "touch /tmp/mine /run/mine /dev/shm/mine")
    assert not Path("/tmp/mine").exists()
    assert "mine" in _sh(shared, "root", "ls /tmp")


@pytest.mark.parametrize(
    "path", ["/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/irq/default_smp_affinity"]
)
def test_the_kernels_switches_are_read_only(shared: CommandLine, path: str):
    """A container's root, whom file modes would let in, can't open what would change the machine."""
    if not Path(path).exists():
        pytest.skip(f"this kernel has no {path}")
    done = shared.run("exec", "tool", "-c", "root", "--lab", shared.name, "--", "sh", "-c", f": >> {path}")
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr or "Permission denied" in done.stderr


def test_no_device_of_the_machine_is_in_reach(shared: CommandLine):
    """/dev has what programs count on, and no disk, memory or kernel log."""
    names = set(_sh(shared, "root", "ls /dev").split())
    assert {
        "null",
        "zero",
        "full",
        "random",
        "urandom",
        "tty",
        "pts",
        "ptmx",
        "fd",
        "stdin",
        "stdout",
        "stderr",
    } <= names
    assert not {"kmsg", "mem", "port", "sda", "vda", "loop0", "kvm", "fuse"} & names
    assert _sh(shared, "plain", "echo x > /dev/null; head -c 3 /dev/zero | wc -c") == "3\n"


def _rights(line: CommandLine, container: str) -> dict[str, str]:
    text = _sh(line, container, "cat /proc/self/status")
    return dict(re.findall(r"(?m)^(Uid|Gid|Groups|CapEff|CapPrm|CapBnd|CapAmb|NoNewPrivs):[ \t]*(.*?)[ \t]*$", text))


def test_a_container_is_whom_its_manifest_names_with_no_rights(shared: CommandLine):
    """Uid and gid are as asked, there are no groups, no capabilities to have or to get, and no new privileges."""
    none = "0000000000000000"
    assert _rights(shared, "plain") == {
        "Uid": "1234\t1234\t1234\t1234",
        "Gid": "2345\t2345\t2345\t2345",
        "Groups": "",
        "CapEff": none,
        "CapPrm": none,
        "CapBnd": none,
        "CapAmb": none,
        "NoNewPrivs": "1",
    }


def test_a_containers_root_has_no_capabilities_either(shared: CommandLine):
    """Uid 0 without named capabilities is as powerless."""
    rights = _rights(shared, "root")
    assert ("0", "0000000000000000", "0000000000000000") == (rights["Uid"][0], rights["CapEff"], rights["CapBnd"])


def test_a_container_has_the_capabilities_that_are_named(shared: CommandLine):
    """NET_ADMIN (12) and NET_RAW (13), and nothing else, for an ordinary uid too."""
    rights = _rights(shared, "capable")
    assert {1 << 12 | 1 << 13} == {int(rights[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}


def test_the_containers_own_process_has_what_exec_has(shared: CommandLine):
    """The process of the container itself runs as that user, in its working directory."""
    assert "Uid:\t1234" in _sh(shared, "plain", "cat /proc/1/status")
    assert _sh(shared, "plain", "pwd; readlink /proc/1/cwd") == "/usr\n/usr\n"


def test_no_descriptor_of_the_lab_is_inherited(shared: CommandLine):
    """A program in a pod has its three standard descriptors (and ls the directory that it lists)."""
    assert _sh(shared, "plain", "ls /proc/self/fd").split() == ["0", "1", "2", "3"]


def test_many_pods_come_up_together(sidelab: CommandLine):
    """300 pods get ready, each with its own address."""
    pod = "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{}}}\nspec:\n  containers: [{{name: c, image: curl}}]\n"
    started = time.monotonic()
    done = sidelab.up(sidelab.manifest("---\n".join(pod.format(number) for number in range(300))), "--json")
    assert done.returncode == 0, done.stderr
    pods = json.loads(done.stdout)["pods"]
    assert (300, 300) == (sum(each["ready"] for each in pods), len({each["ipv4"] for each in pods}))
    assert time.monotonic() - started < 60  # a bound against hanging, not a measurement
