"""A person who looks at counters and connections sees which of them were probes."""

import pytest

from sidelab.evidence.origins import probes_sentence, purpose
from sidelab.lab.netlink.conntrack import Direction, Entry
from sidelab.sidecar.interception.build.build import build
from sidelab.sidecar.interception.model.counted import ChainRows, Row, TableRows, from_ruleset
from sidelab.sidecar.interception.options.options import Options

POD, OTHER, NODE = "10.244.0.2", "10.244.0.3", "10.244.0.1"


def _entry(source: str, destination: str, port: int, answered_by: int | None = None) -> Entry:
    return Entry(
        4, 6, Direction(source, destination, 40000, port), Direction(destination, source, answered_by or port, 40000)
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (_entry(NODE, POD, 15021), "a probe by the kubelet"),
        (_entry(NODE, POD, 80, 15006), "a probe by the kubelet, caught by the rules"),
        (_entry(OTHER, POD, 80, 15006), "a request that came in, caught by the rules"),
        (_entry(OTHER, POD, 15020), "came in, not caught"),
        (_entry(POD, OTHER, 80, 15001), "a request on its way out, caught by the rules"),
        (_entry(POD, OTHER, 80), "on its way out, not caught: the sidecar's own, or excluded"),
        (_entry(POD, "10.96.0.10", 53, 15053), "a DNS question, answered by the agent"),
        (_entry("127.0.0.6", POD, 80), "from the sidecar to the application: a request, or a probe passed on"),
        (_entry("127.0.0.1", "127.0.0.1", 15021), "inside the sidecar: its agent asks its proxy"),
        (_entry("127.0.0.1", "127.0.0.1", 9000), "inside the pod"),
        (_entry(OTHER, "10.9.9.9", 80), ""),
    ],
)
def test_each_connection_is_told_by_its_tuples(entry: Entry, said: str):
    """The kubelet asks from the node's address; what the rules caught is answered from another port."""
    assert said == purpose(entry, (POD, "fd00:10:244::2"))


def _counted(packets: int) -> list[TableRows]:
    """Return istio-init's default rules as if each had counted that many packets."""
    tables = from_ruleset(build(Options.from_args(["-i", "*", "-b", "*", "-d", "15090,15021,15020"], {})))
    return [
        TableRows(
            table.name,
            tuple(
                ChainRows(chain.name, chain.policy, tuple(Row(row.rule, packets, 60 * packets) for row in chain.rows))
                for chain in table.chains
            ),
        )
        for table in tables
    ]


def test_the_counters_of_the_agents_ports_are_the_probes():
    """What the rules let pass to 15020 and 15021 asked how the pod is; 15090 is for metrics."""
    assert (
        "6 of the connections that came in were the kubelet's probes, not requests: "
        "3 to port 15020 (the application's, asked of the agent), 3 to port 15021 (the sidecar's own)"
    ) == probes_sentence(_counted(3))


def test_where_nothing_was_probed_nothing_is_said():
    """A pod without rules, or one that nobody has asked yet."""
    assert ("", "") == (probes_sentence([]), probes_sentence(_counted(0)))
