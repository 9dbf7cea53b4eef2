"""A small interpreter of the options, independent of the rules' code: it predicts where a new connection lands.

It is written from the table of istio-iptables' steps, whose numbers are in the comments. It predicts iptables; where
Istio's nftables rules are known to differ is in `known_differences`. It may import values, never code that makes rules.
"""

from ipaddress import ip_address

from grid import LOCALHOST, NEAR, PROXY_SOURCE, WORLD, Probe

from sidelab.sidecar.interception.options.options import Options
from sidelab.sidecar.interception.options.values import Cidr

UNTOUCHED = "untouched"
DROPPED = "dropped"
LOST = "lost"
DNS_PORT = 15053
GROUPS = {"root": 0}


def redirected(port: int) -> str:
    """Return the words for a connection whose destination was changed to `port` of the pod itself."""
    return f"redirected to {port}"


def given(port: int, seen_port: int | None = None) -> str:
    """Return the words for a connection that TPROXY gave to the socket on `port`, with its port changed if given."""
    return f"given to {port}" if seen_port is None else f"given to {port} as if for {seen_port}"


def predict(options: Options, probe: Probe, *, both_families: bool = False) -> str:
    """Return where `probe` lands; `both_families` if rules without an address also catch IPv6 when it is off."""
    if probe.family == 6 and not (options.enable_ipv6 or both_families):
        return UNTOUCHED
    reading = _Reading(options, probe)
    if probe.broken:
        return DROPPED if reading.refused() else UNTOUCHED
    return reading.inbound() if probe.inbound else reading.outbound()


