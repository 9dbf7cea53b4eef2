import json
import os
import socket
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.base import framing

OBJECTS = st.dictionaries(
    st.text(max_size=10),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=4)
    ),
    min_size=1,
    max_size=5,
)


def _pair(kind: int = 0) -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | kind)


def _bytes(message: object) -> bytes:
    data = json.dumps(message).encode()
    return struct.pack("=I", len(data)) + data


@settings(deadline=None, max_examples=50)
@given(st.lists(OBJECTS, max_size=5))
def test_messages_arrive_as_they_were_sent(messages: list[dict[str, object]]):
    """Any sequence of messages arrives whole, in order, and is followed by the end."""
    ours, theirs = _pair()
    with ours, theirs:
        for message in messages:
            framing.send(ours, message)
        ours.close()
        assert [*((message, []) for message in messages), ({}, [])] == [
            framing.receive(theirs) for _ in range(len(messages) + 1)
        ]


@settings(deadline=None, max_examples=50)
@given(st.lists(OBJECTS, min_size=1, max_size=4), st.data())
def test_an_inbox_puts_any_pieces_together(messages: list[dict[str, object]], data: st.DataObject):
    """However the bytes of messages are cut, a non-blocking inbox gives each once it is complete, and never early."""
    stream = b"".join(map(_bytes, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    ours, theirs = _pair(socket.SOCK_NONBLOCK)
    with ours, theirs:
        inbox = framing.Inbox(theirs)
        seen = []
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            ours.send(stream[begin:end])
            while (received := inbox.read()) is not None:
                seen.append(received[0])
            complete = sum(end >= len(b"".join(map(_bytes, messages[: number + 1]))) for number in range(len(messages)))
            assert complete == len(seen)
        assert messages == seen


@settings(deadline=None, max_examples=200)
@given(st.binary(min_size=1, max_size=60))
def test_whatever_comes_is_a_message_or_an_error(stream: bytes):
    """Arbitrary bytes give a JSON object, `MalformedError`, or the end in the middle of a message."""
    ours, theirs = _pair()
    with ours, theirs:
        ours.send(stream)
        ours.close()
        try:
            message, descriptors = framing.receive(theirs)
        except (framing.MalformedError, ConnectionResetError):
            return
        assert isinstance(message, dict)
        assert descriptors == []


def test_descriptors_come_with_their_message():
    """Each message brings its own descriptors, even when several wait to be read."""
    ours, theirs = _pair()
    with ours, theirs:
        pipes = [os.pipe() for _ in range(2)]
        for number, (read, _) in enumerate(pipes):
            framing.send(ours, {"pipe": number}, [read])
        framing.send(ours, {"pipe": None})
        for number, (read, write) in enumerate(pipes):
            message, [handed] = framing.receive(theirs)
            os.write(write, bytes([number]))
            assert ({"pipe": number}, bytes([number])) == (message, os.read(handed, 9))
            for fd in (read, write, handed):
                os.close(fd)
        assert framing.receive(theirs) == ({"pipe": None}, [])


def test_an_outbox_keeps_what_is_not_taken():
    """A peer that does not read makes messages wait; once it reads, they arrive whole and in order."""
    ours, theirs = _pair(socket.SOCK_NONBLOCK)
    with ours, theirs:
        outbox = framing.Outbox(ours)
        messages = [{"number": number, "filling": "x" * 100_000} for number in range(20)]
        for message in messages:
            outbox.add(message)
        outbox.flush()
        assert outbox
        inbox = framing.Inbox(theirs)
        seen: list[dict[str, object]] = []
        while len(seen) < len(messages):
            received = inbox.read()
            if received is None:
                outbox.flush()
            else:
                seen.append(received[0])
        assert (messages, 0) == (seen, len(outbox))


def test_an_unfinished_message_closes_its_descriptors():
    """`Inbox.close` and `Outbox.close` leave no descriptor open."""
    ours, theirs = _pair(socket.SOCK_NONBLOCK)
    with ours, theirs:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count
        socket.send_fds(ours, [b"\x09\x00\x00\x00{"], [0, 0])
        inbox, outbox = framing.Inbox(theirs), framing.Outbox(theirs)
        assert inbox.read() is None
        outbox.add({"never": "sent"}, [0, 0])
        inbox.close()
        outbox.close()
        assert before == len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count


@pytest.mark.parametrize("size", [0, (16 << 20) + 1, 0xFFFFFFFF])
def test_a_length_out_of_bounds_is_refused_before_anything_is_read(size: int):
    """An empty or enormous message is malformed by its length alone."""
    ours, theirs = _pair()
    with ours, theirs:
        ours.send(struct.pack("=I", size))
        with pytest.raises(framing.MalformedError, match=f"of {size} bytes"):
            framing.receive(theirs)
