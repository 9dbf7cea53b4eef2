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
"""Ends a line for a patient llhttp, so that what follows may be anything."""
_UNTIL_DECIDED = b"\r\n\r\n"
_MOST_PIECES = 4


class SplitError(AssertionError):
    """A reader makes something else of pieces than of the whole."""


@dataclass(frozen=True)
class Disagreement:
    """What `ours` and `theirs` make of `data`: the first message that they differ in is number `at`.

    `stricter` is who refuses it and `why` what that one says: `LLHTTP`; `PATIENT`, if llhttp reads it as the proxy does
    where it may be lenient; `PROXY`. If it is `NOBODY`, or `MISREAD`, which is `PATIENT` when they do not read the same
    even so, `why` names what they differ in.
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

    Raises `SplitError` if what either reads depends on how they come: `number` says how they are cut.
    """
    ours, theirs = _ours(data, number, requests=requests), _theirs(data, requests=requests)
    if {ours.state, theirs.state} == {REFUSED, WAITING} and ours.comparable() != theirs.comparable():
        # One may see earlier than the other that this is going to be nothing.
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
    """Return what the proxy makes of `data`, whole and in pieces."""
    rng = Random(number)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(1, _MOST_PIECES)))
    pieces = [data[begin:end] for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True)]
    found = proxy_reader.read((data,), requests=requests)
    whole, cut = found, proxy_reader.read(pieces, requests=requests)
    if {whole.state, cut.state} == {REFUSED, WAITING}:
        # The first line of a head that is not complete is looked at only while it is not complete itself.
        whole, cut = (proxy_reader.read((*each, _UNTIL_DECIDED), requests=requests) for each in ((data,), pieces))
    if whole.comparable() != cut.comparable():
        raise SplitError(f"the proxy makes {cut} of {pieces}, but {whole} of the whole")
    return found


def _theirs(data: bytes, *, requests: bool) -> Reading:
    """Return what llhttp makes of `data`, whole and byte by byte."""
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
    """Return the number of the first message that differs, and who refuses it."""
    (our_state, our_messages), (their_state, their_messages) = ours.comparable(), theirs.comparable()
    same = min(len(our_messages), len(their_messages))
    at = next((number for number in range(same) if our_messages[number] != their_messages[number]), same)
    refusing = our_state == REFUSED and len(our_messages) == at, their_state == REFUSED and len(their_messages) == at
    return at, {(True, False): PROXY, (False, True): LLHTTP}.get(refusing, NOBODY)


def _parts(ours: Reading, theirs: Reading, at: int) -> str:
    """Return the names of what the two messages number `at` differ in."""
    if not len(ours.messages) > at < len(theirs.messages):
        return "one more message"
    our, their = ours.messages[at], theirs.messages[at]
    return " ".join(each.name for each in fields(Message) if getattr(our, each.name) != getattr(their, each.name))


@dataclass(frozen=True)
class Difference:
    """`what` differs, and `why`: it explains a disagreement in which one of `stricter` says one of `reasons`.

    A reason may be a beginning; `sign` is what the bytes have then. `example` has it, as `requests` or as a response.
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
    """Compares readings, those of requests and of responses in turn, and counts which of `differences` it meets."""

    def __init__(self, differences: Sequence[Difference]) -> None:
        self._differences = differences
        self.met = Counter({each.what: 0 for each in differences})

    def check(self, data: bytes, number: int) -> None:
        """Raise AssertionError, with bytes that have little else in them, if no difference explains what is read."""
        if (problem := self._problem(data, number, self.met)) is not None:
            counts = Counter[str]()
            kind = _kind(problem)
            data = _shortened(data, lambda shorter: _kind(self._problem(shorter, number, counts)) == kind)
            raise AssertionError(f"{self._problem(data, number, counts)}\n  shortened: {data!r}") from None

    def _problem(self, data: bytes, number: int, met: "Counter[str]") -> Disagreement | AssertionError | None:
        """Return what is wrong, None if nothing is, and count what explains it."""
        try:
            found = disagreement(data, number, requests=is_request(number))
        except (SplitError, proxy_reader.ForwardedError) as error:
            return error
        reasons = [each.what for each in self._differences if each.covers(found)] if found else []
        met.update(reasons)
        return None if reasons else found

    def table(self) -> str:
        """Return how often each difference was met, one a line, with its reason."""
        return "".join(f"{self.met[each.what]:>9,} {each.what}\n{'':>9} {each.why}\n" for each in self._differences)

    def unmet(self) -> str:
        """Return what is wrong with the list: the differences that were not met."""
        missing = [what for what, count in self.met.items() if not count]
        return f"listed, but never met: {missing}" if missing else ""


def _kind(problem: Disagreement | AssertionError | None) -> tuple[type, str]:
    """Return what has to stay the same for a problem to be the same one."""
    return type(problem), f"{problem.stricter} {problem.why}" if isinstance(problem, Disagreement) else ""


def is_request(number: int) -> bool:
    """Return whether input `number` is for a reader of requests."""
    return number % 2 == 0


def _shortened(data: bytes, still: Callable[[bytes], bool]) -> bytes:
    """Return `data` without all the parts that it can do without, `still` being what it is."""
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
