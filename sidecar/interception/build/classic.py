"""The rules of the older Istio that the tutorial's listing shows: a profile of its own, six rules outbound.

What that release lacked is left out, and `Options` refuses it: groups, DNS, TPROXY marks, interfaces.
"""

from sidelab.sidecar.interception.build.rule_builder import (
    INBOUND_SOURCE,
    LOOPBACK,
    RETURN,
    TCP,
    TO_LO,
    Program,
    destination,
    dport,
    jump,
    not_,
    redirect,
    source,
    uid,
)
from sidelab.sidecar.interception.options.options import Options
from sidelab.sidecar.interception.options.values import EVERYTHING

INBOUND = ("nat", "ISTIO_INBOUND")
OUTBOUND = ("nat", "ISTIO_OUTPUT")
SSH = 22


def write(program: Program, options: Options) -> None:
    """Write all rules of the profile."""
    program.add(INBOUND, TCP, dport(options.inbound_tunnel_port), to=RETURN)
    program.add(("nat", "ISTIO_REDIRECT"), TCP, to=redirect(options.proxy_port))
    program.add(("nat", "ISTIO_IN_REDIRECT"), TCP, to=redirect(options.inbound_capture_port))
    _inbound(program, options)
    _outbound(program, options)


def _inbound(program: Program, options: Options) -> None:
    if not options.inbound_ports:
        return
    program.add(("nat", "PREROUTING"), TCP, to=jump("ISTIO_INBOUND"))
    if options.inbound_ports == EVERYTHING:
        for port in (SSH, *options.inbound_ports_exclude):
            program.add(INBOUND, TCP, dport(port), to=RETURN)
        program.add(INBOUND, TCP, to=jump("ISTIO_IN_REDIRECT"))
        return
    for port in options.inbound_ports:
        program.add(INBOUND, TCP, dport(port), to=jump("ISTIO_IN_REDIRECT"))


def _outbound(program: Program, options: Options) -> None:
    program.add(("nat", "OUTPUT"), TCP, to=jump("ISTIO_OUTPUT"))
    for port in options.outbound_ports_exclude:
        program.add(OUTBOUND, TCP, dport(port), to=RETURN)
    for family in program.families:
        program.add(OUTBOUND, TO_LO, source(INBOUND_SOURCE[family]), to=RETURN, family=family)
    for number in options.proxy_uids:
        for family in program.families:
            away = not_(destination(LOOPBACK[family]))
            program.add(OUTBOUND, TO_LO, away, uid(number), to=jump("ISTIO_IN_REDIRECT"), family=family)
        program.add(OUTBOUND, TO_LO, not_(uid(number)), to=RETURN)
        program.add(OUTBOUND, uid(number), to=RETURN)
    for family in program.families:
        program.add(OUTBOUND, destination(LOOPBACK[family]), to=RETURN, family=family)
    for cidr in options.outbound_cidrs_exclude:
        program.add(OUTBOUND, destination(cidr), to=RETURN, family=cidr.version)
    for port in options.outbound_ports:
        program.add(OUTBOUND, TCP, dport(port), to=jump("ISTIO_REDIRECT"))
    if options.outbound_cidrs == EVERYTHING:
        program.add(OUTBOUND, to=jump("ISTIO_REDIRECT"))
    else:
        for cidr in options.outbound_cidrs:
            program.add(OUTBOUND, destination(cidr), to=jump("ISTIO_REDIRECT"), family=cidr.version)
