"""What Kubernetes accepts as a name, a label, a port: checks for the constructors of the model.

Sources: apimachinery `util/validation` and the API conventions ("Names and identifiers"). Knows no kinds and no files.
"""

import re
import socket
from collections.abc import Iterable, Mapping

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")
_SERVICE = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")
_PORT_NAME = re.compile(r"(?!.*--)(?=.*[a-z])[a-z0-9](?:[-a-z0-9]{0,13}[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_ENV_NAME = re.compile(r"[ -<>-~]+")
_ANNOTATIONS_BYTES = 262_144
_MAX_ID = 2**31 - 1
_SHOWN = 60


class FieldError(ValueError):
    """A value that Kubernetes or this lab does not accept: `field` is its name in a manifest, "" for the whole."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.field = field
        self.problem = problem


def shown(value: object) -> str:
    """Return `value` for a message: on one line, and short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 2]} …"


def label(field: str, value: str) -> None:
    """Check an RFC 1123 label: the name of a container or namespace."""
    if not _LABEL.fullmatch(value):
        raise FieldError(field, f"{shown(value)} is no name; use up to 63 of a-z, 0-9 and '-', no '-' at either end")


def subdomain(field: str, value: str) -> None:
    """Check an RFC 1123 subdomain: the name of most objects."""
    if len(value) > 253 or not _SUBDOMAIN.fullmatch(value):
        raise FieldError(
            field, f"{shown(value)} is no name; use up to 253 of a-z, 0-9, '-' and '.', a letter or digit at both ends"
        )


def service_name(field: str, value: str) -> None:
    """Check an RFC 1035 label: the name of a Service."""
    if not _SERVICE.fullmatch(value):
        raise FieldError(
            field, f"{shown(value)} is no Service name; use up to 63 of a-z, 0-9 and '-', beginning with a letter"
        )


def port_name(field: str, value: str) -> None:
    """Check an RFC 6335 service name: the name of a port."""
    if not _PORT_NAME.fullmatch(value):
        cure = "write a number without quotes" if value.isdigit() else "use up to 15 of a-z, 0-9 and '-', with a letter"
        raise FieldError(field, f"{shown(value)} is no port name; {cure}")


def port_number(field: str, value: int) -> None:
    """Check a TCP or UDP port."""
    if not 1 <= value <= 65535:
        raise FieldError(field, f"{value:.12g} is no port; a port is a number from 1 to 65535")


def port(field: str, value: int | str) -> None:
    """Check a port that is a number or the name of one."""
    if isinstance(value, str):
        port_name(field, value)
    else:
        port_number(field, value)


def at_least(field: str, value: int, least: int) -> None:
    """Check a number that has a lower bound, and fits the 32 bits that Kubernetes gives it."""
    if not least <= value <= _MAX_ID:
        raise FieldError(field, f"{value:.12g} is not accepted; use a number from {least} to {_MAX_ID}")


def ip_address(field: str, value: str) -> None:
    """Check an IPv4 or IPv6 address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, value)
        except (OSError, ValueError):
            continue
        return
    raise FieldError(field, f"{shown(value)} is no IP address; write one like 10.96.0.10")


def user_id(field: str, value: int | None) -> None:
    """Check a uid or gid."""
    if value is not None:
        at_least(field, value, 0)


def choice(field: str, value: str, accepted: Iterable[str], cure: str = "") -> None:
    """Check that `value` is one of `accepted`; `cure` says what to do about another."""
    if value not in accepted:
        raise FieldError(field, f"{shown(value)} is not accepted; accepted: {', '.join(accepted)}{cure}")


def env_name(field: str, value: str) -> None:
    """Check an environment variable's name."""
    if not _ENV_NAME.fullmatch(value):
        raise FieldError(field, f"{shown(value)} is no variable name; use printable ASCII without '='")


def labels(field: str, values: Mapping[str, str]) -> None:
    """Check labels or a selector: keys and values."""
    for key, value in values.items():
        _qualified(field, key)
        if value and not _QUALIFIED.fullmatch(value):
            raise FieldError(
                f"{field}[{shown(key)}]",
                f"{shown(value)} is no label value; use up to 63 letters, digits, '-', '_' and '.', "
                "a letter or digit at both ends",
            )


def annotations(field: str, values: Mapping[str, str]) -> None:
    """Check annotations: keys, and the size of all together."""
    for key in values:
        _qualified(field, key)
    if sum(map(len, values)) + sum(map(len, values.values())) > _ANNOTATIONS_BYTES:
        raise FieldError(field, f"they are more than {_ANNOTATIONS_BYTES} bytes together; shorten them")


def unique(field: str, values: Iterable[object], what: str) -> None:
    """Check that no value comes twice; `what` says what the values are."""
    seen = set()
    for index, value in enumerate(values):
        if value in seen:
            raise FieldError(f"{field}[{index}]", f"the {what} {shown(value)} is there twice; change or remove one")
        seen.add(value)


def _qualified(field: str, key: str) -> None:
    prefix, slash, name = key.rpartition("/")
    if (slash and (len(prefix) > 253 or not _SUBDOMAIN.fullmatch(prefix))) or not _QUALIFIED.fullmatch(name):
        raise FieldError(
            field,
            f"{shown(key)} is no key; use up to 63 letters, digits, '-', '_' and '.', "
            "where wanted after a DNS name and '/' (example.org/name)",
        )