class _Reading:
    """The options as they apply to one probe."""

    def __init__(self, options: Options, probe: Probe) -> None:
        self.options, self.probe = options, probe
        self.classic = options.profile == "classic"
        self.tproxy = options.interception_mode == "TPROXY"
        self.dns = options.redirect_dns and (options.capture_all_dns or bool(options.dns_servers))
        self.tcp = probe.protocol == "tcp"
        # With IPv6 off, no rule mentions an IPv6 address.
        self.addressed = probe.family == 4 or options.enable_ipv6

    def within(self, ranges: tuple[Cidr, ...]) -> bool:
        """Whether the destination is in one of `ranges`, and rules may mention it."""
        address = ip_address(self.probe.destination)
        same = [one.network for one in ranges if one.version == self.probe.family]
        return self.addressed and any(address in network for network in same)

    def to_itself(self) -> bool:
        """Whether the destination counts as the pod talking to itself."""
        if self.probe.family == 6:
            return self.probe.destination == LOCALHOST[6]
        return ip_address(self.probe.destination) in self.options.loopback_cidr.network

    def excluded(self) -> bool:
        """Step 1."""
        return self.probe.interface in self.options.exclude_interfaces

    def refused(self) -> bool:
        """Step 3; with TPROXY the excluded interfaces return before it in the same chain."""
        return self.options.drop_invalid and not (self.tproxy and self.excluded())

    def wanted_inbound(self) -> bool:
        """Step 6, as far as ports go."""
        options, port = self.options, self.probe.port
        if options.inbound_ports == "*":
            return port not in options.inbound_ports_exclude and not (self.classic and port == 22)
        return port in options.inbound_ports

    def inbound(self) -> str:
        """From outside; virtual interfaces come first, as their traffic counts as outbound."""
        options, probe = self.options, self.probe
        if not self.tcp:
            return UNTOUCHED
        virtual = probe.interface in options.virtual_interfaces
        as_outbound = virtual and self.included()  # 16
        if self.tproxy and not self.excluded() and self.wanted_inbound() and self.addressed:  # 6b, a table before
            return given(options.inbound_capture_port, options.proxy_port if as_outbound else None)
        if as_outbound:
            return redirected(options.proxy_port)
        if self.tproxy:
            return LOST if self.diverted_on_its_way() else UNTOUCHED
        returned = virtual or self.excluded() or probe.port == options.inbound_tunnel_port  # 2, 1, 4
        wanted = self.wanted_inbound() and not returned  # 6a
        return redirected(options.inbound_capture_port) if wanted else UNTOUCHED

    def diverted_on_its_way(self) -> bool:
        """Step 6b again: packets of an established connection go to the pod, although it should only forward them.

        Answers come in by eth0, for a port that no option names.
        """
        options, probe = self.options, self.probe
        forwarded = probe.destination in (WORLD[probe.family], NEAR[probe.family]) and probe.origin == "machine"
        answers = options.inbound_ports == "*" and "eth0" not in options.exclude_interfaces
        questions = self.wanted_inbound() and not self.excluded()
        return forwarded and (answers or questions)

    def included(self) -> bool:
        """Step 16, as far as addresses go."""
        cidrs = self.options.outbound_cidrs
        return cidrs == "*" or self.within(cidrs)

    def outbound(self) -> str:
        """From inside; what goes over lo unchanged meets the inbound rules, which only TPROXY has there."""
        port = self.captured_by()
        if port is not None:
            return redirected(port)
        marked = self.tproxy and self.tcp and self.addressed and self.on_lo() and not self.to_itself()  # 17
        marked = marked and (self.mine(by_user=True) or self.mine(by_user=False))
        if marked and not self.excluded() and not self.from_proxy() and self.wanted_inbound():
            return given(self.options.inbound_capture_port)
        return UNTOUCHED

    def on_lo(self) -> bool:
        """Whether the packet leaves by lo."""
        return self.probe.interface == "lo"

    def from_proxy(self) -> bool:
        """Whether this is the proxy's connection to its application."""
        return self.addressed and self.on_lo() and self.probe.source == PROXY_SOURCE[self.probe.family]

    def mine(self, *, by_user: bool) -> bool:
        """Whether the sender is the proxy, by user or by group."""
        if by_user:
            return self.probe.uid in self.options.proxy_uids
        return self.probe.gid in self.options.proxy_gids

    def captured_by(self) -> int | None:
        """Return the port that the rules of table nat lead to (steps 1, and 8 on), None if they return."""
        options, probe = self.options, self.probe
        if self.excluded() or probe.port in options.outbound_ports_exclude or self.from_proxy():  # 1, 8, 9
            return None
        if self.classic and not self.tcp:
            return None
        for owner, by_user in self.owners():  # 10
            decided, port = self.by_owner(owner == (probe.uid if by_user else probe.gid), by_user=by_user)
            if decided:
                return port
        return self.captured_from_application() if self.in_owner_groups() else None  # 11

    def captured_from_application(self) -> int | None:
        """Continue with steps 12 to 16, for what is left: the application's traffic."""
        options, probe = self.options, self.probe
        if self.dns and probe.port == 53 and self.asks_known_resolver():  # 12
            return DNS_PORT
        if (self.addressed and self.to_itself()) or self.within(options.outbound_cidrs_exclude):  # 13, 14
            return None
        if self.tcp and (probe.port in options.outbound_ports or self.included()):  # 15, 16
            return options.proxy_port
        return None

    def owners(self) -> list[tuple[int, bool]]:
        """Return the proxy's users, then its groups; the classic rules have no groups."""
        users = [(uid, True) for uid in self.options.proxy_uids]
        return users if self.classic else users + [(gid, False) for gid in self.options.proxy_gids]

    def by_owner(self, mine: bool, *, by_user: bool) -> tuple[bool, int | None]:
        """Step 10 for one owner: whether its three rules decide, and for which port."""
        options, probe = self.options, self.probe
        left_out = {options.inbound_tunnel_port} | ({53} if self.dns and by_user else set())
        calls_its_pod = mine and self.on_lo() and self.addressed and not self.to_itself() and self.tcp
        if calls_its_pod and (self.classic or probe.port not in left_out):
            return True, options.inbound_capture_port
        loopback_wanted = options.outbound_cidrs != "*" and any(one.ip.is_loopback for one in options.outbound_cidrs)
        returns = not self.dns or (self.tcp and probe.port != 53)
        if self.on_lo() and not mine and returns and (self.classic or not loopback_wanted):
            return True, None
        return mine, None

    def in_owner_groups(self) -> bool:
        """Step 11."""
        options, gid = self.options, self.probe.gid
        if options.owner_groups == "*":
            return gid not in {GROUPS.get(str(group), group) for group in options.owner_groups_exclude}
        return gid in {GROUPS.get(str(group), group) for group in options.owner_groups}

    def asks_known_resolver(self) -> bool:
        """Step 12, as far as addresses go."""
        address = ip_address(self.probe.destination)
        return self.options.capture_all_dns or (self.addressed and address in self.options.dns_servers)
