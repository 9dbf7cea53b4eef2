"""Fuzz targets that only read: DNS, manifests, results, control messages. Only the intended errors may be raised."""

import gzip
import json
import socket
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import dnslib
import msgspec

from sidelab.bench.record.reader import read_run
from sidelab.lab.base import framing
from sidelab.lab.cluster.dns import replies
from sidelab.lab.cluster.dns.zone import Zone
from sidelab.lab.cluster.state import PublishedEndpoint, PublishedPort, PublishedService, State
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import decode
from sidelab.lab.net import dns
from sidelab.lab.runtime.supervision.control_requests import Request
from sidelab.sidecar.agent.dns.nametable import table
from sidelab.sidecar.agent.dns.resolver import local_answer

_ROOT = Path(__file__).parents[2]
_STATE = State(
    generation=1,
    services=tuple(
        PublishedService(
            name=name,
            namespace="default",
            ipv4=ipv4,
            ipv6="",
            families=("IPv4",),
            ports=(PublishedPort(name="http", protocol="TCP", port=80),),
            endpoints=tuple(
                PublishedEndpoint(
                    pod=("default", f"web-{each}"), ipv4=f"10.244.0.{each}", ipv6="", ready=True, targets=(80,)
                )
                for each in range(3)
            ),
        )
        for name, ipv4 in (("web", "10.96.0.11"), ("headless", ""))
    ),
)


def _questions() -> tuple[bytes, ...]:
    services = (f"{name}.default.svc.cluster.local" for name in ("web", "headless"))
    names = (*services, "example.org", "WEB", "2.0.244.10.in-addr.arpa")
    kinds = ("A", "SRV", "ANY", "PTR")
    plain = [bytes(dnslib.DNSRecord.question(name, kind).pack()) for name in names for kind in kinds]
    record = dnslib.DNSRecord.question(names[0])
    record.add_ar(dnslib.EDNS0(udp_len=4096, opts=[dnslib.EDNSOption(10, b"cookie12")]))
    return (*plain, bytes(record.pack()), plain[0] + b"\xc0\x0c", b"\0\1" + bytes(10), bytes(record.reply().pack()))


QUESTIONS = _questions()
LABELS = (
    *(
        b"\xc0\x0c",
        b"\xc0\x00",
        b"\xff\xff",
        b"\x3f",
        b"\x40",
        b"\x7f",
        b"\x80",
        b"\0",
        b"\0\xff",
        b"\0\1\0\1",
        b"\xc0",
    ),
    *(
        b"\x03web",
        b"\x07default\x03svc",
        b"\0\0\x29\x10\0\0\1\0\0\0\0",
        b"\0\xfb",
        b"\0\xfc",
        b"\x3f" + b"a" * 63,
        b"\n\x1b[",
    ),
)
YAML = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b": ",
        b"- ",
        b"&a ",
        b"*a",
        b"!!python/object:os.system ",
        b"|\n",
        b"\n---\n",
        b"\t",
        b"null",
    ),
    *(
        b"1e999",
        b"0x10",
        b"\xff\xfe",
        b"\0",
        b'"\\ud800"',
        b"<<: ",
        b"yes",
        b"2001-01-01",
        b"99999999999999999999",
        b"- - - -",
    ),
)
JSON = (
    *YAML[:4],
    b":",
    b",",
    b'"',
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"NaN",
    b"\\u0000",
    b"99999999999999999999",
    b"[" * 200,
)


