"""Where the bundled proxy differs from Envoy on purpose, and why.

The table is shown in docs/proxy-contract.md. An entry that no case needs is an error, so it cannot outlive its reason.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from compared import Behaviour, Message
from lanes import Case

_ODD_STATUS = re.compile(rb"HTTP/\d\.\d[ \t\r]+(?:\d{1,2}|0\d\d|\d{4,})(?!\d)")
_NO_GAP = re.compile(rb"(?:\A|\n)[A-Z]+[ \t\r]+[^ \t\r\n]+HTTP/\d\.\d[ \t\r]*\n")
_CR_IN_CODING = re.compile(rb"(?i)\ntransfer-encoding:[^\n]*[^\s]\r[^\s]")
_INTERIM = b"HTTP/1.1 1"


@dataclass(frozen=True)
class Difference:
    """`what` differs, the bundled proxy's way second; `why`; `covers` returns whether that explains a disagreement."""

    what: str
    why: str
    covers: Callable[[Case, Behaviour, Behaviour], bool]


def _asks(*words: bytes) -> Callable[[Case, Behaviour, Behaviour], bool]:
    return lambda case, _envoy, _bundled: any(word in b"".join(case.request) for word in words)


def _statuses(found: Behaviour) -> list[bytes]:
    return [message.start[9:] for message in found.answers]


def _status_is_odd(case: Case, _envoy: Behaviour, bundled: Behaviour) -> bool:
    return _ODD_STATUS.search(case.answer) is not None and b"502" in _statuses(bundled)


def _switch_was_not_asked_for(case: Case, envoy: Behaviour, bundled: Behaviour) -> bool:
    return b"upgrade" not in case.request[0] and _statuses(envoy)[:1] == [b"101"] and _statuses(bundled)[:1] == [b"502"]


def _websocket_is_refused_mildly(case: Case, envoy: Behaviour, bundled: Behaviour) -> bool:
    if b"upgrade: websocket" not in case.request[0] or len(envoy.answers) != 1 or len(bundled.answers) != 1:
        return False
    (theirs,), (ours,) = envoy.answers, bundled.answers
    mild = theirs.start[9:10] in (b"2", b"3") and theirs.start == ours.start and not theirs.body and bool(ours.body)
    return mild and replace(envoy, answers=()) == replace(bundled, answers=())


def _upgrade_is_required(_case: Case, envoy: Behaviour, bundled: Behaviour) -> bool:
    def without_connection(found: Behaviour) -> Behaviour:
        answers = (
            replace(each, fields=tuple(sorted(field for field in each.fields if field[0] != b"connection")))
            for each in found.answers
        )
        return replace(found, answers=tuple(answers))

    return _statuses(envoy)[:1] == [b"426"] and without_connection(envoy) == without_connection(bundled)


def _switch_names_nothing(case: Case, envoy: Behaviour, bundled: Behaviour) -> bool:
    silent = b"101" in case.answer and b"upgrade" not in case.answer.lower()
    asked = b"upgrade: websocket" in case.request[0]
    return silent and asked and _statuses(envoy) == [b"101"] and _statuses(bundled)[:1] == [b"101"] and not envoy.kept


def _length_is_malformed(_case: Case, envoy: Behaviour, bundled: Behaviour) -> bool:
    return b"304" in _statuses(envoy) and _statuses(bundled) == [
        b"502" if each == b"304" else each for each in _statuses(envoy)
    ]


def _interim_is_shorter(_case: Case, envoy: Behaviour, bundled: Behaviour) -> bool:
    def shortened(message: Message) -> Message:
        if not message.start.startswith(_INTERIM):
            return message
        return replace(message, fields=tuple(field for field in message.fields if field[0] != b"keep-alive"))

    return replace(envoy, answers=tuple(map(shortened, envoy.answers))) == bundled


def _body_was_refused(_case: Case, envoy: Behaviour, bundled: Behaviour) -> bool:
    def whole(found: Behaviour) -> list[Message]:
        return [message for messages in found.requests for message in messages if message.whole]

    same = (envoy.answers, envoy.kept, whole(envoy)) == (bundled.answers, bundled.kept, whole(bundled))
    return same and _statuses(bundled)[-1:] in ([b"400"], [b"431"])


def _runs_into_version(case: Case, _envoy: Behaviour, bundled: Behaviour) -> bool:
    return _NO_GAP.search(b"".join(case.request)) is not None and _statuses(bundled)[-1:] == [b"426"]


def _coding_is_broken(case: Case, _envoy: Behaviour, bundled: Behaviour) -> bool:
    broken = _CR_IN_CODING.search(b"".join((*case.request, case.answer))) is not None
    return broken and bool({b"501", b"502"} & {*_statuses(bundled)})


DIFFERENCES = (
    Difference(
        "A response whose status is not a three-digit number from 100 on: forwarded unchanged; 502",
        "RFC 9110 has no such status, and many clients would not recognise the response as HTTP.",
        _status_is_odd,
    ),
    Difference(
        "A 101 response without an upgrade request: forwarded, and the connection used again; 502",
        "What follows on the connection is another protocol, and would be read as the next response.",
        _switch_was_not_asked_for,
    ),
    Difference(
        "A malformed Content-Length in a 304 response: forwarded; 502",
        "Both refuse it in every other response.",
        _length_is_malformed,
    ),
    Difference(
        "Keep-Alive in an interim response: forwarded; removed",
        "It applies to one connection only, and both remove it from all other responses.",
        _interim_is_shorter,
    ),
    Difference(
        "How much of a request has been forwarded when its body turns out to be malformed",
        "Both answer 400 and abort the request upstream; Envoy sends the head at once if a connection is ready.",
        _body_was_refused,
    ),
    Difference(
        "A request line without a blank before the version, as in GET /HTTP/1.1: 400, or as if it had one; 426",
        "There is no version, which both refuse in all other requests; Envoy only looks at the line's last bytes.",
        _runs_into_version,
    ),
    Difference(
        "A CR within a Transfer-Encoding: as if the field were not there; 501, or 502",
        "The chunks would be read as the next request, or a response's body; RFC 9112 (2.2) calls the value invalid.",
        _coding_is_broken,
    ),
    Difference(
        "Connection: content-length with a body: forwarded in chunks; with its length",
        "The body is the same. The field is needed, even if a client asks to remove it.",
        _asks(b"\r\nconnection: content-length\r\n"),
    ),
    Difference(
        "A WebSocket that the server refuses with 2xx or 3xx: forwarded without the body; with it",
        "Both end the connection, browsers treat either as a refusal, and the body has the reason.",
        _websocket_is_refused_mildly,
    ),
    Difference(
        "A 426 response that asks for an upgrade: its Connection field is forwarded; Connection: close",
        "Both end the connection, and the client should know that.",
        _upgrade_is_required,
    ),
    Difference(
        "A 101 response to a WebSocket request that names no protocol: forwarded, then closed; switched",
        "The client asked for no other protocol, and some servers omit the name.",
        _switch_names_nothing,
    ),
)
