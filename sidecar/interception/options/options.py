"""The options of istio-iptables, as one frozen, valid value; the flags that set them are in `flags`.

Pure: what istio-iptables finds out by itself (IPv6, resolvers, the proxy user's id) is an option here too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from ipaddress import IPv4Interface, ip_interface
from typing import Literal, get_args

from sidelab.lab.errors import InputError
from sidelab.sidecar import istio_ports
from sidelab.sidecar.interception.options.values import EVERYTHING, ID_LIMIT, Address, Cidr, Everything, Group, refuse

Mode = Literal["REDIRECT", "TPROXY"]
Profile = Literal["istio", "classic"]
Quirks = Literal["istio", "none"]
Way = Literal["nft", "iptables", "iptables-legacy"]  # into the kernel; the first is the default

PROFILES: tuple[Profile, ...] = get_args(Profile)
QUIRKS: tuple[Quirks, ...] = get_args(Quirks)
WAYS: tuple[Way, ...] = get_args(Way)

GROUP_LIMIT = 64  # Istio puts all groups into one rule, and iptables limits the matches of a rule.
ISTIO_LOOPBACK = IPv4Interface("127.0.0.1/32")


@dataclass(frozen=True)
class Options:
    """Everything that decides a pod's interception rules, with istio-iptables' defaults.

    Ports are 1 to 65535, ids and marks 32 bits; `"*"` means all where a field allows it, an empty tuple none.
    An empty `proxy_gids` becomes `proxy_uids`, as in Istio. Raises `InputError` for values out of range or
    contradicting each other.
    """

    proxy_port: int = istio_ports.OUTBOUND
    inbound_capture_port: int = istio_ports.INBOUND
    inbound_tunnel_port: int = istio_ports.TUNNEL
    proxy_uids: tuple[int, ...] = (1337,)
    proxy_gids: tuple[int, ...] = ()
    interception_mode: Mode = "REDIRECT"
    inbound_ports: Everything | tuple[int, ...] = ()
    inbound_ports_exclude: tuple[int, ...] = ()
    exclude_interfaces: tuple[str, ...] = ()
    virtual_interfaces: tuple[str, ...] = ()
    outbound_cidrs: Everything | tuple[Cidr, ...] = ()
    outbound_cidrs_exclude: tuple[Cidr, ...] = ()
    outbound_ports: tuple[int, ...] = ()
    outbound_ports_exclude: tuple[int, ...] = ()
    owner_groups: Everything | tuple[Group, ...] = EVERYTHING
    owner_groups_exclude: tuple[Group, ...] = ()
    loopback_cidr: Cidr = ISTIO_LOOPBACK
    tproxy_mark: int = 1337
    tproxy_table: int = 133
    redirect_dns: bool = False
    capture_all_dns: bool = False
    dns_servers: tuple[Address, ...] = ()
    drop_invalid: bool = False
    enable_ipv6: bool = False
    dual_stack: bool = False
    profile: Profile = "istio"
    quirks: Quirks = "istio"  # "none": better behaviour where Istio's is surprising
    # What follows decides how rules are applied, not what they are.
    dry_run: bool = False
    dry_run_file: str = ""
    skip_rule_apply: bool = False
    run_validation: bool = False
    probe_port: int = istio_ports.VALIDATION
    probe_timeout_s: float = 5.0
    reconcile: bool = False
    cleanup_only: bool = False
    force_apply: bool = False
    native_nftables: bool = False
    iptables_binary: str = ""
    cni_mode: bool = False
    network_namespace: str = ""
    envoy_user: str = "istio-proxy"

    def __post_init__(self) -> None:
        if not self.proxy_uids:
            raise InputError("--proxy-uid: no user id given: give one or more numeric ids, such as 1337")
        if not self.proxy_gids:
            object.__setattr__(self, "proxy_gids", self.proxy_uids)
        self._check_numbers()
        self._check_outbound()
        if self.profile == "classic":
            self._check_classic()

    @classmethod
    def from_args(cls, argv: Sequence[str], env: Mapping[str, str] | None = None) -> "Options":
        """Read istio-iptables' command line and environment; the command line wins.

        Only `env` is used, never the process's own environment. Raises `InputError`.
        """
        from sidelab.sidecar.interception.options.flags import read  # noqa: PLC0415 - flags names this class's fields, so it comes after

        return cls(**read(argv, env or {}))

    @property
    def dns_captured(self) -> bool:
        """Whether DNS rules are made: Istio leaves them out if it knows no resolver."""
        return self.redirect_dns and (self.capture_all_dns or bool(self.dns_servers))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Options that Istio accepts without effect: one sentence each, for stderr."""
        cidrs = [*self.outbound_cidrs_exclude]
        if self.outbound_cidrs != EVERYTHING:
            cidrs += self.outbound_cidrs
        six = [str(cidr) for cidr in cidrs if cidr.version == 6]
        six += [str(server) for server in self.dns_servers if server.version == 6]
        found = {
            f"IPv6 is off, so {', '.join(six)} has no effect (--enable-ipv6)": six and not self.enable_ipv6,
            "--istio-local-exclude-ports has no effect without --istio-inbound-ports '*'": (
                self.inbound_ports_exclude and self.inbound_ports != EVERYTHING
            ),
            "--redirect-dns has no effect: no resolver is known (--dns-server, or --capture-all-dns)": (
                self.redirect_dns and not self.dns_captured
            ),
            "--capture-all-dns has no effect without --redirect-dns": (self.capture_all_dns and not self.redirect_dns),
            "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE has no effect unless all groups are included": (
                self.owner_groups_exclude and self.owner_groups != EVERYTHING
            ),
            "--cni-mode has no effect here": self.cni_mode,
            "--network-namespace has no effect here: rules go into the pod's own": self.network_namespace,
            "--force-iptables-binary has no effect here": self.iptables_binary,
        }
        return tuple(sentence for sentence, true in found.items() if true)

    def _check_numbers(self) -> None:
        ports: dict[str, tuple[int, ...]] = {
            "--envoy-port": (self.proxy_port,),
            "--inbound-capture-port": (self.inbound_capture_port,),
            "--inbound-tunnel-port": (self.inbound_tunnel_port,),
            "--iptables-probe-port": (self.probe_port,),
            "--istio-inbound-ports": () if self.inbound_ports == EVERYTHING else self.inbound_ports,
            "--istio-local-exclude-ports": self.inbound_ports_exclude,
            "--istio-outbound-ports": self.outbound_ports,
            "--istio-local-outbound-ports-exclude": self.outbound_ports_exclude,
        }
        for option, values in ports.items():
            for value in values:
                if not 1 <= value <= 65535:
                    raise refuse(option, value, "a port, 1 to 65535")
        for option, values in (("--proxy-uid", self.proxy_uids), ("--proxy-gid", self.proxy_gids)):
            for value in values:
                if not 0 <= value < ID_LIMIT:
                    raise refuse(option, value, f"a numeric id, 0 to {ID_LIMIT - 1}")
        for option, value in (
            ("--istio-inbound-tproxy-mark", self.tproxy_mark),
            ("--istio-inbound-tproxy-route-table", self.tproxy_table),
        ):
            if not 1 <= value <= ID_LIMIT:
                raise refuse(option, value, f"a number, 1 to {ID_LIMIT}")

    def _check_outbound(self) -> None:
        if self.owner_groups != EVERYTHING and len(self.owner_groups) > GROUP_LIMIT:
            raise InputError(
                f"ISTIO_OUTBOUND_OWNER_GROUPS: {len(self.owner_groups)} groups are too many: "
                f"give at most {GROUP_LIMIT}, or '*'"
            )
        loopback = self.loopback_cidr
        inside = loopback.version == 4 and loopback.ip.is_loopback and loopback.network.prefixlen >= 8
        if not inside:
            raise refuse(
                "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
                str(loopback),
                "an IPv4 loopback address with a mask of 8 to 32, such as 127.0.0.1/8",
            )

    def _check_classic(self) -> None:
        """Refuse options that the release of the tutorial's listing did not have."""
        for field in fields(self):
            changed = getattr(self, field.name) != field.default
            if field.name == "proxy_gids":
                changed = self.proxy_gids != self.proxy_uids
            if changed and field.name in _NOT_CLASSIC:
                raise InputError(
                    f"{_NOT_CLASSIC[field.name]}: the classic profile has no such option: "
                    "leave it out, or use --profile istio"
                )


_NOT_CLASSIC = {
    "proxy_gids": "--proxy-gid",
    "interception_mode": "--istio-inbound-interception-mode TPROXY",
    "exclude_interfaces": "--istio-exclude-interfaces",
    "virtual_interfaces": "--kube-virt-interfaces",
    "owner_groups": "ISTIO_OUTBOUND_OWNER_GROUPS",
    "owner_groups_exclude": "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE",
    "loopback_cidr": "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR",
    "redirect_dns": "--redirect-dns",
    "capture_all_dns": "--capture-all-dns",
    "drop_invalid": "--drop-invalid",
    "dual_stack": "--dual-stack",
    "reconcile": "--reconcile",
    "cleanup_only": "--cleanup-only",
    "force_apply": "--force-apply",
    "native_nftables": "--native-nftables",
    "iptables_binary": "--force-iptables-binary",
}


def loopback_included(cidrs: Everything | tuple[Cidr, ...]) -> bool:
    """Return whether a range in `cidrs` starts in loopback: then Istio lets loopback traffic be captured."""
    return cidrs != EVERYTHING and any(ip_interface(cidr).ip.is_loopback for cidr in cidrs)
