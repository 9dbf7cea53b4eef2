"""One call of grpc.health.v1.Health/Check over HTTP/2 without TLS. Imported when the first such probe is made.

Sources: github.com/grpc/grpc doc/PROTOCOL-HTTP2.md and doc/health-checking.md.
"""

import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError

from sidecar.agent.dial import Line

_FRAME = struct.Struct(">BI")  # whether it is compressed, and how long the message is
_SERVING = b"\x08\x01"  # field 1, a varint: HealthCheckResponse.status
_ANSWER_BYTES = 1 << 14
_NAME_BYTES = 127  # as long as one byte can say


def check(line: Line, service: str, authority: str) -> str:
    """Ask whether `service` ("" is the server as a whole) serves; return "" or why not. Raises `OSError`."""
    name = service.encode()
    if len(name) > _NAME_BYTES:
        return f"the service's name is longer than {_NAME_BYTES} bytes"
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="latin-1"))
    connection.initiate_connection()
    headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/grpc.health.v1.Health/Check"),
        (":authority", authority),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("user-agent", "sidelab-agent"),
    ]
    message = b"\x0a" + bytes((len(name),)) + name if name else b""
    connection.send_headers(1, headers)
    connection.send_data(1, _FRAME.pack(0, len(message)) + message, end_stream=True)
    said: dict[str, str] = {}
    body = b""
    while len(body) <= _ANSWER_BYTES:
        line.send(connection.data_to_send())
        data = line.receive()
        if not data:
            return "it ended without a gRPC answer"
        try:
            events = connection.receive_data(data)
        except ProtocolError:
            return "it is no HTTP/2 answer"
        for event in events:
            match event:
                case ResponseReceived() | TrailersReceived():
                    said |= {str(name): str(value) for name, value in event.headers or ()}
                case DataReceived():
                    body += event.data or b""
                case StreamEnded():
                    return _judged(said, body)
                case StreamReset() | ConnectionTerminated():
                    return f"the call was ended with HTTP/2 error {event.error_code}"
    return f"its answer is longer than {_ANSWER_BYTES} bytes"


def _judged(said: dict[str, str], body: bytes) -> str:
    if said.get(":status") != "200":
        return f"status {said.get(':status')}"
    if said.get("grpc-status", "2") != "0":
        return f"gRPC status {said.get('grpc-status', 'unknown')[:20]} {said.get('grpc-message', '')[:200]}".strip()
    return "" if body == _FRAME.pack(0, len(_SERVING)) + _SERVING else "it does not say SERVING"
