"""The answers of the proxy's own HTTP servers: a table of commands by path, like Envoy's admin interface.

Pure: a method and a request target in, a status and a text out. It knows no particular page.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from sidelab.sidecar.proxy.admin.filters import BadFilterError, Filter

_MOST_PARAMETERS = 16
TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"

PageQuery = Mapping[str, str]
"""The parameters of a request's target; `?usedonly` has the value ""."""


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """A page: its text, status and content type."""

    body: str
    status: int = 200
    content_type: str = TEXT


class BadQueryError(ValueError):
    """A parameter is wrong; the message is a sentence for the client."""


@dataclass(frozen=True, slots=True)
class PageCommand:
    """A page: its description in `/help`, its parameters with theirs, and whether it changes something (then: POST)."""

    description: str
    run: Callable[[PageQuery], PageAnswer]
    parameters: Mapping[str, str] = field(default_factory=dict)
    mutates: bool = False


def answer(commands: Mapping[str, PageCommand], method: str, target: str) -> PageAnswer:
    """Return the answer to a request; a bad request gets 400, 404 or 405 with a sentence."""
    path, _, query = target.partition("?")
    command = commands.get(path)
    if command is None:
        return PageAnswer("invalid path. " + listing(commands), 404)
    allowed = ("POST",) if command.mutates else ("GET", "HEAD")
    if method not in allowed:
        return PageAnswer(f"Method {method} not allowed, {allowed[0]} required.\n", 405)
    try:
        parameters = dict(parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS))
    except ValueError as error:
        return PageAnswer(f"{path} has no more than {_MOST_PARAMETERS} parameters: {error}\n", 400)
    unknown = sorted(set(parameters) - set(command.parameters))
    if unknown:
        known = ", ".join(command.parameters) or "none"
        return PageAnswer(f"{path} has no parameter {unknown[0]!r}: it has {known}\n", 400)
    try:
        return command.run(parameters)
    except BadQueryError as error:
        return PageAnswer(f"{error}\n", 400)


def listing(commands: Mapping[str, PageCommand]) -> str:
    """Return the list of commands in the form of Envoy's `/help`."""
    lines = ["admin commands are:"]
    for path, command in sorted(commands.items()):
        lines.append(f"  {path}{' (POST)' * command.mutates}: {command.description}")
        lines += [f"      {name}: {meaning}" for name, meaning in command.parameters.items()]
    return "\n".join(lines) + "\n"


def pattern(query: PageQuery, name: str) -> Filter | None:
    """Return the filter in a parameter, None if it is absent; raises `BadQueryError`."""
    text = query.get(name)
    if text is None:
        return None
    try:
        return Filter(text)
    except BadFilterError as error:
        raise BadQueryError(f"{name}: {text[:80]!r} is not a filter that is understood here: {error}") from error


def choice(query: PageQuery, name: str, choices: tuple[str, ...]) -> str:
    """Return the parameter's value, one of `choices`, or the first if it is absent; raises `BadQueryError`."""
    value = query.get(name, choices[0])
    if value not in choices:
        raise BadQueryError(f"{name}: {value!r}: give one of {', '.join(choices)}")
    return value


def switch(query: PageQuery, name: str) -> bool:
    """Return whether a parameter is present and not `false`; raises `BadQueryError`."""
    value = query.get(name, "false")
    if value not in ("", "true", "false"):
        raise BadQueryError(f"{name}: {value!r}: give it without a value, or with true or false")
    return value != "false"
