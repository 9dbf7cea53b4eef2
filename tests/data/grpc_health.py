"""A server of grpc.health.v1.Health/Check on PORT: the service "up" serves, "down" does not, others are not known."""

import socket
import struct
import sys

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded

STATUS = {b"\x0a\x02up": 1, b"\x0a\x04down": 2, b"": 1}
NOT_FOUND, UNIMPLEMENTED = "5", "12"


def serve(accepted: socket.socket) -> None:
    """Answer the calls of one connection until its peer closes it."""
    connection = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    accepted.sendall(connection.data_to_send())
    body, path = b"", ""
    while data := accepted.recv(65536):
        for event in connection.receive_data(data):
            if isinstance(event, RequestReceived):
                path = dict(event.headers)[":path"]
            elif isinstance(event, DataReceived):
                body += event.data
            elif isinstance(event, StreamEnded):
                _answer(connection, event.stream_id, path, body[5:])
        accepted.sendall(connection.data_to_send())


def _answer(connection: H2Connection, stream: int, path: str, message: bytes) -> None:
    headers = [(":status", "200"), ("content-type", "application/grpc")]
    if path != "/grpc.health.v1.Health/Check" or message not in STATUS:
        code = UNIMPLEMENTED if path != "/grpc.health.v1.Health/Check" else NOT_FOUND
        connection.send_headers(stream, [*headers, ("grpc-status", code)], end_stream=True)
        return
    answer = bytes((8, STATUS[message]))
    connection.send_headers(stream, headers)
    connection.send_data(stream, struct.pack(">BI", 0, len(answer)) + answer)
    connection.send_headers(stream, [("grpc-status", "0")], end_stream=True)


if __name__ == "__main__":
    with socket.create_server(("", int(sys.argv[1]))) as listening:
        while True:
            peer, _ = listening.accept()
            with peer:
                serve(peer)
