"""What labs and interception rules need of the kernel, tried for real in the network namespace that the caller is in.

Called in a sandbox, whose end is the clean-up. Knows what expressions and links there are, not what rules are for.
"""

import errno as errors
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from sidelab.lab.base.privileges import FORBIDDEN, NOT_PERMITTED
from sidelab.lab.doctor.finding import Finding
from sidelab.lab.errors import NotPermittedError, PodError, SidelabError
from sidelab.lab.netlink import conntrack, header, nftables, receive, route
from sidelab.lab.netlink.attributes import TEXT, attribute
from sidelab.lab.netlink.nftables import NftChain, NftRule, NftTable, Operation
from sidelab.lab.netlink.nftables.objects import (
    IPV4,
    Compare,
    Counter,
    Ct,
    CtKey,
    Expression,
    Immediate,
    Meta,
    MetaKey,
    NftHook,
    Redirect,
    Tproxy,
)
from sidelab.lab.plan.topology import PodAddress
from sidelab.lab.runtime.network import Network
from sidelab.lab.sandbox.overlay import DetachedMounts
from sidelab.lab.sandbox.sandbox import RUN, make_mounts
from sidelab.lab.sandbox.user_namespaces import AllSpaces

_POD = PodAddress(("doctor", "pod"), 0, "10.244.0.2", "fd00:10:244::2", "02:00:0a:f4:00:02", "v0-doctor", 1000)
_PORT = Immediate((15001).to_bytes(2, "big"))
_IS_TCP = (Meta(MetaKey.L4PROTO), Compare(bytes([socket.IPPROTO_TCP])))
_NAT_OUTPUT, _OUTPUT, _PREROUTING = (
    ("nat", NftHook.OUTPUT, -100),
    ("filter", NftHook.OUTPUT, -300),
    ("filter", NftHook.PREROUTING, -150),
)
_LO = 1
_OWNER = 1337
_TOOL_TIMEOUT_S = 10.0

_RTM_NEWQDISC = 36
_TCMSG = struct.Struct("=BxxxiIII")  # tcmsg: family, link, handle, parent, info
_TC_H_ROOT = 0xFFFFFFFF
_TCA_KIND = 1

_Try = Callable[[], None]


