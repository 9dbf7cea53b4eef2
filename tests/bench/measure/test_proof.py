import socket
from dataclasses import replace
from typing import Any

import pytest

from sidelab.bench.measure.path_proof import Evidence, Opened, PodEvidence, Tracked, _accepts, check
from sidelab.bench.plan.arm import Arm
from sidelab.lab.errors import PodError
from sidelab.lab.net.ask import answer_to

N = 7
NOTHING = PodEvidence(tracked=Tracked(0, 0, 0))
RULES = replace(NOTHING, rules=20)
TCP: dict[str, Any] = {"proxy": "bundled", "protocol": "tcp"}

ARMS = {
    "direct": Arm(name="a"),
    "client-rules": Arm(name="a", client="rules-only"),
    "server-rules": Arm(name="a", server="rules-only"),
    "redirected": Arm(name="a", server="redirected"),
    "explicit": Arm(name="a", server="explicit", **TCP),
    "server": Arm(name="a", server="injected", **TCP),
    "client": Arm(name="a", client="injected", **TCP),
    "both": Arm(name="a", client="injected", server="injected", **TCP),
    "tproxy": Arm(name="a", server="injected", rules="tproxy", **TCP),
}
CLIENT = replace(RULES, redirected_out=N, accepted_out=N, tracked=Tracked(2, 0, N))
SERVER = replace(RULES, redirected_in=N, accepted_in=N, tracked=Tracked(0, N, 0))
SEEN = {
    "direct": Evidence(NOTHING, NOTHING),
    "client-rules": Evidence(replace(RULES, excluded=N, tracked=Tracked(N, 0, 0)), NOTHING),
    "server-rules": Evidence(NOTHING, replace(RULES, excluded=N, tracked=Tracked(N, 0, 0))),
    "redirected": Evidence(NOTHING, replace(RULES, redirected_in=N, tracked=Tracked(0, N, 0))),
    "explicit": Evidence(NOTHING, replace(NOTHING, accepted_in=N)),
    "server": Evidence(NOTHING, SERVER),
    "client": Evidence(CLIENT, NOTHING),
    "both": Evidence(CLIENT, replace(SERVER, redirected_in=2, accepted_in=2)),
    "tproxy": Evidence(NOTHING, replace(RULES, transparent_in=N, accepted_in=N, tracked=Tracked(N, 0, 0))),
}
# Only where an arm has a proxy is one asked, so this evidence never comes with the other's label.
UNASKED = {("direct", "explicit"), ("redirected", "server")}
START = Evidence(PodEvidence(), PodEvidence())


@pytest.mark.parametrize("name", ARMS)
def test_an_arm_whose_evidence_agrees_is_proven(name: str):
    """Every kind of arm passes with the evidence that its path leaves, with conntrack's or without."""
    seen = SEEN[name]
    check(ARMS[name], START, seen, Opened.exactly(N))
    unasked = Evidence(replace(seen.client, tracked=None), replace(seen.server, tracked=None))
    check(ARMS[name], START, unasked, Opened.exactly(N))


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("name", ARMS)
def test_no_arm_passes_for_another(name: str, seen: str):
    """The evidence of one kind of arm is refused for every other, naming the arm."""
    if name != seen and (name, seen) not in UNASKED:
        with pytest.raises(PodError, match=r"arm a did not take its path: .* should be"):
            check(ARMS[name], START, SEEN[seen], Opened.exactly(N))


@pytest.mark.parametrize("name", [name for name in ARMS if name != "direct"])
def test_a_connection_too_few_is_no_proof(name: str):
    """One connection that the path did not see makes the samples worthless."""
    with pytest.raises(PodError, match=r"for 8 connections; its samples are worthless"):
        check(ARMS[name], START, SEEN[name], Opened.exactly(N + 1))


@pytest.mark.parametrize("name", [name for name in ARMS if name != "direct"])
def test_a_load_may_make_more_connections_than_it_has(name: str):
    """One that is closed is made again; each has to take the path, and one too few is no proof."""
    check(ARMS[name], START, SEEN[name], Opened.at_least(N - 1))
    with pytest.raises(PodError, match=r"for 8 or more connections"):
        check(ARMS[name], START, SEEN[name], Opened.at_least(N + 1))


@pytest.mark.parametrize("name", ["server", "redirected"])
def test_conntrack_tells_of_connections_past_the_proxy(name: str):
    """A captured connection that conntrack led straight to the application is an error, whatever counters say."""
    seen = SEEN[name]
    past = replace(seen, server=replace(seen.server, tracked=Tracked(1, N, 0)))
    with pytest.raises(PodError, match="led straight to the port: 1, and it should be 0"):
        check(ARMS[name], START, past, Opened.exactly(N))


def test_missing_rules_are_no_path():
    """An arm with 1,000 more rules whose pod holds 20 is no such arm."""
    with pytest.raises(PodError, match="rules in the server's pod: 20, and it should be 1001 or more"):
        check(Arm(name="a", server="injected", extra_rules=1000, **TCP), START, SEEN["server"], Opened.exactly(N))


def test_only_what_was_counted_in_between_counts():
    """Connections before the block are no proof of it."""
    with pytest.raises(PodError, match=r"connections redirected in the server's pod: 0, and it should be 7"):
        check(ARMS["server"], SEEN["server"], SEEN["server"], Opened.exactly(N))


def test_a_proxy_that_does_not_count_is_proven_by_rules_and_conntrack():
    """A program of the user's own need not count accepted connections; what the kernel counts still has to agree."""
    silent = Evidence(NOTHING, replace(SERVER, accepted_in=None))
    check(ARMS["server"], START, silent, Opened.exactly(N))
    with pytest.raises(PodError, match="connections redirected in the server's pod: 7, and it should be 8"):
        check(ARMS["server"], START, silent, Opened.exactly(N + 1))


def test_a_counter_on_the_border_of_two_chunks_is_read():
    """The page may come in chunks, and they may end anywhere."""
    page = b"".join(b"listener.0.0.0.0_15006.downstream_cx_total: %d\n" % number for number in (3, 40))
    ours, theirs = socket.socketpair()
    with ours, theirs:
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (page[:45], page[45:60], page[60:]))
        theirs.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n")
        found = answer_to(ours, b"GET /stats HTTP/1.1\r\n\r\n", 10)
    assert {15006: 43} == _accepts(found.body.decode())