class Names:
    """The cluster's name server and the agent's resolver."""

    def __init__(self) -> None:
        self._zone = Zone(_STATE)
        self._table = table(_STATE, "default")

    def cluster(self, data: bytes, number: int) -> None:
        """Query the cluster's name server."""
        udp = bool(number % 2)
        found = replies.answer(self._zone, data, udp=udp, turn=number)
        _check_response(data, found, udp=udp)

    def agent(self, data: bytes, number: int) -> None:
        """Query the agent's resolver; other names would be forwarded, or come back with a failure."""
        udp = bool(number % 2)
        query = dns.read(data, udp=udp)
        found = query if not isinstance(query, dns.Query) else local_answer(query, self._table, number)
        if isinstance(query, dns.Query) and found is None:
            found = dns.refused(data, dns.SERVFAIL)
        _check_response(data, found, udp=udp)
        dns.answers(data, QUESTIONS[0])
        messages = dns.Messages()
        assert messages.feed(dns.framed(data)[:3]) + messages.feed(dns.framed(data)[3:]) == [data]


def _check_response(query: bytes, response: bytes | None, *, udp: bool) -> None:
    """Check that a response is one, fits, and never answers a response: no two servers may answer each other."""
    if response is None:
        assert len(query) < 12 or query[2] & 0x80
        return
    assert not query[2] & 0x80
    assert response[2] & 0x80
    assert response[:2] == query[:2]
    assert len(response) <= (dns.EDNS_BYTES if udp else dns.MESSAGE_BYTES)


MANIFESTS = tuple(
    path.read_bytes() for path in sorted((_ROOT / "examples").glob("*.yaml")) if path.stat().st_size < 3000
)


def manifest(data: bytes, _number: int) -> None:
    """Read a manifest: it is valid, or a message of one line says why not."""
    problem = ""
    try:
        decode([("f.yaml", data)])
    except InputError as error:
        problem = str(error)
    assert len(problem.splitlines()) <= 1, problem


def _results() -> tuple[bytes, ...]:
    reference = _ROOT / "results" / "reference"
    facts = json.loads((reference / "run.json").read_text())
    with gzip.open(reference / "samples.csv.gz", "rb") as samples:
        lines = [next(samples) for _ in range(4)]
    facts["environment"] = {}
    whole = gzip.compress(b"".join(lines))
    return tuple(
        json.dumps(facts | {"state": state}).encode() + b"\0" + each
        for state in ("complete", "running")
        for each in (whole, whole + gzip.compress(lines[1]), b"".join(lines))
    )


RESULTS = _results()


class Results:
    """A directory in /dev/shm, written anew for every input."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def check(self, data: bytes, _number: int) -> None:
        """Read a run: the bytes up to the first NUL are run.json, the rest is samples."""
        facts, _, samples = data.partition(b"\0")
        (self._directory / "run.json").write_bytes(facts)
        (self._directory / "samples.csv.gz").write_bytes(samples)
        with suppress(InputError):
            read_run(self._directory)


_MESSAGES: tuple[dict[str, Any], ...] = (
    {"verb": "status"},
    {"verb": "log", "pod": ["default", "web"], "container": None},
    {"verb": "socket", "pod": None, "family": 16, "type": 3, "protocol": 12},
    {"verb": "namespaces", "pods": [["default", "web"]]},
    {"verb": "exec", "pod": ["a", "b"], "argv": ["true"], "container": "c", "env": {"A": "b"}, "terminal": False},
    {
        "verb": "apply",
        "pods": [],
        "services": [],
        "namespaces": [],
        "service_accounts": [],
        "live": ["a"],
        "prune": True,
    },
)
MESSAGES = tuple(
    struct.pack("=I", len(each)) + each for each in (json.dumps(message).encode() for message in _MESSAGES)
)


def control_messages(data: bytes, _number: int) -> None:
    """Read messages of a control socket, and find which request each one is."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        ours.setblocking(False)
        with suppress(BlockingIOError):
            ours.send(data)
        ours.shutdown(socket.SHUT_WR)
        inbox = framing.Inbox(theirs)
        with suppress(framing.MalformedError, ConnectionResetError):
            while (received := inbox.read()) not in (None, ({}, [])):
                assert received is not None
                with suppress(msgspec.ValidationError):
                    msgspec.convert(received[0], Request)
