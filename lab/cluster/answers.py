"""DNS messages: a question in, the answer out, from a zone. Pure.

Sources: RFC 1035, RFC 2181 (truncation), RFC 6891 (EDNS), RFC 2308 (what a negative answer says).
"""

import struct

import dnslib
from dnslib.label import DNSLabelError

from lab.cluster.zone import HOST_MASTER, NAME_SERVER, NOERROR, NXDOMAIN, REFUSED, Name, Record, Zone

TTL_S = 5
"""As CoreDNS' kubernetes plugin says unless it is told otherwise."""

UDP_BYTES = 512
EDNS_BYTES = 1232
"""What fits any path without fragments (dnsflagday.net, 2020)."""

MESSAGE_BYTES = 65_535

_HEADER = struct.Struct("!6H")
_RESPONSE, _OPCODES, _RECURSION_DESIRED = 0x8000, 0x7800, 0x100
_FORMERR, _NOTIMP = 1, 4
_BADVERS_HIGH = 1  # 16, of which the header holds the low four bits
_OPT = 41
_IN, _ANY = 1, 255
_TRANSFERS = (251, 252)  # IXFR, AXFR
_TIMES = (7200, 1800, 86400, TTL_S)  # refresh, retry, expire, and how long a negative answer holds
_QUESTIONS = ([1, 0, 0, 0], [1, 0, 0, 1])  # a question, and an OPT record at the most beside it


def answer(zone: Zone, packet: bytes, *, udp: bool, turn: int = 0) -> bytes | None:
    """Return the response to `packet`; None for what is no query, which nobody waits for.

    Of several records each comes first in its `turn`, for most programs take the first.
    """
    if len(packet) < _HEADER.size:
        return None
    number, flags, *counts = _HEADER.unpack_from(packet)
    if flags & _RESPONSE:
        return None
    if flags & _OPCODES or counts not in _QUESTIONS:
        status = _NOTIMP if flags & _OPCODES else _FORMERR
        return _HEADER.pack(number, _RESPONSE | flags & (_OPCODES | _RECURSION_DESIRED) | status, 0, 0, 0, 0)
    try:
        query = dnslib.DNSRecord.parse(packet)
    except (dnslib.DNSError, DNSLabelError, ValueError, IndexError, struct.error):
        return None
    return _packed(*_reply(zone, query, udp=udp, turn=turn))


def _reply(zone: Zone, query: dnslib.DNSRecord, *, udp: bool, turn: int) -> tuple[dnslib.DNSRecord, int]:
    """Return the response to one question, and how long it may be."""
    reply = query.reply(ra=0)
    reply.header.ad = reply.header.cd = 0
    edns = next((each for each in query.ar if each.rtype == _OPT), None)
    limit = UDP_BYTES if udp else MESSAGE_BYTES
    if edns is not None:
        limit = min(max(edns.rclass, limit), EDNS_BYTES) if udp else limit
        version = edns.ttl >> 16 & 0xFF
        reply.add_ar(dnslib.EDNS0(udp_len=EDNS_BYTES, ext_rcode=_BADVERS_HIGH if version else 0))
        if version:
            return reply, limit
    name = tuple(label.lower() for label in query.q.qname.label)
    _fill(reply, zone, name, query.q.qtype, query.q.qclass)
    start = turn % len(reply.rr) if reply.rr else 0
    reply.rr = reply.rr[start:] + reply.rr[:start]
    return reply, limit


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


def _packed(reply: dnslib.DNSRecord, limit: int) -> bytes:
    """Return the bytes of `reply`; of what does not fit, first what nobody asked for is left out, then answers."""
    data = bytes(reply.pack())
    if len(data) <= limit:
        return data
    reply.ar = [each for each in reply.ar if each.rtype == _OPT]
    data = bytes(reply.pack())
    if len(data) <= limit:
        return data
    reply.header.tc = 1
    whole = reply.rr
    fitting, too_many = 0, len(whole)
    while too_many - fitting > 1:
        half = (fitting + too_many) // 2
        reply.rr = whole[:half]
        if len(reply.pack()) <= limit:
            fitting = half
        else:
            too_many = half
    reply.rr = whole[:fitting]
    return bytes(reply.pack())
