"""Which options are tried: random ones about the grid's addresses, ports and users, and a few with all value pairs.

They are made from pools, because a range or port that no probe meets tests nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from itertools import combinations
from typing import Any

from grid import LOCALHOST, MACHINE, NEAR, POD, POD_NET1, STUB_RESOLVER, TCP_PORTS, WORLD
from hypothesis import strategies as st

from sidelab.sidecar.interception.options.options import Options
from sidelab.sidecar.interception.options.values import Cidr

ADDRESSES = [place[family] for place in (WORLD, NEAR, MACHINE, POD, POD_NET1, LOCALHOST) for family in (4, 6)]


def _cidrs(*texts: str) -> tuple[Cidr, ...]:
    return tuple(map(ip_interface, texts))


def _some(values: Sequence[Any], most: int, least: int = 0) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(st.sampled_from(values), min_size=least, max_size=most, unique=True).map(tuple)


def _range_around(address: str, bits_outside: int) -> Cidr:
    width = ip_address(address).max_prefixlen
    return ip_interface(f"{address}/{width - min(bits_outside, width)}")


PORTS = _some(TCP_PORTS, 3)
# Of any length, but more often one that separates one of the grid's addresses from the next.
CIDR = st.builds(_range_around, st.sampled_from(ADDRESSES), st.integers(0, 24) | st.integers(0, 128))
CIDRS = st.lists(CIDR, max_size=2).map(tuple)
GROUPS = _some((0, 202, 1000, "root"), 2)
STAR = st.just("*")
MOSTLY = st.sampled_from((True, True, False))
LOOPBACKS = _cidrs("127.0.0.1/32", "127.0.0.1/8", "127.0.0.1/30")
SERVERS = tuple(map(ip_address, (WORLD[4], WORLD[6], NEAR[4], STUB_RESOLVER)))
COMMON: dict[str, st.SearchStrategy[Any]] = {
    "proxy_port": st.sampled_from((15001, 15101)),
    "inbound_capture_port": st.sampled_from((15006, 15106)),
    "inbound_tunnel_port": st.sampled_from((15008, 80)),
    "proxy_uids": _some((1337, 0, 1500), 2, least=1),
    "inbound_ports": STAR | STAR | PORTS,
    "inbound_ports_exclude": PORTS,
    "outbound_cidrs": STAR | STAR | CIDRS,
    "outbound_cidrs_exclude": CIDRS,
    "outbound_ports": PORTS,
    "outbound_ports_exclude": PORTS,
    "enable_ipv6": MOSTLY,
    "quirks": st.sampled_from(("istio", "istio", "none")),
}
ISTIO = st.builds(
    Options,
    **COMMON,
    proxy_gids=_some((1337, 0, 202), 2),
    interception_mode=st.sampled_from(("REDIRECT", "TPROXY")),
    exclude_interfaces=_some(("eth0", "net1", "lo"), 1),
    virtual_interfaces=_some(("net1", "eth0"), 1),
    owner_groups=STAR | STAR | GROUPS,
    owner_groups_exclude=GROUPS,
    loopback_cidr=st.sampled_from(LOOPBACKS),
    tproxy_mark=st.sampled_from((1337, 7)),
    tproxy_table=st.sampled_from((133, 200)),
    redirect_dns=MOSTLY,
    capture_all_dns=st.booleans(),
    dns_servers=_some(SERVERS, 3),
    drop_invalid=st.booleans(),
)
CLASSIC = st.builds(Options, **COMMON, profile=st.just("classic"))
RANDOM = st.integers(0, 9).flatmap(lambda number: CLASSIC if number == 9 else ISTIO)

# Every pair of these values occurs in some option set; each first one is the production value or the plainest.
VALUES: dict[str, tuple[Any, ...]] = {
    "interception_mode": ("REDIRECT", "TPROXY"),
    "inbound_ports": ("*", (80, 15020), ()),
    "inbound_ports_exclude": ((), (15020, 22)),
    "inbound_tunnel_port": (15008, 80),
    "proxy_uids": ((1337,), (0, 1500)),
    "proxy_gids": ((), (1337,), (202, 0)),
    "exclude_interfaces": ((), ("net1",), ("lo",)),
    "virtual_interfaces": ((), ("net1",)),
    "outbound_cidrs": ("*", _cidrs("10.9.0.1/23", "fd00:9::/31"), _cidrs("127.0.0.0/8", "10.60.0.0/16")),
    "outbound_cidrs_exclude": ((), _cidrs("10.60.0.0/14", "fd00:60::5/128")),
    "outbound_ports": ((), (3306, 53)),
    "outbound_ports_exclude": ((), (80,), (53,)),
    "owner_groups": ("*", (202, "root"), ()),
    "owner_groups_exclude": ((), (1000,)),
    "loopback_cidr": LOOPBACKS[:2],
    "redirect_dns": (False, True),
    "capture_all_dns": (False, True),
    "dns_servers": ((), SERVERS[:2], SERVERS[2:]),
    "drop_invalid": (False, True),
    "enable_ipv6": (True, False),
    "quirks": ("istio", "none"),
}

PRODUCTION = Options(inbound_ports="*", inbound_ports_exclude=(15020,), outbound_cidrs="*", enable_ipv6=True)
TPROXY = replace(PRODUCTION, interception_mode="TPROXY", outbound_ports_exclude=(80,))


def pairwise(values: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return few rows in which every two values of different fields occur together; always the same ones.

    Greedy: a row starts with the first missing pair, and then takes, field by field, the value that adds the most
    missing pairs.
    """
    fields = list(values)
    missing = {
        frozenset(((one, i), (other, j)))
        for one, other in combinations(fields, 2)
        for i in range(len(values[one]))
        for j in range(len(values[other]))
    }
    rows = []
    while missing:
        row = dict(min(missing, key=lambda pair: sorted((fields.index(field), place) for field, place in pair)))
        for field in sorted(fields, key=lambda field: (-len(values[field]), fields.index(field))):
            if field not in row:
                gains = [
                    sum(frozenset((pair, (field, place))) in missing for pair in row.items())
                    for place in range(len(values[field]))
                ]
                row[field] = gains.index(max(gains))
        missing -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        rows.append({field: values[field][row[field]] for field in fields})
    return rows


def selection() -> list[Options]:
    """Return few option sets: what runs in production, the classic profile, and all pairs of `VALUES`.

    TPROXY's exclusions need three options together, so they are listed explicitly.
    """
    named = [PRODUCTION, replace(PRODUCTION, profile="classic"), TPROXY]
    named += [replace(TPROXY, exclude_interfaces=(name,)) for name in ("net1", "lo")]
    return [*named, *(Options(**row) for row in pairwise(VALUES))]
