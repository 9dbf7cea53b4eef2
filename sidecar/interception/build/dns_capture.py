"""The step that redirects DNS to the agent on 15053, and puts its two legs into separate conntrack zones.

Zone 1 is agent ↔ resolver, zone 2 application ↔ agent: in one zone their tuples would clash.
"""

from ipaddress import ip_interface

from sidelab.sidecar import istio_ports
from sidelab.sidecar.interception.build import backends
from sidelab.sidecar.interception.build.rule_builder import (
    TCP,
    UDP,
    Program,
    destination,
    dport,
    gid,
    jump,
    redirect,
    source,
    sport,
    uid,
)
from sidelab.sidecar.interception.model.model import Family, Match, RuleAction, Target
from sidelab.sidecar.interception.options.options import Options

RESOLVER_ZONE = Target(RuleAction.ZONE, number=1)
CLIENT_ZONE = Target(RuleAction.ZONE, number=2)
NAT = ("nat", "ISTIO_OUTPUT_DNS")
RAW_OUT = ("raw", "ISTIO_OUTPUT_DNS")
RAW_IN = ("raw", "ISTIO_INBOUND")


def capture(program: Program, options: Options) -> None:
    """Capture queries to all servers, or to the known ones."""
    if not options.dns_captured:
        return
    program.add(("raw", "OUTPUT"), to=jump("ISTIO_OUTPUT_DNS"))
    if options.capture_all_dns:
        program.add(("nat", "ISTIO_OUTPUT"), to=jump("ISTIO_OUTPUT_DNS"))
        program.add(NAT, TCP, dport(53), to=redirect(istio_ports.DNS))
        program.add(NAT, UDP, dport(53), to=redirect(istio_ports.DNS), bare_port=True)
        _agent_zones(program, options)
        program.add(("raw", "PREROUTING"), to=jump("ISTIO_INBOUND"))
        program.add(RAW_OUT, UDP, dport(53), to=CLIENT_ZONE)
        program.add(RAW_IN, UDP, sport(53), to=RESOLVER_ZONE)
    else:
        _known_servers(program, options)


def _known_servers(program: Program, options: Options) -> None:
    servers = _servers(options)
    families: tuple[Family, ...] = tuple(sorted({family for family, _ in servers}))
    place, chain = ("nat", "ISTIO_OUTPUT"), "ISTIO_OUTPUT_DNS"
    backends.dns_jump(program, place, chain, families)
    for family in program.families:
        backends.dns_family_jump(program, place, chain, families, family)
    for protocol in (TCP, UDP):
        for family, server in servers:
            to = redirect(istio_ports.DNS)
            program.add(NAT, protocol, dport(53), destination(server), to=to, family=family, bare_port=True)
    _agent_zones(program, options)
    place, chain = ("raw", "PREROUTING"), "ISTIO_INBOUND"
    backends.dns_jump(program, place, chain, families)
    for wanted in families:
        backends.dns_family_jump(program, place, chain, families, wanted)
        for family, server in servers:
            if family == wanted:
                program.add(RAW_OUT, UDP, dport(53), destination(server), to=CLIENT_ZONE, family=family)
                program.add(RAW_IN, UDP, sport(53), source(server), to=RESOLVER_ZONE, family=family)


def _servers(options: Options) -> list[tuple[Family, str]]:
    """Return each server as its family and a range of one address, IPv4 first."""
    ranges = [ip_interface(server) for server in options.dns_servers]
    return [(one.version, str(one)) for one in sorted(ranges, key=lambda one: one.version)]


def _agent_zones(program: Program, options: Options) -> None:
    owners: list[Match] = [uid(number) for number in options.proxy_uids]
    owners += [gid(number) for number in options.proxy_gids]
    for owner in owners:
        program.add(RAW_OUT, UDP, dport(53), owner, to=RESOLVER_ZONE)
        program.add(RAW_OUT, UDP, sport(istio_ports.DNS), owner, to=CLIENT_ZONE)
