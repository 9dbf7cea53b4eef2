from ipaddress import ip_address, ip_interface

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.errors import InputError
from sidelab.lab.netlink import nftables
from sidelab.lab.netlink.nftables.objects import Verdict
from sidelab.sidecar.interception import FORMS, Backend, Options, Ruleset, build, render
from sidelab.sidecar.interception.expressions.lift import lift
from sidelab.sidecar.interception.expressions.lower import lower
from sidelab.sidecar.interception.model.counted import from_ruleset
from sidelab.sidecar.interception.text.nft import model_chain, model_table

pytestmark = pytest.mark.slow

PORT = st.integers(1, 65535)
PORTS = st.lists(PORT, max_size=3).map(tuple)
IDS = st.lists(st.integers(0, 2**32 - 2), max_size=2).map(tuple)
NAMES = st.lists(st.sampled_from(["eth0", "eth1", "net1.5", "lo", "veth-a"]), max_size=2).map(tuple)
GROUPS = st.lists(st.integers(0, 70000), max_size=3).map(tuple)
V4 = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32))
V6 = st.tuples(st.integers(0, 2**128 - 1), st.integers(0, 128))
CIDRS = st.lists(
    st.one_of(
        V4.map(lambda pair: ip_interface(f"{ip_address(pair[0])}/{pair[1]}")),
        V6.map(lambda pair: ip_interface((pair[0].to_bytes(16, "big"), pair[1]))),
    ),
    max_size=3,
).map(tuple)
SERVERS = st.lists(st.sampled_from(["10.0.0.10", "127.0.0.53", "fd00::a"]).map(ip_address), max_size=2).map(tuple)
STAR = st.just("*")

OPTIONS = st.builds(
    Options,
    proxy_port=PORT,
    inbound_capture_port=PORT,
    inbound_tunnel_port=PORT,
    proxy_uids=st.lists(st.integers(0, 2**32 - 2), min_size=1, max_size=2).map(tuple),
    proxy_gids=IDS,
    interception_mode=st.sampled_from(["REDIRECT", "TPROXY"]),
    inbound_ports=STAR | PORTS,
    inbound_ports_exclude=PORTS,
    exclude_interfaces=NAMES,
    virtual_interfaces=NAMES,
    outbound_cidrs=STAR | CIDRS,
    outbound_cidrs_exclude=CIDRS,
    outbound_ports=PORTS,
    outbound_ports_exclude=PORTS,
    owner_groups=STAR | GROUPS,
    owner_groups_exclude=GROUPS,
    loopback_cidr=st.integers(8, 32).map(lambda bits: ip_interface(f"127.0.0.1/{bits}")),
    tproxy_mark=st.integers(1, 2**32 - 1),
    redirect_dns=st.booleans(),
    capture_all_dns=st.booleans(),
    dns_servers=SERVERS,
    drop_invalid=st.booleans(),
    enable_ipv6=st.booleans(),
)
WORDS = st.sampled_from(
    ["-b", "-i", "-x", "-u", "-m", "*", "80", "80,90", "10.0.0.0/8", "TPROXY", "--redirect-dns", "-n", "", "=", "--"]
) | st.text(max_size=6)


@given(st.lists(WORDS, max_size=5))
@settings(deadline=None)
def test_any_command_line_gives_rules_or_one_message(argv: list[str]) -> None:
    """Whatever is typed either makes rules or is refused as bad input."""
    try:
        outcome = bool(build(Options.from_args(argv)).rules)
    except InputError as refused:
        outcome = bool(str(refused))

    assert outcome


@given(OPTIONS)
@settings(deadline=None, max_examples=60)
def test_every_valid_option_set_has_stable_texts(options: Options) -> None:
    """All texts of equal options are equal, of whole lines, without blank or comment lines."""
    again = Options(**vars(options))

    for form in FORMS:
        text = render(build(options), form)
        assert text == render(build.__wrapped__(again), form)
        if form != "table":
            assert all(line and not line.startswith("#") for line in text.splitlines())
            assert text == "" or text.endswith("\n")


@given(OPTIONS)
@settings(deadline=None, max_examples=60)
def test_iptables_text_creates_each_chain_it_uses(options: Options) -> None:
    """In every table of the restore text, rules are in and jump to chains that the text makes or iptables has."""
    for form in ("iptables", "ip6tables"):
        made: set[str] = set()
        for line in render(build(options), form).splitlines():
            words = line.split()
            if words[0] == "*":
                made = {"PREROUTING", "OUTPUT"}
            elif words[0] == "-N":
                assert words[1] not in made
                made.add(words[1])
            elif words[0] in {"-A", "-I"}:
                target = words[words.index("-j") + 1]
                assert words[1] in made
                assert target in made or not target.startswith("ISTIO_")


@given(OPTIONS)
@settings(deadline=None, max_examples=60)
def test_what_is_lowered_can_be_lifted(options: Options) -> None:
    """The rules decoded from the expressions are the rules of the model, in their final order."""
    ruleset = build(options)
    lifted: dict[tuple[str, str], list[object]] = {}
    for operation in lower(ruleset):
        thing = operation.thing
        if isinstance(thing, nftables.NftRule):
            place = model_table(thing.table.name), model_chain(thing.chain)
            lifted.setdefault(place, []).append(lift(*place, thing.expressions))

    assert lifted == {(t.name, c.name): list(c.rows) for t in from_ruleset(ruleset) for c in t.chains}


@given(OPTIONS)
@settings(deadline=None, max_examples=60)
def test_every_lowered_jump_has_its_chain(options: Options) -> None:
    """The transaction makes every chain that a rule of it jumps to, also one that has no rules."""
    operations = lower(build(options))
    chains = {(o.thing.table.name, o.thing.name) for o in operations if isinstance(o.thing, nftables.NftChain)}
    jumps = {
        (o.thing.table.name, e.chain)
        for o in operations
        if isinstance(o.thing, nftables.NftRule)
        for e in o.thing.expressions
        if isinstance(e, Verdict) and e.chain
    }

    assert jumps <= chains


@given(OPTIONS)
@settings(deadline=None, max_examples=30)
def test_both_backends_have_the_same_rules_where_no_difference_is_known(options: Options) -> None:
    """Apart from the rules marked as one backend's own, both are told the same, family by family."""
    ruleset: Ruleset = build(options)
    families: tuple[int, ...] = (4, 6) if options.enable_ipv6 else (4,)
    for family in families:
        told = [
            [rule for rule in ruleset.program(backend, family) if rule.only is None]  # type: ignore[arg-type]  # 4 or 6
            for backend in Backend
        ]
        assert told[0] == told[1]
