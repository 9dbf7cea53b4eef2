"""Conntrack's entries for real connections, compared with conntrack's own tool, and as the command line shows them."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import CommandLine
from netns_helper import add_pod_link, in_namespace, owner
from tools import tool

from sidelab.lab.netlink import conntrack, nftables
from sidelab.lab.netlink.conntrack import Entry
from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.apply import kernel as rules

pytestmark = pytest.mark.kernel

POD, POD6 = "10.9.0.1", "fd00:9::1"
MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {sidecar.istio.io/inject: "true"}}
spec:
  containers: [{name: nginx, image: nginx}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  containers: [{name: curl, image: curl}]
"""


def entry_to(entries: tuple[Entry, ...], address: str, port: int) -> Entry:
    """Return the one connection that was dialled there."""
    (found,) = [
        each for each in entries if (each.original.destination, each.original.destination_port) == (address, port)
    ]
    return found


def traffic() -> list[socket.socket]:
    """Make connections of every kind that the rules know, and return their sockets, open."""
    sockets = [socket.create_server(("127.0.0.1", port)) for port in (15001, 15006)]
    sockets += [socket.create_server(("::1", 15001), family=socket.AF_INET6)]
    sockets += [socket.create_connection(("10.9.0.77", 80), timeout=5)]
    sockets += [socket.create_connection(("fd00:9::77", 81), timeout=5)]
    with owner(1337):
        sockets += [socket.create_connection((POD, 8080), timeout=5)]
    for address in (("10.9.0.10", 53), ("127.0.0.1", 54)):
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].sendto(b"query", address)
    sockets.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
    sockets[-1].sendto(bytes((8, 0, 0xF7, 0xFD, 0, 1, 0, 1)), ("127.0.0.1", 0))  # an echo request, with its checksum
    return sockets


def loaded() -> None:
    """Load rules with everything in them that leaves its trace, and have packets counted."""
    add_pod_link(POD, POD6)
    with nftables.open_socket() as link:
        words = "-i * -b * --redirect-dns --capture-all-dns --enable-ipv6"
        rules.apply(link, build(Options.from_args(words.split())))
    Path("/proc/sys/net/netfilter/nf_conntrack_acct").write_text("1")


def parsed(line: str) -> list[str]:
    """Return the words of a line of `conntrack -L` but for its timeout, which runs on, and the names of two spaces."""
    words = line.split()
    return [*words[:2], *words[3:]]


def test_our_lines_are_those_of_conntracks_own_tool():
    """For TCP, UDP and ICMP, translated and not, in zones and both families, `conntrack -L` has the same lines."""
    theirs = tool("conntrack")

    def work() -> tuple[list[str], list[str], list[str]]:
        loaded()
        sockets = traffic()
        with nftables.open_socket() as link:
            ours = [str(each) for each in conntrack.dump(link)]
            counted = conntrack.statistics(link)
        told = []
        for family in ("ipv4", "ipv6"):
            tool = subprocess.run([theirs, "-L", "-f", family], capture_output=True, text=True, check=True)
            told += tool.stdout.splitlines()
        count = subprocess.run([theirs, "-C"], capture_output=True, text=True, check=True).stdout
        for each in sockets:
            each.close()
        return ours, told, [str(counted.entries), count.strip()]

    ours, told, (entries, count) = in_namespace(work)
    assert sorted(map(parsed, told)) == sorted(map(parsed, ours))
    assert count == entries
    assert {"tcp", "udp", "icmp"} == {line.split()[0] for line in ours}


def test_a_redirected_connection_has_the_proxys_port_in_its_reply():
    """REDIRECT rewrites destination and port: the reply's tuple says so, the original one keeps what was dialled."""

    def work() -> tuple[Entry, ...]:
        loaded()
        sockets = traffic()
        with nftables.open_socket() as link:
            found = conntrack.dump(link)
        for each in sockets:
            each.close()
        return found

    found = in_namespace(work)
    outbound, ipv6 = entry_to(found, "10.9.0.77", 80), entry_to(found, "fd00:9::77", 81)
    assert ("tcp", "ESTABLISHED", True, True) == (
        outbound.protocol_name,
        outbound.state,
        outbound.replied,
        outbound.assured,
    )
    assert (POD, "127.0.0.1", 15001, POD) == (
        outbound.original.source,
        outbound.reply.source,
        outbound.reply.source_port,
        outbound.reply.destination,
    )
    assert (6, "::1", 15001) == (ipv6.family, ipv6.reply.source, ipv6.reply.source_port)
    assert ("127.0.0.1", 15006) == (
        entry_to(found, POD, 8080).reply.source,
        entry_to(found, POD, 8080).reply.source_port,
    )
    dns, other = entry_to(found, "10.9.0.10", 53), entry_to(found, "127.0.0.1", 54)
    assert (2, 15053, 0, 54) == (dns.zone, dns.reply.source_port, other.zone, other.reply.source_port)


def test_packets_are_there_only_where_they_are_counted():
    """Without nf_conntrack_acct the counters are absent, not zero."""

    def work() -> list[int | None]:
        loaded()
        Path("/proc/sys/net/netfilter/nf_conntrack_acct").write_text("0")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, nftables.open_socket() as link:
            sender.sendto(b"x", ("127.0.0.1", 54))
            return [each.original.packets for each in conntrack.dump(link)]

    assert [None] == in_namespace(work)


def test_a_namespace_without_rules_tracks_nothing():
    """Connection tracking begins with the first rule that needs it."""

    def work() -> tuple[Entry, ...]:
        with socket.create_server(("127.0.0.1", 9000)) as server, nftables.open_socket() as link:
            socket.create_connection(server.getsockname()).close()
            return conntrack.dump(link)

    assert () == in_namespace(work)


def test_the_command_line_shows_both_tuples_of_a_request(shared: CommandLine):
    """After a request from pod to pod, `rules conntrack` has its line: to port 80, answered from 15006."""
    web, client = shared.pod("web")["ipv4"], shared.pod("client")["ipv4"]
    program = f"import urllib.request as r; r.urlopen('http://{web}/', timeout=5).read()"
    assert 0 == shared.exec("client", sys.executable, "-c", program).returncode
    lines = shared.run("rules", "conntrack", "web", "--lab", shared.name).stdout
    assert re.search(rf"src={client} dst={web} sport=\d+ dport=80 src={web} dst={client} sport=15006 dport=", lines)

    told = json.loads(shared.run("rules", "conntrack", "web", "--lab", shared.name, "--json").stdout)
    (entry,) = [each for each in told["entries"] if each["original"]["source"] == client]
    assert (web, 80, 15006, client) == (
        entry["original"]["destination"],
        entry["original"]["destination_port"],
        entry["reply"]["source_port"],
        entry["reply"]["destination"],
    )
    assert len(told["entries"]) == told["statistics"]["entries"]


def test_a_pod_without_rules_says_that_it_tracks_nothing(shared: CommandLine):
    """An empty table is said in a sentence, and its statistics are numbers all the same."""
    done = shared.run("rules", "conntrack", "client", "--lab", shared.name)
    counted = shared.run("rules", "conntrack", "client", "--lab", shared.name, "-S")
    assert (0, "pod client tracks no connection now\n") == (done.returncode, done.stdout)
    assert counted.stdout.startswith("entries=0 limit=")
