"""Turns options into rules: the steps of istio-iptables, in its order. Pure.

Source: the behaviour of Istio's `tools/istio-iptables` and `tools/istio-nftables` at 1.32-dev. Where the two differ,
the step calls `backends`.
"""

from functools import lru_cache

from sidelab.sidecar.interception.build import backends, classic, dns_capture, tproxy
from sidelab.sidecar.interception.build.rule_builder import (
    DROP,
    INBOUND_SOURCE,
    LOOPBACK,
    RETURN,
    TCP,
    TO_LO,
    UDP,
    Program,
    destination,
    dport,
    gid,
    into,
    jump,
    not_,
    out_of,
    redirect,
    source,
    uid,
)
from sidelab.sidecar.interception.model.model import Family, PolicyRoute, Ruleset
from sidelab.sidecar.interception.options.options import Options, loopback_included
from sidelab.sidecar.interception.options.values import EVERYTHING

PREROUTING = ("nat", "PREROUTING")
OUTPUT = ("nat", "OUTPUT")
INBOUND = ("nat", "ISTIO_INBOUND")
OUTBOUND = ("nat", "ISTIO_OUTPUT")


@lru_cache(maxsize=256)
def build(options: Options) -> Ruleset:
    """Return the rules that Istio makes from `options`, for both backends."""
    program = Program(ipv6=options.enable_ipv6)
    if options.profile == "classic":
        classic.write(program, options)
    else:
        for step in STEPS:
            step(program, options)
    rules = tuple(program.rules)
    if options.quirks == "none":
        rules = backends.without_quirks(rules, ipv6=options.enable_ipv6)
    tproxied = options.interception_mode == "TPROXY"
    return Ruleset(
        rules=rules,
        ipv6=options.enable_ipv6,
        routes=tuple(PolicyRoute(f, options.tproxy_mark, options.tproxy_table) for f in (4, 6) if tproxied),
        loopback_addresses=(INBOUND_SOURCE[6],) if options.enable_ipv6 else (),
    )


def loopback(options: Options, family: Family) -> str:
    """Return the range of destinations that counts as the pod talking to itself."""
    return str(options.loopback_cidr) if family == 4 else LOOPBACK[6]


def skip_interfaces(program: Program, options: Options) -> None:
    """Leave the excluded interfaces alone."""
    tables = ("nat", "mangle") if options.interception_mode == "TPROXY" else ("nat",)
    for table in tables:
        for name in options.exclude_interfaces:
            program.add((table, "PREROUTING"), into(name), to=RETURN)
            program.add((table, "OUTPUT"), out_of(name), to=RETURN)
    for name in options.virtual_interfaces:
        program.add(PREROUTING, into(name), to=RETURN, at=1)


def drop_invalid(program: Program, options: Options) -> None:
    """Drop packets that conntrack finds out of window, so that the kernel does not reset the connection."""
    if options.drop_invalid:
        backends.drop_invalid(program, as_istio=options.quirks == "istio")
        program.add(("mangle", "ISTIO_DROP"), to=DROP)


def redirections(program: Program, options: Options) -> None:
    """Make the chains that lead into the proxy; the tunnel port is never captured."""
    program.add(INBOUND, TCP, dport(options.inbound_tunnel_port), to=RETURN)
    program.add(("nat", "ISTIO_REDIRECT"), TCP, to=redirect(options.proxy_port))
    program.add(("nat", "ISTIO_IN_REDIRECT"), TCP, to=redirect(options.inbound_capture_port))


def inbound(program: Program, options: Options) -> None:
    """Capture connections into the pod."""
    if not options.inbound_ports:
        return
    if options.interception_mode == "TPROXY":
        tproxy.inbound(program, options)
        return
    program.add(PREROUTING, TCP, to=jump("ISTIO_INBOUND"))
    if options.inbound_ports == EVERYTHING:
        for port in options.inbound_ports_exclude:
            program.add(INBOUND, TCP, dport(port), to=RETURN)
        program.add(INBOUND, TCP, to=jump("ISTIO_IN_REDIRECT"))
    else:
        for port in options.inbound_ports:
            program.add(INBOUND, TCP, dport(port), to=jump("ISTIO_IN_REDIRECT"))


