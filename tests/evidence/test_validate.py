"""What validation expects of a pod's options, and what it concludes from a connection and its conntrack entry."""

import pytest

from sidelab.evidence.validate import ConnectionAttempt, Expected, entry_of, expected, judge
from sidelab.lab.netlink.conntrack import Direction, Entry
from sidelab.sidecar.interception import Options

WANTED = Expected(families=(4, 6))
PROMISE = "a connection from 127.0.0.1 to 127.0.0.6:15002, by uid 1337 and gid 1337, arrives at the proxy's port 15006"


def entry(port: int, source_port: int = 40000) -> Entry:
    """Return the entry of a connection that arrived at `port`."""
    return Entry(
        family=4,
        protocol=6,
        original=Direction("127.0.0.1", "127.0.0.6", source_port, 15002),
        reply=Direction("127.0.0.1", "127.0.0.1", port, source_port),
        state="ESTABLISHED",
        replied=True,
    )


def test_the_options_say_what_to_expect():
    """Owner, ports, families, probe port and deadline are istio-init's; the first of several owners dials."""
    words = "-u 7,8 -g 9 -p 1501 -z 1506 --iptables-probe-port 1502 --probe-timeout 2s --enable-ipv6"
    assert Expected(7, 9, (4, 6), 1506, 1501, 1502, 2.0) == expected(Options.from_args(words.split()))


def test_a_pod_without_istio_init_is_held_against_the_defaults():
    """Rules made by hand can pass too; if they don't, the cure is the label."""
    wanted = expected(None)
    assert Expected(rules=False) == wanted
    check = judge(wanted, ConnectionAttempt(4, 40000, "Connection refused"), None)
    assert (False, "Connection refused") == (check.ok, check.seen)
    assert check.cure.startswith("this pod has no istio-init: ")


@pytest.mark.parametrize("original", [None, ("127.0.0.6", 15002)])
def test_arriving_at_the_inbound_port_is_what_was_promised(original: tuple[str, int] | None):
    """The reply's source port tells where the connection went; our own listener, if there was one, confirms it."""
    check = judge(WANTED, ConnectionAttempt(4, 40000, original=original), entry(15006))
    assert (True, PROMISE, "") == (check.ok, check.expected, check.cure)
    assert "sport=15006 dport=40000" in check.seen


@pytest.mark.parametrize(
    ("attempt", "known"),
    [
        pytest.param(ConnectionAttempt(4, 40000), entry(15001), id="at the outbound port: it would come round again"),
        pytest.param(ConnectionAttempt(4, 40000), entry(15002), id="where it was dialled: somebody listens there"),
        pytest.param(ConnectionAttempt(4, 40000), None, id="untracked"),
        pytest.param(ConnectionAttempt(4, 40000, original=("127.0.0.1", 15006)), entry(15006), id="destination lost"),
    ],
)
def test_arriving_anywhere_else_is_a_failure_of_the_rules(attempt: ConnectionAttempt, known: Entry | None):
    """Accepted is not enough: the cure is to have the rules compared."""
    check = judge(WANTED, attempt, known)
    assert (False, True) == (check.ok, check.cure.startswith("`sidelab rules check POD` tells how the rules differ"))


@pytest.mark.parametrize(
    ("attempt", "cure"),
    [
        (ConnectionAttempt(4, 40000, "Connection refused"), "`sidelab rules check POD` tells how the rules differ"),
        (ConnectionAttempt(4, 40000, "Connection refused", open=False), "nobody listens on 127.0.0.1 port 15006: "),
        (ConnectionAttempt(6, 40000, "no answer within 5 s"), "`::6/128` must be an address of lo"),
    ],
)
def test_a_refusal_is_told_with_its_likely_reason(attempt: ConnectionAttempt, cure: str):
    """Closed proxy, missing ::6 and wrong rules are told apart."""
    check = judge(WANTED, attempt, None)
    assert (False, attempt.problem, True) == (check.ok, check.seen, check.cure.startswith(cure))


def test_an_attempt_is_found_by_its_source_port():
    """Of several connections to the same place, the entry is the one that was made from our port."""
    entries = (entry(15006, 39999), entry(15006, 40000))
    assert entries[1] == entry_of(WANTED, ConnectionAttempt(4, 40000), entries)
    assert None is entry_of(WANTED, ConnectionAttempt(4, 40001), entries)
