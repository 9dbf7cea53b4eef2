import contextlib

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.net.grpc_health import Call, _varint, integers


def answered(message: bytes, code: str = "0", *, status: str = "200") -> str:
    """Return the problem that a call finds in an answer."""
    call = Call("api", "host:1", "test")
    server = H2Connection(H2Configuration(client_side=False))
    server.initiate_connection()
    events = server.receive_data(call.outbox())
    assert any(isinstance(event, RequestReceived) for event in events)
    server.send_headers(1, [(":status", status), ("content-type", "application/grpc")])
    if message:
        server.send_data(1, message)
    server.send_headers(1, [("grpc-status", code)], end_stream=True)
    assert call.feed(server.data_to_send())
    return call.problem


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (b"\0\0\0\0\2\x08\1", ""),
        (b"\0\0\0\0\4\x10\7\x08\1", ""),
        (b"\0\0\0\0\2\x08\2", "NOT_SERVING"),
        (b"\0\0\0\0\0", "UNKNOWN"),
        (b"\1\0\0\0\2\x08\1", "no message of grpc.health.v1"),
        (b"", "no message of grpc.health.v1"),
    ],
)
def test_serving_alone_passes(message: bytes, problem: str):
    """Fields that are not known are passed over, another status is named, and what is no message says nothing."""
    assert problem == answered(message)


def test_an_error_is_named():
    """By its word where it is one of those that are common."""
    assert "gRPC status NOT_FOUND" == answered(b"", "5")


def test_what_never_answers_is_answered_within_a_bound():
    """Each PING has its acknowledgement, once: nothing is kept from one to the next; and no call takes 128 KiB."""
    call = Call("", "host:1", "test")
    call.outbox()
    call.feed(b"\0\0\0\4\0\0\0\0\0")
    call.outbox()
    sizes = set()
    for _ in range(7):
        assert not call.feed(b"\0\0\x08\6\0\0\0\0\0\0\0\0\0\0\0\0\0" * 1000)
        sizes.add(len(call.outbox()))
    assert {17_000} == sizes
    assert call.feed(b"\0\0\x08\6\0\0\0\0\0\0\0\0\0\0\0\0\0" * 1000)
    assert "no gRPC answer within 131072 bytes" == call.problem


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(st.integers(1, 2**28), st.integers(0, 2**63))))
def test_integers_of_a_message_survive(fields: list[tuple[int, int]]):
    """What protobuf's encoding makes of numbers is read back."""
    message = b"".join(_varint(number << 3) + _varint(value) for number, value in fields)
    assert fields == list(integers(message))


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=50))
def test_any_bytes_are_a_message_or_none(data: bytes):
    """Nothing but `ValueError` comes out of what is no message."""
    with contextlib.suppress(ValueError):
        list(integers(data))