def outbound_head(program: Program, options: Options) -> None:
    """Examine everything that leaves; let excluded ports and the sidecar's inbound leg pass."""
    program.add(OUTPUT, to=jump("ISTIO_OUTPUT"))
    for port in options.outbound_ports_exclude:
        program.add(OUTBOUND, TCP, dport(port), to=RETURN, bare_port=True)
        program.add(OUTBOUND, UDP, dport(port), to=RETURN, bare_port=True)
    for family in program.families:
        program.add(OUTBOUND, TO_LO, source(INBOUND_SOURCE[family]), to=RETURN, family=family)


def proxy_owner(program: Program, options: Options) -> None:
    """Distinguish the proxy's own traffic from the application's, by user and then by group.

    The proxy calling the pod's own address is inbound traffic; the application talking to itself is left alone;
    everything else that the proxy sends passes.
    """
    tunnel = options.inbound_tunnel_port
    own_traffic_returns = not loopback_included(options.outbound_cidrs)
    owners = [(uid(number), True) for number in options.proxy_uids]
    owners += [(gid(number), False) for number in options.proxy_gids]
    away = [(family, not_(destination(loopback(options, family)))) for family in program.families]
    to = jump("ISTIO_IN_REDIRECT")
    for owner, is_user in owners:
        # Only the rule by user excludes port 53: otherwise agent → resolver would become inbound traffic.
        ports = not_(dport(53, tunnel) if options.dns_captured and is_user else dport(tunnel))
        for family, elsewhere in away:
            program.add(OUTBOUND, TO_LO, elsewhere, TCP, ports, owner, to=to, family=family)
        if own_traffic_returns:
            besides_dns = (TCP, not_(dport(53))) if options.dns_captured else ()
            program.add(OUTBOUND, TO_LO, *besides_dns, not_(owner), to=RETURN)
        program.add(OUTBOUND, owner, to=RETURN)


def owner_groups(program: Program, options: Options) -> None:
    """Capture only some groups (one rule: none of them → return), or all but some (a rule each)."""
    if options.owner_groups == EVERYTHING:
        for group in options.owner_groups_exclude:
            program.add(OUTBOUND, gid(group), to=RETURN)
    else:
        program.add(OUTBOUND, *(not_(gid(group)) for group in options.owner_groups), to=RETURN)


def outbound_tail(program: Program, options: Options) -> None:
    """Let loopback and excluded ranges pass, then capture the included ports and ranges."""
    for family in program.families:
        program.add(OUTBOUND, destination(loopback(options, family)), to=RETURN, family=family)
    for cidr in sorted(options.outbound_cidrs_exclude, key=lambda cidr: cidr.version):
        program.add(OUTBOUND, destination(cidr), to=RETURN, family=cidr.version)
    to = jump("ISTIO_REDIRECT")
    for port in options.outbound_ports:
        program.add(OUTBOUND, TCP, dport(port), to=to, bare_port=True)
    if options.outbound_cidrs == EVERYTHING:
        program.add(OUTBOUND, to=to)
        for name in options.virtual_interfaces:
            program.add(PREROUTING, into(name), to=to, at=1)
        return
    for cidr in sorted(options.outbound_cidrs, key=lambda cidr: cidr.version):
        for name in options.virtual_interfaces:
            program.add(PREROUTING, into(name), destination(cidr), to=to, family=cidr.version, at=1)
        program.add(OUTBOUND, destination(cidr), to=to, family=cidr.version)


STEPS = (
    skip_interfaces,
    drop_invalid,
    redirections,
    inbound,
    outbound_head,
    proxy_owner,
    owner_groups,
    dns_capture.capture,
    outbound_tail,
    tproxy.marks,
)
