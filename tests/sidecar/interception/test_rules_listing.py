from dataclasses import replace

import pytest

from sidelab.lab.netlink.nftables.objects import (
    Bitwise,
    Code,
    Compare,
    Ct,
    CtKey,
    Expression,
    Immediate,
    Meta,
    MetaKey,
    Redirect,
    Verdict,
)
from sidelab.sidecar.interception import Options, build, render
from sidelab.sidecar.interception.expressions.lift import lift
from sidelab.sidecar.interception.model.counted import TableRows, from_ruleset
from sidelab.sidecar.interception.text.listing import data, listing, short

TUTORIAL = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -b * -d 15090,15021,15020".split()
CLASSIC = {
    "PREROUTING": ["ISTIO_INBOUND tcp -- any any anywhere anywhere"],
    "OUTPUT": ["ISTIO_OUTPUT tcp -- any any anywhere anywhere"],
    "ISTIO_INBOUND": [
        "RETURN tcp -- any any anywhere anywhere tcp dpt:15008",
        "RETURN tcp -- any any anywhere anywhere tcp dpt:ssh",
        "RETURN tcp -- any any anywhere anywhere tcp dpt:15090",
        "RETURN tcp -- any any anywhere anywhere tcp dpt:15021",
        "RETURN tcp -- any any anywhere anywhere tcp dpt:15020",
        "ISTIO_IN_REDIRECT tcp -- any any anywhere anywhere",
    ],
    "ISTIO_IN_REDIRECT": ["REDIRECT tcp -- any any anywhere anywhere redir ports 15006"],
    "ISTIO_OUTPUT": [
        "RETURN all -- any lo 127.0.0.6 anywhere",
        "ISTIO_IN_REDIRECT all -- any lo anywhere !localhost owner UID match 1337",
        "RETURN all -- any lo anywhere anywhere !owner UID match 1337",
        "RETURN all -- any any anywhere anywhere owner UID match 1337",
        "RETURN all -- any any anywhere localhost",
        "ISTIO_REDIRECT all -- any any anywhere anywhere",
    ],
    "ISTIO_REDIRECT": ["REDIRECT tcp -- any any anywhere anywhere redir ports 15001"],
}


def parsed(text: str) -> dict[str, list[str]]:
    """Return each chain's rows without counters, words joined by one space."""
    chains: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.split()
        if line.startswith("Chain "):
            rows = chains.setdefault(words[1], [])
        elif words and words[0] != "pkts":
            rows.append(" ".join(words[2:]))
    return chains


def tables(*argv: str) -> tuple[TableRows, ...]:
    """Return the rows of the options' ruleset."""
    return from_ruleset(build(Options.from_args(argv)))


def test_the_classic_profile_reads_like_the_tutorial() -> None:
    """The tutorial's arguments give the tutorial's chains and rules, in its order and words."""
    ruleset = build(Options.from_args([*TUTORIAL, "--profile", "classic"]))

    assert parsed(render(ruleset, "table")) == CLASSIC


def test_a_chain_is_laid_out_like_the_tutorials() -> None:
    """Columns and blanks are those of the tutorial's listing."""
    ruleset = build(Options.from_args([*TUTORIAL, "--profile", "classic"]))
    chain = """\
Chain ISTIO_OUTPUT (1 references)
pkts bytes target             prot opt in   out  source     destination
   0     0 RETURN             all  --  any  lo   127.0.0.6  anywhere
   0     0 ISTIO_IN_REDIRECT  all  --  any  lo   anywhere   !localhost   owner UID match 1337
   0     0 RETURN             all  --  any  lo   anywhere   anywhere     !owner UID match 1337
   0     0 RETURN             all  --  any  any  anywhere   anywhere     owner UID match 1337
   0     0 RETURN             all  --  any  any  anywhere   localhost
   0     0 ISTIO_REDIRECT     all  --  any  any  anywhere   anywhere
"""

    assert chain in render(ruleset, "table")


def test_chains_are_listed_as_iptables_does() -> None:
    """Built-in chains come first, the others by name."""
    assert list(CLASSIC) == list(parsed(listing(tables(*TUTORIAL))))


def test_titles_say_policy_and_references() -> None:
    """A built-in chain has a policy, another the number of rules that jump to it."""
    titles = [line for line in listing(tables(*TUTORIAL)).splitlines() if line.startswith("Chain")]

    assert titles == [
        "Chain PREROUTING (policy ACCEPT)",
        "Chain OUTPUT (policy ACCEPT)",
        "Chain ISTIO_INBOUND (1 references)",
        "Chain ISTIO_IN_REDIRECT (3 references)",
        "Chain ISTIO_OUTPUT (1 references)",
        "Chain ISTIO_REDIRECT (1 references)",
    ]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0"),
        (99_999, "99999"),
        (100_000, "100K"),
        (100_499, "100K"),
        (9_999_499, "9999K"),
        (9_999_500, "10M"),
        (12_345_678_901, "12G"),
        (10**13, "10T"),
    ],
)
def test_counters_are_shortened_as_iptables_does(count: int, expected: str) -> None:
    """Five digits stay, then come K, M, G and T, rounded."""
    assert expected == short(count)


