import subprocess
import sys

import pytest

from sidelab.lab.errors import InputError
from sidelab.sidecar.interception import (
    Backend,
    Key,
    Match,
    Options,
    PolicyRoute,
    Rule,
    RuleAction,
    Target,
    build,
    render,
)
from sidelab.sidecar.interception.model.model import place

RETURN = Target(RuleAction.RETURN)
DUAL_TPROXY = Options(interception_mode="TPROXY", inbound_ports="*", enable_ipv6=True)


def rule(name: str, position: int | None = None) -> Rule:
    """Return a rule that is recognised by an interface's name."""
    return Rule("nat", "PREROUTING", (Match(Key.IN_INTERFACE, (name,)),), RETURN, position)


def names(rules: tuple[Rule, ...]) -> list[str]:
    """Return what `rule` was given."""
    return [str(each.matches[0].value) for each in rules]


def test_inserts_go_before_and_appends_behind() -> None:
    """A position counts from 1, and one beyond the end appends."""
    placed = place([rule("a"), rule("b", 1), rule("c", 2), rule("d"), rule("e", 9)])

    assert names(placed["PREROUTING"]) == ["b", "c", "a", "d", "e"]


def test_equal_options_have_equal_digests_in_every_process() -> None:
    """The digest is stable: it does not depend on hash randomisation."""
    code = "from sidelab.sidecar.interception import Options, build; print(build(Options(inbound_ports='*')).digest)"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()

    assert build(Options(inbound_ports="*")).digest == other


@pytest.mark.parametrize(
    "options",
    [
        Options(enable_ipv6=True),
        Options(proxy_port=15002),
        Options(proxy_uids=(1338,)),
        Options(drop_invalid=True),
        Options(virtual_interfaces=("eth1",)),
        Options(interception_mode="TPROXY"),
        Options(interception_mode="TPROXY", tproxy_table=134),
    ],
)
def test_different_rules_have_different_digests(options: Options) -> None:
    """Whatever changes a rule, its place or a route changes the digest."""
    assert build(Options()).digest != build(options).digest


def test_tproxy_needs_policy_routes_in_both_families() -> None:
    """TPROXY comes with a route of marked packets to the local stack; IPv6 with the inbound leg's address."""
    ruleset = build(DUAL_TPROXY)

    assert ((PolicyRoute(4, 1337, 133), PolicyRoute(6, 1337, 133)), ("::6/128",)) == (
        ruleset.routes,
        ruleset.loopback_addresses,
    )


def test_the_head_of_the_tproxy_chain_keeps_each_backends_order() -> None:
    """One nft chain serves both families, so its rule for ::6 comes before that for 127.0.0.6."""
    ruleset = build(DUAL_TPROXY)
    mangle = next(table for table in ruleset.tables(Backend.NFT) if table.name == "mangle")
    inbound = next(chain for chain in mangle.chains if chain.name == "ISTIO_INBOUND")
    sources = [match.value for each in inbound.rules[:4] if (match := each.first(Key.SOURCE))]

    assert sources == ["::6/128", "127.0.0.6/32"]


def test_inserts_into_an_empty_chain_become_appends_for_nft() -> None:
    """TPROXY without inbound ports inserts into an empty chain, which nft cannot."""
    lines = render(build(Options(interception_mode="TPROXY")), "nft").splitlines()
    inbound = [line for line in lines if " rule inet istio-proxy-mangle istio-inbound " in line]

    assert [line.split()[0] for line in inbound] == ["add", "add", "add"]


def test_ip6tables_has_nothing_to_say_with_ipv6_off() -> None:
    """Without IPv6 the text for ip6tables-restore is empty."""
    assert render(build(Options()), "ip6tables") == ""


def test_an_unknown_form_is_refused() -> None:
    """The error names the forms there are."""
    with pytest.raises(InputError, match="iptables, ip6tables, nft, table"):
        render(build(Options()), "json")


def test_importing_the_rules_is_light() -> None:
    """Neither options nor texts load pyroute2, which costs more than all of them."""
    code = (
        "import sys; from sidelab.sidecar.interception import Options, build, render;"
        "from sidelab.sidecar.interception.apply import kernel; render(build(Options()), 'table');"
        "print('pyroute2' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout == "False\n"


def test_backends_differ_only_where_it_is_written_down() -> None:
    """Rules that only one backend has come from dropping invalid packets and from DNS, nowhere else."""
    everything = Options.from_args(
        "-m TPROXY -b * -d 1 -i 10.0.0.0/8,fd00::/8 -x 10.1.0.0/16 -q 2 -o 3 -c a -k b --drop-invalid --redirect-dns "
        "--dns-server 10.0.0.10 --dns-server fd00::a --enable-ipv6".split()
    )
    places = {(each.table, each.chain) for each in build(everything).rules if each.only}

    assert {("mangle", "PREROUTING"), ("nat", "ISTIO_OUTPUT"), ("raw", "PREROUTING")} == places
