"""Where the bundled proxy and llhttp read the same bytes differently, and which of that is explained."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from random import Random

import llhttp_reader
import proxy_reader
from http_readings import REFUSED, WAITING, Message, Reading

LLHTTP, PROXY, NOBODY = "llhttp", "the proxy", "nobody"
PATIENT = "llhttp, unless it is patient"
MISREAD = "llhttp, and if it is patient it reads something else"
_ODD_CR = re.compile(rb"\r(?!\n)")
"""Ends a line for a patient llhttp, so that anything may follow."""
_UNTIL_DECIDED = b"\r\n\r\n"
_MOST_PIECES = 4


class SplitError(AssertionError):
    """A reader reads pieces differently from the whole."""


@dataclass(frozen=True)
class Disagreement:
    """How `ours` and `theirs` read `data`: the first message in which they differ is number `at`.

    `stricter` is the reader that refuses it and `why` its reason: `LLHTTP`; `PATIENT`, if a lenient llhttp reads it as
    the proxy does; `PROXY`. If it is `NOBODY`, or `MISREAD` (like `PATIENT`, but even so they read it differently),
    `why` names the parts in which they differ.
    """

    data: bytes
    ours: Reading
    theirs: Reading
    at: int
    stricter: str
    why: str

    def __str__(self) -> str:
        where = f"message {self.at} of {self.data!r}: {self.stricter} is stricter, {self.why!r}"
        return f"{where}\n  the proxy: {self.ours}\n  llhttp:    {self.theirs}"


def disagreement(data: bytes, number: int, *, requests: bool) -> Disagreement | None:
    """Return where the two differ on a connection's bytes, None if they agree.

    Raises `SplitError` if either reads pieces differently from the whole: `number` decides how they are cut.
    """
    ours, theirs = _ours(data, number, requests=requests), _theirs(data, requests=requests)
    if {ours.state, theirs.state} == {REFUSED, WAITING} and ours.comparable() != theirs.comparable():
        # One reader may see earlier than the other that this will not become a message.
        data += _UNTIL_DECIDED
        ours, theirs = _ours(data, number, requests=requests), _theirs(data, requests=requests)
    if ours.comparable() == theirs.comparable():
        return None
    at, stricter = _first(ours, theirs)
    if stricter == LLHTTP:
        patient = llhttp_reader.read(data, requests=requests, patient=True)
        patient_at, patient_stricter = _first(ours, patient)
        if patient_at > at or ours.comparable() == patient.comparable():
            return Disagreement(data, ours, theirs, at, PATIENT, theirs.why)
        if patient_stricter != LLHTTP:
            return Disagreement(data, ours, patient, at, MISREAD, _parts(ours, patient, at))
        if patient.why != theirs.why and _ODD_CR.search(data):
            return Disagreement(data, ours, patient, at, MISREAD, "refused")
        return Disagreement(data, ours, patient, at, LLHTTP, patient.why)
    return Disagreement(data, ours, theirs, at, stricter, ours.why if stricter == PROXY else _parts(ours, theirs, at))


def _ours(data: bytes, number: int, *, requests: bool) -> Reading:
    """Return how the proxy reads `data`, whole and in pieces."""
    rng = Random(number)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, _MOST_PIECES)))
    pieces = [data[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True)]
    found = proxy_reader.read((data,), requests=requests)
    whole, cut = found, proxy_reader.read(pieces, requests=requests)
    if {whole.state, cut.state} == {REFUSED, WAITING}:
        # The first line of an incomplete head is checked only while that line itself is incomplete.
        whole, cut = (proxy_reader.read((*each, _UNTIL_DECIDED), requests=requests) for each in ((data,), pieces))
    if whole.comparable() != cut.comparable():
        raise SplitError(f"the proxy makes {cut} of {pieces}, but {whole} of the whole")
    return found


def _theirs(data: bytes, *, requests: bool) -> Reading:
    """Return how llhttp reads `data`, whole and byte by byte."""
    reader = llhttp_reader.SecondReader(requests=requests)
    reader.feed(data)
    found = llhttp_reader.read(data, requests=requests)
    if _without_ends(reader.reading) != _without_ends(found):
        raise SplitError(f"llhttp makes {reader.reading} of {data!r}, but {found} of its single bytes")
    return found


def _without_ends(found: Reading) -> tuple[str, list[Message]]:
    state, messages = found.comparable()
    return state, [replace(each, end=0 if each.end is not None else None) for each in messages]


def _first(ours: Reading, theirs: Reading) -> tuple[int, str]:
    """Return the number of the first message that differs, and the reader that refuses it."""
    (our_state, our_messages), (their_state, their_messages) = ours.comparable(), theirs.comparable()
    same = min(len(our_messages), len(their_messages))
    at = next((number for number in range(same) if our_messages[number] != their_messages[number]), same)
    refusing = our_state == REFUSED and len(our_messages) == at, their_state == REFUSED and len(their_messages) == at
    return at, {(True, False): PROXY, (False, True): LLHTTP}.get(refusing, NOBODY)


def _parts(ours: Reading, theirs: Reading, at: int) -> str:
    """Return the names of the parts in which the two messages number `at` differ."""
    if not len(ours.messages) > at < len(theirs.messages):
        return "one more message"
    our, their = ours.messages[at], theirs.messages[at]
    return " ".join(each.name for each in fields(Message) if getattr(our, each.name) != getattr(their, each.name))


@dataclass(frozen=True)
class Difference:
    """`what` differs, and `why`: it explains a disagreement in which one of `stricter` gives one of `reasons`.

    A reason may be a prefix; the bytes then match `sign`. `example` shows it, as `requests` or as a response.
    """

    what: str
    why: str
    stricter: tuple[str, ...]
    reasons: tuple[str, ...]
    sign: bytes
    example: bytes
    requests: bool = True

    def covers(self, found: Disagreement) -> bool:
        """Return whether it explains `found`."""
        said = found.stricter in self.stricter and found.why.startswith(self.reasons)
        return said and re.search(self.sign, found.data) is not None


class Comparison:
    """Compares readings of requests and responses in turn, and counts which of `differences` it meets."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self._differences = differences
        self.met = Counter({each.what: 0 for each in differences})

    def check(self, data: bytes, number: int) -> None:
        """Raise AssertionError, with the bytes cut down to the problem, if no difference explains the readings."""
        if (problem := self._problem(data, number, self.met)) is not None:
            counts = Counter[str]()
            kind = _kind(problem)
            data = _shortened(data, lambda shorter: _kind(self._problem(shorter, number, counts)) == kind)
            raise AssertionError(f"{self._problem(data, number, counts)}\n  shortened: {data!r}") from None

    def _problem(self, data: bytes, number: int, met: "Counter[str]") -> Disagreement | AssertionError | None:
        """Return the problem, None if there is none, and count the differences that explain the readings."""
        try:
            found = disagreement(data, number, requests=is_request(number))
        except (SplitError, proxy_reader.ForwardedError) as error:
            return error
        reasons = [each.what for each in self._differences if each.covers(found)] if found else []
        met.update(reasons)
        return None if reasons else found

    def table(self) -> str:
        """Return how often each difference was met, one per line, with its reason."""
        return "".join(f"{self.met[each.what]:>9,} {each.what}\n{'':>9} {each.why}\n" for each in self._differences)

    def unmet(self) -> str:
        """Return a complaint about the listed differences that were not met."""
        missing = [what for what, count in self.met.items() if not count]
        return f"listed, but never met: {missing}" if missing else ""


def _kind(problem: Disagreement | AssertionError | None) -> tuple[type, str]:
    """Return what identifies a problem while its bytes are shortened."""
    return type(problem), f"{problem.stricter} {problem.why}" if isinstance(problem, Disagreement) else ""


def is_request(number: int) -> bool:
    """Return whether input `number` is for a reader of requests."""
    return number % 2 == 0


def _shortened(data: bytes, still: Callable[[bytes], bool]) -> bytes:
    """Return `data` without all parts whose removal leaves `still` true."""
    size = len(data) // 2
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if still(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data
