"""Finds the virtual host for a Host field, like Envoy: config.route.v3.VirtualHost.domains. Pure."""

from typing import Generic, TypeVar

V = TypeVar("V")


class Domains(Generic[V]):
    """Values by domain: a whole name, or `*.` and a suffix of names. The first value of a domain stays."""

    __slots__ = ("_ends", "_names")

    def __init__(self) -> None:
        self._names: dict[bytes, V] = {}
        self._ends: dict[bytes, V] = {}

    def add(self, domain: str, value: V) -> None:
        """Give `domain` a value, unless it has one."""
        name = domain.lower().encode()
        if name.startswith(b"*."):
            self._ends.setdefault(name[1:], value)
        else:
            self._names.setdefault(name, value)

    def find(self, host: bytes) -> V | None:
        """Return the value for a Host field without its port: a whole name wins, then the longest suffix."""
        name = host.lower()
        colon = name.rfind(b":")
        if colon > name.rfind(b"]"):
            name = name[:colon]
        found = self._names.get(name)
        if found is not None or not self._ends:
            return found
        dot = name.find(b".", 1)
        while dot > 0:
            found = self._ends.get(name[dot:])
            if found is not None:
                return found
            dot = name.find(b".", dot + 1)
        return None
