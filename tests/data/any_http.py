"""A server of HTTP/1.1 and HTTP/2 on each PORT: it echoes requests and WebSockets, and refuses bodies at /no."""

import json
import re
import socket
import sys
import threading

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived, StreamEnded

PREFACE = b"PRI * HTTP/2.0\r\n\r\n"


def http2(connection: socket.socket, data: bytes) -> None:
    """Answer every request as a gRPC server does: a message, then trailers."""
    h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
    h2.initiate_connection()
    asked: dict[int, dict[str, str]] = {}
    while data:
        for event in h2.receive_data(data):
            if isinstance(event, RequestReceived):
                asked[event.stream_id] = dict(event.headers)
            elif isinstance(event, StreamEnded):
                fields = asked[event.stream_id]
                h2.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                h2.send_data(event.stream_id, json.dumps({"path": fields[":path"], "version": "2"}).encode())
                h2.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
        connection.sendall(h2.data_to_send())
        data = connection.recv(65536)


def http1(connection: socket.socket, data: bytes) -> None:
    """Answer one request after the other."""
    while True:
        while b"\r\n\r\n" not in data:
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        head, _, data = data.partition(b"\r\n\r\n")
        fields = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])
        }
        path = head.split(b" ")[1].decode()
        if fields.get("upgrade", "").lower() == "websocket":
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            while piece := data or connection.recv(65536):
                connection.sendall(b"echo " + piece)
                data = b""
            return
        if "expect" in fields and path == "/no":
            connection.sendall(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        if "expect" in fields:
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(data) < int(fields.get("content-length", "0")):
            data += connection.recv(65536)
        length = int(fields.get("content-length", "0"))
        said = {
            "path": path,
            "version": "1.1",
            "host": fields["host"],
            "expect": fields.get("expect"),
            "body": data[:length].decode(),
        }
        data = data[length:]
        body = json.dumps(said).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


def serve(connection: socket.socket) -> None:
    """Serve a connection in the protocol of its first bytes."""
    with connection:
        data = b""
        while len(data) < len(PREFACE) and PREFACE.startswith(data):
            piece = connection.recv(65536)
            if not piece:
                return
            data += piece
        (http2 if re.match(PREFACE[:5], data) else http1)(connection, data)


def listen(port: int) -> None:
    """Serve `port` for ever."""
    with socket.create_server(("", port)) as server:
        while True:
            threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()


if __name__ == "__main__":
    for number in sys.argv[2:]:
        threading.Thread(target=listen, args=(int(number),), daemon=True).start()
    listen(int(sys.argv[1]))
