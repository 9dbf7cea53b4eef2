"""The values of istio-iptables' options: one function per kind, from text to a checked value.

Each raises `InputError` naming the option and what it accepts; none examines the machine.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface
from typing import Literal, TypeVar

from sidelab.lab.errors import InputError

Cidr = IPv4Interface | IPv6Interface
Address = IPv4Address | IPv6Address
Everything = Literal["*"]
Group = int | str

EVERYTHING: Everything = "*"
ID_LIMIT = 2**32 - 1  # (uid_t)-1 means "no user"

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
_UNIT_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
# nft's text has interface names without quotes, so only names that need none are valid; 15 is IFNAMSIZ - 1.
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,14}")
_GROUP = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")

T = TypeVar("T")


def refuse(option: str, value: object, accepted: str) -> InputError:
    """Return the error for `option`, whose `value` is not what is `accepted`."""
    return InputError(f"{option}: {value!r} is not accepted here: give {accepted}")


def split(text: str) -> list[str]:
    """Split a comma list as Istio does: empty items are dropped, so `6000,7000,` has two."""
    return [item for item in text.split(",") if item]


def number(option: str, text: str, low: int, high: int, what: str) -> int:
    """Return `text` as a decimal number between `low` and `high`."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and low <= int(text) <= high):
        raise refuse(option, text, f"{what}, {low} to {high}")
    return int(text)


def port(option: str, text: str) -> int:
    """Return a port number, 1 to 65535; blanks around it are ignored, as by istiod and iptables."""
    return number(option, text.strip(), 1, 65535, "a port")


def user_id(option: str, text: str) -> int:
    """Return a numeric user or group id."""
    return number(option, text.strip(), 0, ID_LIMIT - 1, "a numeric id")


def mark(option: str, text: str) -> int:
    """Return a firewall mark, 1 to 2³²-1 (unmarked packets have 0)."""
    return number(option, text, 1, ID_LIMIT, "a mark")


def table(option: str, text: str) -> int:
    """Return a routing table's number."""
    return number(option, text, 1, ID_LIMIT, "a routing table's number")


def boolean(option: str, text: str) -> bool:
    """Return a boolean in the spellings of Go's `strconv.ParseBool`."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise refuse(option, text, "true or false")


def duration_s(option: str, text: str) -> float:
    """Return a Go duration (`5s`, `1m30s`, `500ms`) in seconds."""
    parts = _DURATION.findall(text)
    if not parts or "".join(amount + unit for amount, unit in parts) != text:
        raise refuse(option, text, "a duration such as 5s, 500ms or 1m30s")
    return sum(float(amount) * _UNIT_S[unit] for amount, unit in parts)


def interface(option: str, text: str) -> str:
    """Return the name of a network interface without blanks around it; iptables does not get those either."""
    name = text.strip()
    if not _INTERFACE.fullmatch(name):
        raise refuse(option, text, "interface names (1 to 15 letters, digits, '_', '.', '@' or '-'), no patterns")
    return name


def group(option: str, text: str) -> Group:
    """Return a group's number, or its name, which is resolved only when rules are applied."""
    name = text.strip()
    if name.isdigit():
        return user_id(option, name)
    if not _GROUP.fullmatch(name):
        raise refuse(option, text, "group names or numeric ids, or '*' alone")
    return name


def cidr(option: str, text: str) -> Cidr:
    """Return an address with prefix length; host bits are kept, because the rule text shows them."""
    address, slash, length = text.partition("/")
    try:
        if not (slash and length.isascii() and length.isdigit() and str(int(length)) == length and "%" not in text):
            raise ValueError(text)  # noqa: TRY301 - one message for every way of being no CIDR
        return ip_interface(f"{address}/{length}")
    except ValueError:
        raise refuse(option, text, "IP ranges in CIDR form, such as 10.0.0.0/8 or 2001:db8::/32") from None


def address(option: str, text: str) -> Address:
    """Return an IPv4 or IPv6 address without scope."""
    try:
        if "%" in text:
            raise ValueError(text)  # noqa: TRY301 - one message for every way of being no address
        return ip_address(text)
    except ValueError:
        raise refuse(option, text, "an IP address such as 10.96.0.10") from None


def many(item: Callable[[str, str], T]) -> Callable[[str, str], tuple[T, ...]]:
    """Return a reader of comma lists of what `item` reads."""

    def read(option: str, text: str) -> tuple[T, ...]:
        return tuple(item(option, part) for part in split(text))

    return read


def all_or_many(item: Callable[[str, str], T]) -> Callable[[str, str], Everything | tuple[T, ...]]:
    """Return a reader of `*` or a comma list of what `item` reads."""

    def read(option: str, text: str) -> Everything | tuple[T, ...]:
        return EVERYTHING if text == EVERYTHING else many(item)(option, text)

    return read


def complete(item: Callable[[str, str], T]) -> Callable[[str, str], tuple[T, ...]]:
    """Return a reader of comma lists of what `item` reads without empty items: `80,` is refused."""

    def read(option: str, text: str) -> tuple[T, ...]:
        return tuple(item(option, part) for part in text.split(",")) if text.strip() else ()

    return read


def all_or_complete(item: Callable[[str, str], T]) -> Callable[[str, str], Everything | tuple[T, ...]]:
    """Return a reader of `*` or what `complete` reads."""

    def read(option: str, text: str) -> Everything | tuple[T, ...]:
        return EVERYTHING if text == EVERYTHING else complete(item)(option, text)

    return read


def one_of(*words: str) -> Callable[[str, str], str]:
    """Return a reader of one of `words`; the empty text stands for the first."""

    def read(option: str, text: str) -> str:
        if text and text not in words:
            raise refuse(option, text, " or ".join(word for word in words if word))
        return text or words[0]

    return read


def anything(option: str, text: str) -> str:
    """Return `text` unchecked: these options have no effect here."""
    del option
    return text
