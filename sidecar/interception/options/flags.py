"""istio-iptables' flags and environment variables, and the reading of its command line (like pflag and viper).

A flag's variable is its name in upper case with `_` for `-`; an empty variable counts as unset, as in viper.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sidelab.lab.errors import InputError
from sidelab.sidecar.interception.options import values


class Flag(NamedTuple):
    """One flag: the `Options` field it sets, its reader, and the variables that may replace it."""

    name: str
    field: str
    read: Callable[[str, str], Any]
    short: str = ""
    also: str = ""  # a variable read after the flag's own
    own_variable: bool = True

    @property
    def takes_value(self) -> bool:
        """Whether a value must follow; that of a boolean can only be joined with `=`."""
        return self.read is not values.boolean

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables that give its value, the first set one winning."""
        own = (self.name.upper().replace("-", "_"),) if self.own_variable else ()
        return (*own, self.also) if self.also else own


def _servers(option: str, text: str) -> tuple[values.Address, ...]:
    return tuple(values.address(option, server) for server in text.split("\n"))


FLAGS = (
    Flag("envoy-port", "proxy_port", values.port, "p", own_variable=False),
    Flag("inbound-capture-port", "inbound_capture_port", values.port, "z"),
    Flag("inbound-tunnel-port", "inbound_tunnel_port", values.port, "e"),
    Flag("proxy-uid", "proxy_uids", values.many(values.user_id), "u"),
    Flag("proxy-gid", "proxy_gids", values.many(values.user_id), "g"),
    Flag("istio-inbound-interception-mode", "interception_mode", values.one_of("REDIRECT", "TPROXY"), "m"),
    Flag("istio-inbound-ports", "inbound_ports", values.all_or_many(values.port), "b"),
    Flag("istio-local-exclude-ports", "inbound_ports_exclude", values.many(values.port), "d"),
    Flag("istio-exclude-interfaces", "exclude_interfaces", values.many(values.interface), "c"),
    Flag("istio-service-cidr", "outbound_cidrs", values.all_or_many(values.cidr), "i"),
    Flag("istio-service-exclude-cidr", "outbound_cidrs_exclude", values.many(values.cidr), "x"),
    Flag("istio-outbound-ports", "outbound_ports", values.many(values.port), "q"),
    Flag("istio-local-outbound-ports-exclude", "outbound_ports_exclude", values.many(values.port), "o"),
    Flag("kube-virt-interfaces", "virtual_interfaces", values.many(values.interface), "k"),
    Flag("istio-inbound-tproxy-mark", "tproxy_mark", values.mark, "t"),
    Flag("istio-inbound-tproxy-route-table", "tproxy_table", values.table, "r"),
    Flag("dry-run", "dry_run", values.boolean, "n"),
    Flag("iptables-probe-port", "probe_port", values.port),
    Flag("probe-timeout", "probe_timeout_s", values.duration_s),
    Flag("skip-rule-apply", "skip_rule_apply", values.boolean),
    Flag("run-validation", "run_validation", values.boolean),
    Flag("redirect-dns", "redirect_dns", values.boolean, also="ISTIO_META_DNS_CAPTURE"),
    Flag("capture-all-dns", "capture_all_dns", values.boolean),
    Flag("drop-invalid", "drop_invalid", values.boolean, also="INVALID_DROP"),
    Flag("dual-stack", "dual_stack", values.boolean, also="ISTIO_DUAL_STACK"),
    Flag("network-namespace", "network_namespace", values.anything),
    Flag("cni-mode", "cni_mode", values.boolean),
    Flag("reconcile", "reconcile", values.boolean),
    Flag("cleanup-only", "cleanup_only", values.boolean),
    Flag("force-apply", "force_apply", values.boolean),
    Flag("native-nftables", "native_nftables", values.boolean),
    Flag("force-iptables-binary", "iptables_binary", values.one_of("", "legacy", "nft")),
    # Our own: what istio-iptables finds out by itself, and which rules to make.
    Flag("enable-ipv6", "enable_ipv6", values.boolean, own_variable=False),
    Flag("no-enable-ipv6", "no_enable_ipv6", values.boolean, own_variable=False),
    Flag("dns-server", "dns_servers", _servers, own_variable=False),
    Flag("profile", "profile", values.one_of("istio", "classic"), own_variable=False),
    Flag("quirks", "quirks", values.one_of("istio", "none"), own_variable=False),
)
# Variables without a flag; unlike a flag's, an empty one is a value (no group at all).
VARIABLES = (
    ("ISTIO_OUTBOUND_OWNER_GROUPS", "owner_groups", values.all_or_many(values.group)),
    ("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "owner_groups_exclude", values.many(values.group)),
    ("ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR", "loopback_cidr", values.cidr),
    ("ENVOY_USER", "envoy_user", values.anything),
    ("DRY_RUN_FILE_PATH", "dry_run_file", values.anything),
)
_BY_NAME = {flag.name: flag for flag in FLAGS}
_BY_SHORT = {flag.short: flag for flag in FLAGS if flag.short}
_NAME_BY_VARIABLE = {variable: flag.name for flag in FLAGS for variable in flag.variables}
_RANK = {flag.name: rank for rank, flag in enumerate(FLAGS)}
_OPPOSITES = {"enable-ipv6": "no-enable-ipv6", "no-enable-ipv6": "enable-ipv6"}


def read(argv: Sequence[str], env: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of `Options` that `argv` and `env` set, read and checked one by one.

    Raises `InputError` for an unknown flag, a missing value, or a value that the flag does not accept.
    """
    given = _command_line(argv)
    found: dict[str, Any] = {}
    said = given.keys() | {_NAME_BY_VARIABLE[variable] for variable in _NAME_BY_VARIABLE.keys() & env.keys()}
    for name in sorted(said, key=_RANK.__getitem__):  # so that of several mistakes always the same is reported
        flag = _BY_NAME[name]
        if name in given:
            found[flag.field] = flag.read(f"--{name}", given[name])
            continue
        variable = next(filter(env.get, flag.variables), None)
        if variable:
            found[flag.field] = flag.read(variable, env[variable])
    for variable, field, reader in VARIABLES:
        if variable in env:
            found[field] = reader(variable, env[variable])
    if found.pop("no_enable_ipv6", False):
        found["enable_ipv6"] = False
    return found


def _command_line(argv: Sequence[str]) -> dict[str, str]:
    """Return each given flag's text, the last one winning; several servers are joined by newlines."""
    given: dict[str, str] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.startswith("--") and word != "--":
            _long(word, rest, given)
        elif word.startswith("-") and word not in {"-", "--"}:
            _short(word, rest, given)
        elif word != "--" or rest:
            unwanted = rest[0] if word == "--" else word
            raise InputError(
                f"{unwanted!r}: istio-iptables takes no arguments besides its flags: remove it, or quote it "
                "together with the flag's value"
            )
    return given


def _long(word: str, rest: list[str], given: dict[str, str]) -> None:
    name, joined, text = word[2:].partition("=")
    flag = _BY_NAME.get(name)
    if flag is None:
        raise _unknown(f"--{name}", [f"--{flag.name}" for flag in FLAGS])
    _take(flag, f"--{name}", text if joined else None, rest, given)


def _short(word: str, rest: list[str], given: dict[str, str]) -> None:
    """Read `-b VALUE`, `-bVALUE`, `-b=VALUE`, and flags without value in one word (`-nb VALUE`)."""
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = _BY_SHORT.get(letter)
        if flag is None:
            raise _unknown(f"-{letter}", [f"-{short}" for short in _BY_SHORT])
        text = None
        if letters.startswith("="):
            text, letters = letters[1:], ""
        elif letters and flag.takes_value:
            text, letters = letters, ""
        _take(flag, f"-{letter}", text, rest, given)


def _take(flag: Flag, said: str, text: str | None, rest: list[str], given: dict[str, str]) -> None:
    if text is None and not flag.takes_value:
        text = "true"
    if text is None:
        if not rest:
            raise InputError(f"{said}: a value is missing: give it after the flag, or as {said}=VALUE")
        text = rest.pop(0)
    before = given.pop(flag.name, None)
    given.pop(_OPPOSITES.get(flag.name, ""), None)
    given[flag.name] = f"{before}\n{text}" if before is not None and flag.name == "dns-server" else text


def _unknown(said: str, known: list[str]) -> InputError:
    from difflib import get_close_matches  # noqa: PLC0415 - only mistakes need it, and they can wait for it

    near = get_close_matches(said, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return InputError(f"{said}: istio-iptables has no such flag: {hint}")
