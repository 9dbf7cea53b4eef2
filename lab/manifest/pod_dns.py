"""A pod's names: extra lines of /etc/hosts, and what its /etc/resolv.conf says instead of the lab's own.

Types mirror the Kubernetes API (core/v1), in snake_case.
"""

from sidelab.lab.manifest import checks
from sidelab.lab.manifest.checks import FieldError
from sidelab.lab.manifest.kinds import Part

DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")

_MAX_NAME_SERVERS = 3  # MAXNS, resolv.h


class HostAlias(Part, frozen=True, kw_only=True):
    """A line of /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        checks.ip_address("ip", self.ip)
        for index, name in enumerate(self.hostnames):
            checks.subdomain(f"hostnames[{index}]", name)


class DNSOption(Part, frozen=True, kw_only=True):
    """An option of resolv.conf(5)."""

    name: str
    value: str = ""

    def __post_init__(self) -> None:
        for field, text in (("name", self.name), ("value", self.value)):
            if not text.isascii() or not text.isprintable() or " " in text:
                raise FieldError(field, f"{checks.shown(text)} is no option; write one like `name: ndots, value: '2'`")
        if not self.name:
            raise FieldError("name", "it is empty; write one of resolv.conf's options")


class DNSConfig(Part, frozen=True, kw_only=True):
    """What is added to resolv.conf, or is all of it where the policy is "None"."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DNSOption, ...] = ()

    def __post_init__(self) -> None:
        if len(self.nameservers) > _MAX_NAME_SERVERS:
            raise FieldError("nameservers", f"a program asks {_MAX_NAME_SERVERS} at the most; remove the others")
        for index, address in enumerate(self.nameservers):
            checks.ip_address(f"nameservers[{index}]", address)
        for index, name in enumerate(self.searches):
            checks.subdomain(f"searches[{index}]", name.removesuffix("."))