def test_numeric_listings_have_no_names() -> None:
    """`-n` shows numbers for ports, addresses and interfaces."""
    rows = parsed(listing(tables("--profile", "classic", "-b", "*", "-i", "*"), numeric=True))

    assert (
        rows["ISTIO_INBOUND"][1],
        rows["ISTIO_OUTPUT"][4],
    ) == ("RETURN tcp -- * * 0.0.0.0/0 0.0.0.0/0 tcp dpt:22", "RETURN all -- * * 0.0.0.0/0 127.0.0.1")


def test_a_family_sees_its_own_rules() -> None:
    """The IPv6 listing has IPv6 addresses and none of the rules for IPv4."""
    rows = parsed(listing(tables("--enable-ipv6", "-x", "10.0.0.0/8,fd00::/8", "-i", "*"), family=6))

    assert [row for row in rows["ISTIO_OUTPUT"] if "match" not in row and row.startswith("RETURN")] == [
        "RETURN all -- any lo ::6 anywhere",
        "RETURN all -- any any anywhere localhost",
        "RETURN all -- any any anywhere fd00::/8",
    ]


def test_every_target_and_match_has_iptables_words() -> None:
    """TPROXY's, DNS's and the owners' rules are told in the words of iptables' extensions."""
    shown = tables(*"-m TPROXY -b * -i * --redirect-dns --capture-all-dns --drop-invalid -u 3".split())
    mangle = parsed(listing(shown, "mangle"))
    raw = parsed(listing(shown, "raw"))
    nat = parsed(listing(shown))

    assert [
        mangle["PREROUTING"][0],
        mangle["PREROUTING"][2],
        mangle["OUTPUT"][3],
        mangle["OUTPUT"][1],
        mangle["ISTIO_INBOUND"][2],
        mangle["ISTIO_TPROXY"][0],
        raw["ISTIO_OUTPUT_DNS"][3],
        nat["ISTIO_OUTPUT"][1],
        nat["ISTIO_OUTPUT"][5],
    ] == [
        "ISTIO_DROP tcp -- any any anywhere anywhere ctstate INVALID",
        "CONNMARK tcp -- any any anywhere anywhere mark match 0x539 CONNMARK save",
        "CONNMARK tcp -- any any anywhere anywhere connmark match 0x539 CONNMARK restore",
        "MARK tcp -- any lo anywhere !localhost owner UID match 3 MARK set 0x53a",
        "RETURN tcp -- lo any anywhere anywhere mark match ! 0x53a",
        "TPROXY tcp -- any any anywhere !localhost TPROXY redirect 0.0.0.0:15006 mark 0x539/0xffffffff",
        "CT udp -- any any anywhere anywhere udp spt:15053 owner GID match 3 CT zone 2",
        "ISTIO_IN_REDIRECT tcp -- any lo anywhere !localhost multiport dports !domain,15008 owner UID match 3",
        "RETURN tcp -- any lo anywhere anywhere tcp dpt:!domain !owner GID match 3",
    ]


def test_columns_line_up() -> None:
    """Every row of a listing starts its target in the same column."""
    lines = [line for line in listing(tables(*TUTORIAL)).splitlines() if line and not line.startswith("Chain")]

    assert len({line.index(line.split()[2]) for line in lines}) == 1


def test_data_has_exact_counters_and_plain_types() -> None:
    """The structure for JSON says what the listing says, uncut."""
    (nat,) = tables(*TUTORIAL, "--profile", "classic")
    busy = replace(nat.chains[0], rows=tuple(replace(row, packets=1_234_567, bytes=7) for row in nat.chains[0].rows))
    (shown,) = data([replace(nat, chains=(busy, *nat.chains[1:]))])

    assert shown["chains"][0] == {
        "chain": "PREROUTING",
        "policy": "ACCEPT",
        "references": None,
        "rules": [
            {
                "packets": 1_234_567,
                "bytes": 7,
                "target": "ISTIO_INBOUND",
                "protocol": "tcp",
                "in": "*",
                "out": "*",
                "source": "0.0.0.0/0",
                "destination": "0.0.0.0/0",
                "extra": "",
            }
        ],
    }


def test_an_absent_table_lists_nothing() -> None:
    """Without rules in a table its listing is empty."""
    assert listing(tables(*TUTORIAL), "mangle") == ""


@pytest.mark.parametrize(
    "expressions",
    [
        (Meta(MetaKey.MARK, register=2), Compare(bytes(4)), Verdict(Code.RETURN)),
        (Meta(MetaKey.MARK), Compare(bytes(4), register=2), Verdict(Code.RETURN)),
        (Ct(CtKey.STATE), Bitwise(bytes(4), b"\1\0\0\0"), Compare(bytes(4), negated=True), Verdict(Code.RETURN)),
        (Immediate(b"\x3a\x99", register=2), Redirect()),
    ],
)
def test_what_works_on_another_register_is_not_ours(expressions: tuple[Expression, ...]) -> None:
    """A rule of somebody else's that only looks like one of ours is shown by the kernel's words."""
    row = lift("nat", "OUTPUT", expressions)
    assert row.rule is None
    assert " ".join(type(each).__name__.lower() for each in expressions) == row.words
