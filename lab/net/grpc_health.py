"""One call of grpc.health.v1.Health/Check over HTTP/2 without TLS: bytes in, bytes out; pure.

Imported when the first such probe is made, for HTTP/2 takes longer to import than everything else here. Sources:
github.com/grpc/grpc doc/PROTOCOL-HTTP2.md and doc/health-checking.md; kubernetes pkg/probe/grpc.
"""

import struct
from collections.abc import Iterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

_FRAME = struct.Struct(">BI")  # whether it is compressed, and how long the message is
_STATUS = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
_SERVING = 1
_CODES = {"5": "NOT_FOUND", "12": "UNIMPLEMENTED", "14": "UNAVAILABLE"}
_ANSWER_BYTES = 1 << 14
_CONNECTION_BYTES = 1 << 17  # all frames of one call, of which an answer takes a few hundred bytes
_VARINT_BYTES = 10


class Call:
    """The call: send what `outbox` gives, `feed` what arrives.

    Once `done`, `problem` is why the service does not serve, "" where it does.
    """

    def __init__(self, service: str, authority: str, user_agent: str) -> None:
        """Prepare to ask whether `service` serves; "" is the server as a whole."""
        self.done = False
        self.problem = ""
        self._headers: dict[str, str] = {}
        self._body = b""
        self._arrived = 0
        self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
        self._connection.initiate_connection()
        headers = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/grpc.health.v1.Health/Check"),
            (":authority", authority),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("user-agent", user_agent),
        ]
        name = service.encode()
        message = b"\x0a" + _varint(len(name)) + name if name else b""
        number = self._connection.get_next_available_stream_id()
        self._connection.send_headers(number, headers)
        self._connection.send_data(number, _FRAME.pack(0, len(message)) + message, end_stream=True)

    def outbox(self) -> bytes:
        """Return what is to be sent now, once."""
        return bytes(self._connection.data_to_send())

    def feed(self, data: bytes) -> bool:
        """Take what has arrived, b"" for the connection's end; returns `done`."""
        self._arrived += len(data)
        if not data or self._arrived > _CONNECTION_BYTES:
            return self._end("no gRPC answer" if not data else f"no gRPC answer within {_CONNECTION_BYTES} bytes")
        try:
            events = self._connection.receive_data(data)
        except ProtocolError:
            return self._end("no HTTP/2 answer")
        for event in events:
            match event:
                case ResponseReceived() | TrailersReceived():
                    self._headers |= {str(name): str(value) for name, value in event.headers or ()}
                case DataReceived():
                    self._body += event.data or b""
                    if len(self._body) > _ANSWER_BYTES:
                        return self._end(f"its answer is longer than {_ANSWER_BYTES} bytes")
                case StreamEnded():
                    return self._end(_problem(self._headers, self._body))
                case StreamReset() | ConnectionTerminated():
                    return self._end(f"the call was ended with HTTP/2 error {event.error_code}")
        return False

    def _end(self, problem: str) -> bool:
        self.done, self.problem = True, problem
        return True


def _problem(headers: dict[str, str], body: bytes) -> str:
    if headers.get(":status") != "200":
        return f"status {headers.get(':status')}"
    code = headers.get("grpc-status", "2")
    if code != "0":
        message = headers.get("grpc-message", "")
        ending = f": {message:.200}" if message else ""
        return f"gRPC status {_CODES.get(code, code[:20])}{ending}"
    try:
        compressed, length = _FRAME.unpack_from(body)
        status = dict(integers(body[_FRAME.size : _FRAME.size + length])).get(1, 0)
    except (struct.error, ValueError):
        compressed, status = 1, 0
    if compressed:
        return "no message of grpc.health.v1"
    word = _STATUS[status] if status < len(_STATUS) else str(status)
    return "" if status == _SERVING else word


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def integers(message: bytes) -> Iterator[tuple[int, int]]:
    """Yield number and value of the integers in a protobuf message; raises `ValueError` for other bytes."""
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
