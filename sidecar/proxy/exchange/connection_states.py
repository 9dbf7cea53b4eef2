"""What a client's HTTP connection waits for, as a table: state, event, next state. Pure, and kept only here.

A connection serves one request after the other:

    HEAD ──begun──▶ BODY ──complete──▶ WAITING ──answered──▶ ANSWERING ──kept──▶ HEAD
      └──────────complete──────────────▲ │                       ▲
                      └──answered──▶ EARLY ──────complete────────┘        any ──left──▶ OVER

A request without a body is complete with its head. A reply by the proxy itself is written at once, so that the state
goes from WAITING to HEAD, or from any state to OVER. A retry changes nothing: the client still waits.
"""

from collections.abc import Mapping
from typing import Final


class ConnectionState:
    """A state; its events are attributes, and the value of each is the state that follows.

    `complete_request`: the whole request has arrived. `answering`: its answer has begun, so no other can be sent.
    An impossible event has no attribute: looking it up raises `AttributeError`, which no input may cause.
    """

    __slots__ = ("answered", "answering", "begun", "complete", "complete_request", "kept", "left", "name")

    begun: "ConnectionState"
    complete: "ConnectionState"
    answered: "ConnectionState"
    kept: "ConnectionState"
    left: "ConnectionState"

    def __init__(self, name: str, *, complete_request: bool = False, answering: bool = False) -> None:
        self.name = name
        self.complete_request = complete_request
        self.answering = answering

    def __repr__(self) -> str:
        return self.name


HEAD: Final = ConnectionState("HEAD")
"""For a request; part of its head may be there."""

BODY: Final = ConnectionState("BODY")
"""For more of a request's body."""

EARLY: Final = ConnectionState("EARLY", answering=True)
"""For more of a request's body and of its answer, which began before the body was complete."""

WAITING: Final = ConnectionState("WAITING", complete_request=True)
"""For the answer to a request that is complete."""

ANSWERING: Final = ConnectionState("ANSWERING", complete_request=True, answering=True)
"""For the rest of the answer."""

OVER: Final = ConnectionState("OVER")
"""For nothing: the connection is closed, being closed, or a plain byte stream."""

STATES: Final = (HEAD, BODY, EARLY, WAITING, ANSWERING, OVER)

EVENTS: Final = {
    "begun": "a head was read, and a body follows",
    "complete": "all of the request was read",
    "answered": "the head of the final response is on its way to the client",
    "kept": "all of the answer is on its way, and the connection is kept for another request",
    "left": "the connection has served its last request, failed, or passes as bytes from now on",
}

TABLE: Final[Mapping[ConnectionState, Mapping[str, ConnectionState]]] = {
    HEAD: {"begun": BODY, "complete": WAITING, "left": OVER},
    BODY: {"complete": WAITING, "answered": EARLY, "left": OVER},
    EARLY: {"complete": ANSWERING, "left": OVER},
    WAITING: {"answered": ANSWERING, "kept": HEAD, "left": OVER},
    ANSWERING: {"kept": HEAD, "left": OVER},
    OVER: {"left": OVER},
}

IMPOSSIBLE: Final[Mapping[ConnectionState, Mapping[str, str]]] = {
    HEAD: {
        "answered": "no upstream has been asked",
        "kept": "what is answered here was refused, and the connection ends with it",
    },
    BODY: {
        "begun": "the next head follows the body",
        "kept": "an answer without the whole request ends the connection: the rest is no request",
    },
    EARLY: {
        "begun": "the next head follows the body",
        "answered": "there is one final response, and the upstream's are read one at a time",
        "kept": "an answer without the whole request ends the connection: the rest is no request",
    },
    WAITING: {
        "begun": "the next request waits until this one is answered",
        "complete": "it is; what comes now belongs to the next request",
    },
    ANSWERING: {
        "begun": "the next request waits until this one is answered",
        "complete": "it is; what comes now belongs to the next request",
        "answered": "there is one final response, and the upstream's are read one at a time",
    },
    OVER: {
        "begun": "what the client sends is not read",
        "complete": "what the client sends is not read",
        "answered": "the upstream connection has been given up",
        "kept": "the upstream connection has been given up",
    },
}
"""Why the other events cannot happen."""

for _state, _next in TABLE.items():
    for _event, _follows in _next.items():
        setattr(_state, _event, _follows)
