"""One way from client to server, as data: sides, rules, proxy, server, payload, address family; valid once it exists.

An arm knows nothing of pods (`bench.arms.pods_of_arms` builds them), nor whether this machine can run it.
"""

import re
from typing import Literal

import msgspec

ClientSide = Literal["plain", "rules-only", "injected"]
ServerSide = Literal["plain", "rules-only", "redirected", "explicit", "injected"]
Rules = Literal["redirect", "tproxy"]
Way = Literal["nft", "iptables", "iptables-legacy"]
Profile = Literal["istio", "classic"]
Protocol = Literal["none", "tcp", "http"]
Image = Literal["", "standin", "nginx"]

PROXIES = ("none", "bundled", "envoy")

MAX_EXTRA_RULES = 20_000
"""Limited by the number of ports that no pod of a benchmark uses."""

MAX_DELAY_US = 10_000.0

MAX_BYTES = 16 * 1024 * 1024
"""The largest N of the server stand-in's page `/size/N`."""

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_SIZE = re.compile(r"/size/(\d{1,9})")
REVISION = "git:"
"""The prefix of the name of a proxy from a git revision of this project."""


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """One way from client to server, alive beside all others during the whole rebuild.

    Sides: `rules-only` loads the rules and excludes the port (conntrack and NAT look-ups, no redirect); `redirected`
    sends connections to a second port of the server itself (REDIRECT, no proxy); `explicit` is the bundled proxy
    without rules, dialled at its own port; `injected` has rules and proxy. `proxy` (bundled, envoy, the absolute path
    of a program that follows docs/proxy-contract.md, or `git:REVISION` for the bundled one of another revision) and
    `protocol` describe the proxy of every side that has one, and are `none` if no side has one. `proxy_args` are a
    program's own arguments, in shell syntax.

    `rules` is how injected sides capture, `way` how rules are loaded into the kernel, `profile` whose rules they are.
    `extra_rules` is a number of rules that match nothing and that each new connection passes before the redirect: in a
    server's pod in ISTIO_INBOUND (excluded ports), in a client's in ISTIO_OUTPUT (excluded addresses of 198.18.0.0/15).
    `envoy` is a path or version, `image` the server's program ("" for the run's `--images`), `path` the requested path
    ("" for the plan's; `/size/N` is N bytes), `family` the IP version; 6 loads rules for both. `delay_us` is a known
    effect for `bench.selftest.selftest` to find: the server stand-in spins that long before each answer (0 uses the
    same code without a delay; None the usual code).
    """

    name: str
    client: ClientSide = "plain"
    server: ServerSide = "plain"
    proxy: str = "none"
    protocol: Protocol = "none"
    proxy_args: str = ""
    rules: Rules = "redirect"
    way: Way = "nft"
    profile: Profile = "istio"
    extra_rules: int = 0
    envoy: str = ""
    image: Image = ""
    path: str = ""
    family: Literal[4, 6] = 4
    delay_us: float | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if not (self.proxy in PROXIES or self.proxy.startswith("/") or _is_revision(self.proxy)):
            raise ValueError(
                f"arm {self.name!r}: proxy = {self.proxy!r}; accepted values: {', '.join(PROXIES)}, the absolute path "
                f"of a program, or {REVISION}REVISION"
            )
        self._check_proxy()
        self._check_rules()
        if self.path:
            check_path(self.path)
        if self.delay_us is not None and not 0 <= self.delay_us <= MAX_DELAY_US:
            raise ValueError(f"arm {self.name!r}: delay_us must be 0 to {MAX_DELAY_US:,.0f}")
        if self.delay_us is not None and self.image == "nginx":
            raise ValueError(f"arm {self.name!r}: only the stand-in can delay its answers; take image = 'standin'")
        if self.image == "nginx" and self.path.startswith("/size/"):
            raise ValueError(f"arm {self.name!r}: a real nginx has no page {self.path}; ask for / or take the stand-in")

    def _check_proxy(self) -> None:
        proxied, said = self.injected or self.server == "explicit", (self.proxy, self.protocol)
        if proxied and "none" in said:
            raise ValueError(
                f"arm {self.name!r} is injected or explicit, so it needs a proxy and a protocol other than none"
            )
        if not proxied and said != ("none", "none"):
            raise ValueError(f"arm {self.name!r} names a proxy but injects no side; say client or server = 'injected'")
        if self.server == "explicit" and (self.client, self.proxy) != ("plain", "bundled"):
            raise ValueError(
                f"arm {self.name!r}: an explicit proxy is the bundled one, dialled by a plain client; correct that"
            )
        if self.proxy_args and not self.proxy.startswith("/"):
            raise ValueError(f"arm {self.name!r} has proxy_args, so its proxy must be the path of a program")
        if self.envoy and self.proxy != "envoy":
            raise ValueError(f"arm {self.name!r} says which envoy, so its proxy must be 'envoy'")
        if self.envoy and not (self.envoy.startswith("/") or _VERSION.fullmatch(self.envoy)):
            raise ValueError(
                f"arm {self.name!r}: envoy = {self.envoy!r} is neither an absolute path nor a version such as 1.35.0"
            )

    def _check_rules(self) -> None:
        if not 0 <= self.extra_rules <= MAX_EXTRA_RULES:
            raise ValueError(f"arm {self.name!r}: extra_rules must be 0 to {MAX_EXTRA_RULES}")
        plain = (self.way, self.profile, self.extra_rules) == ("nft", "istio", 0)
        if not plain and not self.has_rules:
            raise ValueError(f"arm {self.name!r} says what its rules are like, and no side of it has rules")
        if self.rules == "tproxy" and self.server != "injected":
            raise ValueError(f"arm {self.name!r}: tproxy captures what comes in, so its server must be 'injected'")
        if self.rules == "tproxy" and self.profile == "classic":
            raise ValueError(f"arm {self.name!r}: the classic rules know no tproxy; take profile = 'istio'")

    @property
    def injected(self) -> bool:
        """Whether a side has rules and a proxy."""
        return "injected" in (self.client, self.server)

    @property
    def has_rules(self) -> bool:
        """Whether a side has rules."""
        return self.client != "plain" or self.server in ("rules-only", "redirected", "injected")

    @property
    def made_of(self) -> dict[str, object]:
        """All fields of the arm but its name; they are equal in twins."""
        return {key: value for key, value in msgspec.structs.asdict(self).items() if key != "name"}

    def describe(self) -> str:
        """Return in a few words what is between client and server, for figures and sentences."""
        return ", ".join((self._middle(), *self._particulars()))

    def _middle(self) -> str:
        if self.server == "explicit":
            return f"{self.protocol.upper()} proxy addressed directly, no rules"
        if not self.injected:
            return {
                "plain": "rules loaded at the client, no redirect" if self.has_rules else "no rules, no proxy",
                "rules-only": "rules loaded, no redirect",
                "redirected": "redirected to the server's other port, no proxy",
            }[self.server]
        kind = f"{self.protocol.upper()} sidecar"
        if self.proxy != "bundled":
            kind = f"{self._maker()} {kind}"
        if (self.client, self.server) == ("injected", "injected"):
            return f"{kind} at both ends"
        return f"{kind} at the {'server' if self.server == 'injected' else 'client'}"

    def _maker(self) -> str:
        if self.proxy == "envoy":
            return f"Envoy {self.envoy}".rstrip()
        return self.proxy.rpartition("/")[2] if self.proxy.startswith("/") else self.proxy

    def _particulars(self) -> tuple[str, ...]:
        size = _SIZE.fullmatch(self.path)
        asked = f"{int(size[1]):,} bytes" if size else f"GET {self.path}"
        found = {
            "TPROXY": self.rules == "tproxy",
            f"rules by {self.way}": self.way != "nft",
            f"{self.profile} rules": self.profile != "istio",
            f"{self.extra_rules:,} more rules": self.extra_rules > 0,
            "real nginx": self.image == "nginx",
            asked: bool(self.path),
            "IPv6": self.family == 6,
            f"answers {self.delay_us or 0:g} µs later": self.delay_us is not None and self.delay_us > 0,
        }
        return tuple(words for words, true in found.items() if true)


def check_name(name: str) -> None:
    """Raise `ValueError` for an invalid name: it becomes a directory and a label, so words joined by hyphens."""
    if len(name) > 40 or not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r} must be lower-case letters, digits and single hyphens, at most 40 characters")


def check_path(path: str) -> None:
    """Raise `ValueError` for a path that no request can have, and for more bytes than the server sends."""
    if not re.fullmatch(r"/[!-~]*", path):
        raise ValueError("path must start with / and hold visible ASCII characters only")
    size = _SIZE.fullmatch(path)
    if size and int(size[1]) > MAX_BYTES:
        raise ValueError(f"path asks for {int(size[1]):,} bytes; the server has at most {MAX_BYTES:,}")


def _is_revision(proxy: str) -> bool:
    name = proxy.removeprefix(REVISION)
    # git-check-ref-format(1) allows more, but options and spaces are never revisions.
    return name != proxy and bool(re.fullmatch(r"[A-Za-z0-9][\w./~^@{}-]*", name, re.ASCII))
