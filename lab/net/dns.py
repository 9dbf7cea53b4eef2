"""DNS messages as a lab's servers read and write them, the cluster's and the agents': framing, limits, refusals; pure.

Sources: RFC 1035, RFC 2181 (truncation), RFC 6891 (EDNS); what is refused before it is looked at is what
github.com/miekg/dns refuses, which CoreDNS and Istio's agent are written with (`DefaultMsgAcceptFunc`).
"""

import struct
from typing import NamedTuple

import dnslib
from dnslib.label import DNSLabelError

UDP_BYTES = 512
EDNS_BYTES = 1232
"""What fits any path without fragments (dnsflagday.net, 2020)."""

MESSAGE_BYTES = 65_535
FORMERR, SERVFAIL, NOTIMP, REFUSED = 1, 2, 4, 5  # RFC 1035, 4.1.1

_HEADER = struct.Struct("!6H")
_RESPONSE, _OPCODES, _RECURSION_DESIRED = 0x8000, 0x7800, 0x100
_BADVERS_HIGH = 1  # 16, of which the header holds the low four bits
_OPT = 41
_MOST = (1, 1, 1, 2)  # questions, answers, authorities, additional records of a query
_LABEL_BYTES, _NAME_BYTES = 63, 255
_UNREADABLE = (
    *(dnslib.DNSError, DNSLabelError, struct.error),
    *(ValueError, IndexError, KeyError, TypeError, AttributeError),
)
"""What dnslib raises for damaged messages."""


class Query(NamedTuple):
    """One question that can be answered; its response may be `limit` bytes long."""

    record: dnslib.DNSRecord
    limit: int
    edns: bool

    @property
    def labels(self) -> tuple[bytes, ...]:
        """The name in lower case, without the root's label."""
        return tuple(label.lower() for label in self.record.q.qname.label)

    def reply(self, *, recursion: bool) -> dnslib.DNSRecord:
        """Return a response without records; it repeats the question as it was written, capitals included."""
        reply = self.record.reply(ra=int(recursion))
        reply.header.ad = reply.header.cd = 0
        if self.edns:
            reply.add_ar(dnslib.EDNS0(udp_len=EDNS_BYTES))
        return reply


def read(packet: bytes, *, udp: bool) -> Query | bytes | None:
    """Return the question in `packet`, the refusal that it deserves, or None for what nobody waits to be answered."""
    if len(packet) < _HEADER.size or packet[2] & 0x80:  # a response
        return None
    _, flags, *counts = _HEADER.unpack_from(packet)
    if flags & _OPCODES:
        return _header(packet, NOTIMP)
    asks_once = counts[0] == 1 and all(count <= most for count, most in zip(counts, _MOST, strict=True))
    record = _parsed(packet) if asks_once else None
    return _header(packet, FORMERR) if record is None else _limited(record, udp=udp)


def _limited(record: dnslib.DNSRecord, *, udp: bool) -> Query | bytes:
    """Return the question with the length that its response may have, or the refusal of an unknown version of EDNS."""
    opt = _opt(record)
    limit = UDP_BYTES if udp else MESSAGE_BYTES
    if opt is None:
        return Query(record, limit, edns=False)
    if opt.ttl >> 16 & 0xFF:
        reply = record.reply(ra=0)
        reply.add_ar(dnslib.EDNS0(udp_len=EDNS_BYTES, ext_rcode=_BADVERS_HIGH))
        return bytes(reply.pack())
    return Query(record, min(max(opt.rclass, limit), EDNS_BYTES) if udp else limit, edns=True)


def _opt(record: dnslib.DNSRecord) -> dnslib.RR | None:
    return next((each for each in record.ar if each.rtype == _OPT), None)


def answers(message: bytes, query: bytes) -> bool:
    """Return whether `message` is a response with the number of `query`."""
    return len(message) >= _HEADER.size and bool(message[2] & 0x80) and message[:2] == query[:2]


def refused(packet: bytes, status: int) -> bytes:
    """Return a response without records to a query; with its question, for resolvers wait for one that has it.

    A query with EDNS has a response with EDNS, whatever the response says (RFC 6891, 6.1.1).
    """
    record = _parsed(packet)
    if record is None:
        return _header(packet, status)
    reply = Query(record, MESSAGE_BYTES, edns=_opt(record) is not None).reply(recursion=True)
    reply.header.aa, reply.header.rcode = 0, status
    return bytes(reply.pack())


def packed(reply: dnslib.DNSRecord, limit: int) -> bytes:
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


def framed(message: bytes) -> bytes:
    """Return a message as it is sent over TCP, behind its length (RFC 1035, 4.2.2)."""
    return len(message).to_bytes(2, "big") + message


class Messages:
    """The messages of one TCP connection, out of bytes that arrive in pieces."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take what has arrived, and return the messages that are now complete."""
        buffer = self._buffer + data
        start, found = 0, []
        while len(buffer) - start >= 2:
            end = start + 2 + int.from_bytes(buffer[start : start + 2], "big")
            if end > len(buffer):
                break
            found.append(buffer[start + 2 : end])
            start = end
        self._buffer = buffer[start:]
        return found


def _header(packet: bytes, status: int) -> bytes:
    number, flags = struct.unpack_from("!HH", packet)
    return _HEADER.pack(number, _RESPONSE | flags & (_OPCODES | _RECURSION_DESIRED) | status, 0, 0, 0, 0)


def _parsed(packet: bytes) -> dnslib.DNSRecord | None:
    """Return what can also be written again: dnslib reads labels that are too long, and fails when it writes them."""
    try:
        record = dnslib.DNSRecord.parse(packet)
        labels = record.q.qname.label
    except _UNREADABLE:
        return None
    long = any(not 0 < len(label) <= _LABEL_BYTES for label in labels)
    return None if long or sum(len(label) + 1 for label in labels) >= _NAME_BYTES else record