def run(tools: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what the kernel can do; `tools` are the paths of rule-making programs to try, by name."""
    mounts = _finding(
        "mount_setattr", make_mounts, "run it outside of the container, or give that `--privileged`", True
    )
    yield mounts
    if not mounts.ok:
        return
    yield _finding("overlayfs", _overlay, "`modprobe overlay`; in a container of a container, run it outside", True)
    cure = "map 65536 ids into the user namespace that you are root of, or use an ordinary user with subordinate ids"
    yield _finding("uid 1337", _owner_exists, cure, True)
    yield _finding("IPv6", _ipv6, "boot without ipv6.disable=1; the kernel needs CONFIG_IPV6", True)
    yield _finding("pod network", _pod_network, "the kernel needs CONFIG_VETH (`modprobe veth`)", True)
    for name, (needed, place, said, modules) in _RULES.items():
        cure = f"`modprobe {modules}` where these are modules, else a kernel that has them"
        yield _finding(name, partial(_load, place, said), cure, needed)
    yield _finding("conntrack entries", _conntrack, "`modprobe nf_conntrack_netlink`, for `rules conntrack`", False)
    for kind in ("tbf", "netem"):
        cure = f"`modprobe sch_{kind}` (Ubuntu: linux-modules-extra-$(uname -r)), for shaping and delaying links by tc"
        yield _finding(f"qdisc {kind}", partial(_qdisc, kind), cure, False)
    for name, path in tools.items():
        cure = "the kernel lacks what this program speaks to: the default way, `--rules nft`, needs none of these"
        yield _finding(f"{name} rules", partial(_tool, name, path), cure, False)


# By name: whether the main job needs it, where such a rule stands, what it says, and the modules that have it.
_RULES: dict[str, tuple[bool, tuple[str, NftHook, int], tuple[Expression, ...], str]] = {
    "nftables": (True, _NAT_OUTPUT, (*_IS_TCP, Counter()), "nf_tables nft_chain_nat"),
    "nft redirect": (True, _NAT_OUTPUT, (*_IS_TCP, _PORT, Redirect()), "nft_redir nf_nat"),
    "nft owner": (True, _NAT_OUTPUT, (Meta(MetaKey.SKUID), Compare(struct.pack("=I", _OWNER))), "nf_tables"),
    "nft tproxy": (False, _PREROUTING, (*_IS_TCP, _PORT, Tproxy(IPV4)), "nft_tproxy"),
    "nft ct mark": (False, _PREROUTING, (Meta(MetaKey.MARK), Ct(CtKey.MARK, store=True)), "nft_ct"),
    "nft ct zone": (False, _OUTPUT, (Immediate(struct.pack("=H", 2)), Ct(CtKey.ZONE, store=True)), "nft_ct"),
}


def _finding(name: str, attempt: _Try, cure: str, needed: bool) -> Finding:
    try:
        attempt()
    except SidelabError as error:
        found, forbidden = str(error), isinstance(error, NotPermittedError)
    except OSError as error:
        found, forbidden = error.strerror or str(error), error.errno in NOT_PERMITTED
    else:
        return Finding(name, True, "works", needed=needed)
    if forbidden:
        cure = FORBIDDEN  # what is not permitted may well be there
    return Finding(name, False, found, cure, needed)


def _owner_exists() -> None:
    """Look for 1337 in the user namespace's maps (user_namespaces(7)): rules by owner need a process of that uid."""
    for name in ("uid_map", "gid_map"):
        ranges = [[int(word) for word in line.split()] for line in Path("/proc/self", name).read_text().splitlines()]
        if not any(first <= _OWNER < first + count for first, _, count in ranges):
            raise PodError(f"/proc/self/{name} has no {_OWNER}, which the proxy runs as")


def _overlay() -> None:
    """Make an overlayfs as pods are shown directories by."""
    empty = Path(RUN, "empty")
    empty.mkdir()
    DetachedMounts().open([Path("/etc")], empty)


def _ipv6() -> None:
    with route.open_socket() as link:
        route.send(link, [route.up(_LO)])
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
        sock.bind(("::1", 0))


def _pod_network() -> None:
    Network(AllSpaces(host_ids=False)).build([_POD])


def _load(place: tuple[str, NftHook, int], said: tuple[Expression, ...]) -> None:
    table = NftTable("doctor")
    chain = NftChain(table, "chain", *place)
    remove = (Operation("add", table), Operation("delete", table))
    rule = NftRule(table, chain.name, said)
    with nftables.open_socket() as link:
        nftables.send(link, nftables.encode((*remove, *(Operation("add", each) for each in (table, chain, rule)))))


def _conntrack() -> None:
    with nftables.open_socket() as link:
        conntrack.dump(link)


def _qdisc(kind: str) -> None:
    """Ask for a queueing discipline without its settings: the kernel looks for it before it misses them."""
    body = _TCMSG.pack(0, _LO, 0, _TC_H_ROOT, 0) + attribute(_TCA_KIND, TEXT.pack(kind))
    with route.open_socket() as link:
        asked = header.message(_RTM_NEWQDISC, header.ACK | header.CREATE, 0, body)
        refusals = receive.carry_out(link, asked).refusals
    for refusal in refusals:
        if refusal.errno == errors.ENOENT:
            raise PodError("the kernel has none of that kind")
        if refusal.errno != errors.EINVAL:
            raise OSError(refusal.errno, refusal.why)


def _tool(name: str, path: str) -> None:
    arguments = ["list", "ruleset"] if name == "nft" else ["-t", "nat", "-S"]
    try:
        done = subprocess.run(
            [path, *arguments],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=_TOOL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise PodError(f"no answer within {_TOOL_TIMEOUT_S:g} s") from None
    if done.returncode:
        raise PodError(done.stderr.strip() or f"status {done.returncode}")
