"""The steps of TPROXY: inbound connections reach the proxy with both addresses intact.

The proxy uses the client's address, so packets are distinguished by marks: 1337 (by default) is on packets that the
proxy handles, 1338 on those that it sends to the pod's own address.
"""

from sidelab.sidecar.interception.build.rule_builder import (
    ACCEPT,
    FROM_LO,
    INBOUND_SOURCE,
    LOOPBACK,
    RESTORE_MARK,
    RETURN,
    SAVE_MARK,
    TCP,
    TO_LO,
    Program,
    destination,
    dport,
    gid,
    jump,
    marked,
    not_,
    source,
    uid,
)
from sidelab.sidecar.interception.model.model import Key, Match, RuleAction, Target
from sidelab.sidecar.interception.options.options import Options
from sidelab.sidecar.interception.options.values import EVERYTHING

OUTBOUND_MARK = 1338
ESTABLISHED = Match(Key.CT_STATE, ("RELATED", "ESTABLISHED"))
PREROUTING = ("mangle", "PREROUTING")
OUTPUT = ("mangle", "OUTPUT")
INBOUND = ("mangle", "ISTIO_INBOUND")
DIVERT = ("mangle", "ISTIO_DIVERT")


def inbound(program: Program, options: Options) -> None:
    """Divert packets of known connections to the local stack, and new connections to the proxy's socket."""
    mark = options.tproxy_mark
    program.add(DIVERT, to=Target(RuleAction.MARK, number=mark))
    program.add(DIVERT, to=ACCEPT)
    taken = Target(RuleAction.TPROXY, port=options.inbound_capture_port, number=mark)
    for family in program.families:
        away = not_(destination(options.loopback_cidr if family == 4 else LOOPBACK[6]))
        program.add(("mangle", "ISTIO_TPROXY"), away, TCP, to=taken, family=family)
    program.add(PREROUTING, TCP, to=jump("ISTIO_INBOUND"))
    if options.inbound_ports == EVERYTHING:
        for port in options.inbound_ports_exclude:
            program.add(INBOUND, TCP, dport(port), to=RETURN)
        program.add(INBOUND, TCP, ESTABLISHED, to=jump("ISTIO_DIVERT"))
        program.add(INBOUND, TCP, to=jump("ISTIO_TPROXY"))
        return
    for port in options.inbound_ports:
        program.add(INBOUND, TCP, dport(port), ESTABLISHED, to=jump("ISTIO_DIVERT"))
        program.add(INBOUND, TCP, dport(port), to=jump("ISTIO_TPROXY"))


def marks(program: Program, options: Options) -> None:
    """Keep the proxy's connections to the application out of the proxy, and route their answers back to it."""
    if options.interception_mode != "TPROXY":
        return
    mark = options.tproxy_mark
    program.add(PREROUTING, TCP, marked(mark), to=SAVE_MARK)
    program.add(OUTPUT, TCP, TO_LO, marked(mark), to=RETURN)
    owners = [uid(number) for number in options.proxy_uids] + [gid(number) for number in options.proxy_gids]
    for owner in owners:
        for family in program.families:
            away = not_(destination(options.loopback_cidr if family == 4 else LOOPBACK[6]))
            to = Target(RuleAction.MARK, number=OUTBOUND_MARK)
            program.add(OUTPUT, away, TCP, TO_LO, owner, to=to, family=family)
    program.add(OUTPUT, TCP, Match(Key.CONNMARK, (mark,)), to=RESTORE_MARK)
    program.add(INBOUND, TCP, marked(mark), to=RETURN, at=1)
    for family in program.families:
        program.add(INBOUND, TCP, source(INBOUND_SOURCE[family]), FROM_LO, to=RETURN, family=family, at=2)
    program.add(INBOUND, TCP, FROM_LO, not_(marked(OUTBOUND_MARK)), to=RETURN, at=3)
