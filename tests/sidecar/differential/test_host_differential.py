"""Host fields in the bundled proxy and in Envoy: which Service each means, and which are refused."""

from pathlib import Path

from hosts import POLICIES, bundled, envoy, hosts


def test_both_proxies_take_a_host_for_the_same_service(tmp_path: Path) -> None:
    """Every spelling of every Service's names, and what only looks like one, goes to the same cluster in both."""
    asked = [(policy, host) for policy in POLICIES for host in hosts()]
    with envoy(tmp_path) as running:
        expected = [(*each, running.ask(*each)) for each in asked]
    assert len({cluster for _, _, cluster in expected}) > 8
    assert expected == [(*each, bundled(*each)) for each in asked]
