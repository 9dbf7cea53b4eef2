"""One call of grpc.health.v1.Health/Check as the kubelet makes it: HTTP/2 without TLS; SERVING passes.

Sources: github.com/grpc/grpc doc/PROTOCOL-HTTP2.md and doc/health-checking.md; kubernetes pkg/probe/grpc. Imported when
the first such probe is made, for HTTP/2 takes longer to import than everything else here.
"""

import struct
from collections.abc import Iterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

from lab.loop import Loop
from lab.manifest import GRPC
from lab.probes.outcome import Finish, Outcome
from lab.probes.stream import Stream

_FRAME = struct.Struct(">BI")  # whether it is compressed, and how long the message is
_STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_SERVING = 1
_CODES = {"5": "NOT_FOUND", "12": "UNIMPLEMENTED", "14": "UNAVAILABLE"}
_ANSWER_BYTES = 1 << 14
_VARINT_BYTES = 10


class Check:
    """A call to `address`; `finish` hears once whether the answer is SERVING, and why not."""

    def __init__(self, loop: Loop, grpc: GRPC, address: tuple[str, int], finish: Finish) -> None:
        self._grpc = grpc
        self._address = address
        self._finish = finish
        self._headers: dict[str, str] = {}
        self._body = b""
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self._stream = Stream(loop, address, self)

    def close(self) -> None:
        """Give up."""
        self._stream.close()

    def opened(self) -> None:
        """Send the request: a message with one field, the service's name."""
        connection = self._connection
        connection.initiate_connection()
        host, port = self._address
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", f"[{host}]:{port}" if ":" in host else f"{host}:{port}"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", "kube-probe/sidelab"),
        ]
        name = self._grpc.service.encode()
        message = b"\x0a" + _varint(len(name)) + name if name else b""
        number = connection.get_next_available_stream_id()
        connection.send_headers(number, headers)
        connection.send_data(number, _FRAME.pack(0, len(message)) + message, end_stream=True)
        self._stream.send(connection.data_to_send())

    def received(self, data: bytes) -> None:
        """Judge the answer when it is complete."""
        try:
            events = self._connection.receive_data(data)
        except ProtocolError:
            self._end(Outcome(passed=False, reason="no HTTP/2 answer"))
            return
        for event in events:
            match event:
                case ResponseReceived() | TrailersReceived():
                    self._headers |= {str(name): str(value) for name, value in event.headers or ()}
                case DataReceived():
                    self._body += event.data or b""
                    if len(self._body) > _ANSWER_BYTES:
                        self._end(Outcome(passed=False, reason=f"its answer is longer than {_ANSWER_BYTES} bytes"))
                        return
                case StreamEnded():
                    self._end(_judged(self._headers, self._body))
                    return
                case StreamReset() | ConnectionTerminated():
                    self._end(Outcome(passed=False, reason=f"the call was ended with HTTP/2 error {event.error_code}"))
                    return
        self._stream.send(self._connection.data_to_send())

    def ended(self, reason: str) -> None:
        """Hear that there will be no answer."""
        self._end(Outcome(passed=False, reason=reason or "no gRPC answer"))

    def _end(self, outcome: Outcome) -> None:
        self._stream.close()
        self._finish(outcome)


def _judged(headers: dict[str, str], body: bytes) -> Outcome:
    if headers.get(":status") != "200":
        return Outcome(passed=False, reason=f"status {headers.get(':status')}")
    code = headers.get("grpc-status", "2")
    if code != "0":
        message = headers.get("grpc-message", "")
        ending = f": {message:.200}" if message else ""
        return Outcome(passed=False, reason=f"gRPC status {_CODES.get(code, code[:20])}{ending}")
    try:
        compressed, length = _FRAME.unpack_from(body)
        status = dict(_fields(body[_FRAME.size : _FRAME.size + length])).get(1, 0)
    except (struct.error, ValueError):
        compressed, status = 1, 0
    if compressed:
        return Outcome(passed=False, reason="no message of grpc.health.v1")
    word = _STATUS[status] if status < len(_STATUS) else str(status)
    return Outcome(passed=status == _SERVING, reason="" if status == _SERVING else word)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def _fields(message: bytes) -> Iterator[tuple[int, int]]:
    """Yield number and value of the integers in a protobuf message; raises `ValueError` for what is none."""
    place = 0

    def varint() -> int:
        nonlocal place
        value = 0
        for index, byte in enumerate(message[place : place + _VARINT_BYTES]):
            value |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                place += index + 1
                return value
        raise ValueError

    while place < len(message):
        key = varint()
        match key & 7:
            case 0:
                yield key >> 3, varint()
            case 1:
                place += 8
            case 2:
                length = varint()
                place += length
            case 5:
                place += 4
            case _:
                raise ValueError
