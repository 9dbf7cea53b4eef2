"""Service addresses: virtual ones, which no link has; the node translates them. Pure."""

from sidelab.lab.errors import InputError
from sidelab.lab.keys import ServiceKey

SERVICE_CIDR_IPV4 = "10.96.0.0/16"
SERVICE_CIDR_IPV6 = "fd00:10:96::/112"

DNS_IPV4 = "10.96.0.10"
DNS_IPV6 = "fd00:10:96::a"
"""The cluster's DNS, a process in the node: these two are the node's own."""

DOMAIN = "cluster.local"

MAX_SERVICES = 65_000

_FIRST = 11  # 10.96.0.1 is the API server's on a cluster, .10 the DNS


class ServiceAddresses:
    """Gives each Service its two addresses, in the order of requests, and never reuses one."""

    def __init__(self) -> None:
        self._given: dict[ServiceKey, tuple[str, str]] = {}
        self._next = _FIRST

    def copied(self) -> "ServiceAddresses":
        """Return an independent copy."""
        other = ServiceAddresses()
        other.__dict__.update(self.__dict__, _given=dict(self._given))
        return other

    def of(self, key: ServiceKey) -> tuple[str, str]:
        """Return the IPv4 and IPv6 address of the Service `key`: the same while it exists.

        Raises `InputError` if there are none left.
        """
        if key not in self._given:
            if self._next >= _FIRST + MAX_SERVICES:
                raise InputError(f"{SERVICE_CIDR_IPV4} has room for {MAX_SERVICES} Services: start several labs")
            high, low = divmod(self._next, 256)
            self._given[key] = f"10.96.{high}.{low}", f"fd00:10:96::{self._next:x}"
            self._next += 1
        return self._given[key]

    def forget(self, key: ServiceKey) -> None:
        """Hear that the Service `key` is gone; one of its name that comes later gets new addresses."""
        self._given.pop(key, None)
