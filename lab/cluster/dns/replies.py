"""The cluster's answers: a question in, the answer out, from a zone. Pure.

Sources: RFC 1035, RFC 2308 (what a negative answer says). How messages are read and cut is `lab.net.dns`.
"""

import dnslib

from sidelab.lab.cluster.dns.zone import HOST_MASTER, NAME_SERVER, NOERROR, NXDOMAIN, REFUSED, Name, Record, Zone
from sidelab.lab.net import dns

TTL_S = 5
"""The default of CoreDNS' kubernetes plugin."""

_IN, _ANY = 1, 255
_TRANSFERS = (251, 252)  # IXFR, AXFR
_TIMES = (7200, 1800, 86400, TTL_S)  # refresh, retry, expire, and how long a negative answer holds


def answer(zone: Zone, packet: bytes, *, udp: bool, turn: int = 0) -> bytes | None:
    """Return the response to `packet`; None if it is not a query, as then nobody waits for a response.

    Each of several records comes first in its `turn`, because most programs take the first.
    """
    query = dns.read(packet, udp=udp)
    if not isinstance(query, dns.Query):
        return query
    reply = query.reply(recursion=False)
    _fill(reply, zone, query.labels, query.record.q.qtype, query.record.q.qclass)
    start = turn % len(reply.rr) if reply.rr else 0
    reply.rr = reply.rr[start:] + reply.rr[:start]
    return dns.packed(reply, query.limit)


def _fill(reply: dnslib.DNSRecord, zone: Zone, name: Name, qtype: int, qclass: int) -> None:
    if qclass not in (_IN, _ANY) or qtype in _TRANSFERS:
        reply.header.rcode, reply.header.aa = REFUSED, 0
        return
    found = zone.find(name, str(dnslib.QTYPE[qtype]))
    reply.header.rcode = found.status
    if found.origin is None:
        reply.header.aa = 0
        return
    question = reply.q.qname
    reply.add_answer(*(_record(question, each, zone) for each in found.records))
    if found.status == NXDOMAIN or (found.status == NOERROR and not found.records):
        reply.add_auth(_record(dnslib.DNSLabel(found.origin), Record("SOA", ()), zone))
    reply.add_ar(*(_record(dnslib.DNSLabel(owner), each, zone) for owner, each in found.additional))


def _record(owner: dnslib.DNSLabel, record: Record, zone: Zone) -> dnslib.RR:
    match record.kind:
        case "SOA":
            server = dnslib.DNSLabel(NAME_SERVER)
            data = dnslib.SOA(server, dnslib.DNSLabel(HOST_MASTER), (zone.serial, *_TIMES))
        case "PTR" | "NS":
            data = getattr(dnslib, record.kind)(dnslib.DNSLabel(record.data[0]))
        case "SRV":
            *numbers, target = record.data
            data = dnslib.SRV(*numbers, dnslib.DNSLabel(target))
        case kind:
            data = getattr(dnslib, kind)(record.data[0])
    return dnslib.RR(owner, getattr(dnslib.QTYPE, record.kind), ttl=TTL_S, rdata=data)
