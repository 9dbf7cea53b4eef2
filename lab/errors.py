"""Errors by whose fault they are; each kind is one exit status of the command line.

A message says what is wrong, where, and the cure. Anything that is not one of these is a bug and shows its traceback.
An error crosses from one process to another as a report: `report` makes it, `raise_reported` raises it again.
"""

import json
import traceback
from collections.abc import Mapping
from typing import Any


class SidelabError(Exception):
    """A failure that the user can act on: `str(error)` is one message, ready to print."""

    exit_status = 70


class InputError(SidelabError):
    """What the user gave (a file, a flag, a name) is wrong; nothing was started."""

    exit_status = 2


class MachineError(SidelabError):
    """This machine lacks something; the message names it and how to get it."""

    exit_status = 3


class NotPermittedError(MachineError):
    """This process lacks a privilege, although the kernel may support what it wants."""


class PodError(SidelabError):
    """A pod, a container or an external tool failed."""

    exit_status = 5


def kind(exit_status: int, default: type[SidelabError] = SidelabError) -> type[SidelabError]:
    """Return the kind of error that has `exit_status`, or `default`."""
    kinds = (InputError, MachineError, PodError)
    return next((each for each in kinds if each.exit_status == exit_status), default)


def report(error: BaseException) -> dict[str, Any]:
    """Return `error` as a dictionary for JSON: its message and exit status, or a bug's traceback."""
    if isinstance(error, SidelabError):
        return {"error": str(error), "exit_status": error.exit_status}
    return {"bug": "".join(traceback.format_exception(error))}


def encoded(message: Mapping[str, Any], most_bytes: int) -> bytes:
    """Return `message` as JSON of at most `most_bytes`; a text that is too long loses its middle, never its quotes."""
    data = json.dumps(message).encode()
    kept = most_bytes
    while len(data) > most_bytes and kept:
        kept //= 2
        shorter = {
            name: _shortened(value, kept) if isinstance(value, str) else value for name, value in message.items()
        }
        data = json.dumps(shorter).encode()
    return data


_MARK_LENGTH = 64


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    if most < _MARK_LENGTH:
        return text[:most]
    head, tail = text[: most // 2], text[len(text) - most // 2 :]
    return f"{head}\n… ({len(text) - most // 2 * 2} characters are left out here) …\n{tail}"


def raise_reported(answer: Mapping[str, Any]) -> None:
    """Raise the error that `answer` reports, as the same kind of error; do nothing if it is not a report."""
    if "error" in answer:
        raise kind(answer["exit_status"])(answer["error"])
    if "bug" in answer:
        raise RuntimeError(f"a process of the lab met a bug:\n{answer['bug']}")
