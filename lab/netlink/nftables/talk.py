"""Sending a batch and understanding the kernel's answer. Source: Linux' nfnetlink.c."""

import errno as errors
import socket

from sidelab.lab.errors import MachineError, NotPermittedError, PodError, SidelabError
from sidelab.lab.netlink import header, receive
from sidelab.lab.netlink.attributes import attributes, contents, name
from sidelab.lab.netlink.header import Refusal
from sidelab.lab.netlink.nftables import expressions, messages

NETLINK_NETFILTER = 12
_SNDBUFFORCE = 32
_SEND_BUFFER_BYTES = 1 << 23

# Kernel options by what is missing without them (net/netfilter/Kconfig).
_EXPRESSIONS = {
    "counter": "CONFIG_NFT_COUNTER",
    "ct": "CONFIG_NFT_CT",
    "masq": "CONFIG_NFT_MASQ",
    "nat": "CONFIG_NFT_NAT",
    "numgen": "CONFIG_NFT_NUMGEN",
    "redir": "CONFIG_NFT_REDIR",
    "reject": "CONFIG_NFT_REJECT",
    "tproxy": "CONFIG_NFT_TPROXY",
}
_ALWAYS_THERE = {"bitwise", "cmp", "immediate", "lookup", "meta", "payload"}
_CHAIN_KINDS = {"nat": "CONFIG_NFT_NAT", "filter": "CONFIG_NF_TABLES_INET", "route": "CONFIG_NF_TABLES_INET"}
_CONNTRACK = "CONFIG_NF_CONNTRACK_ZONES or CONFIG_NF_CONNTRACK_MARK"
_MISSING = {errors.ENOENT, errors.EOPNOTSUPP, errors.EAFNOSUPPORT, errors.EPROTONOSUPPORT}


def open_socket() -> socket.socket:
    """Return a netfilter socket of the caller's current network namespace.

    Raises `MachineError` where the kernel has no nfnetlink.
    """
    try:
        return _with_room(receive.open_socket(NETLINK_NETFILTER))
    except OSError as error:
        raise MachineError(
            f"nftables: this kernel has no netfilter netlink ({error.strerror}): it needs CONFIG_NETFILTER_NETLINK"
        ) from error


def prepared(sock: socket.socket) -> socket.socket:
    """Return a netfilter netlink socket, whatever opened it, ready for `send`."""
    return _with_room(receive.prepared(sock))


def _with_room(sock: socket.socket) -> socket.socket:
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SNDBUFFORCE, _SEND_BUFFER_BYTES)
    except PermissionError:  # not the machine's root: as much as net.core.wmem_max allows
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    return sock


def send(sock: socket.socket, batch: bytes) -> None:
    """Send what `transaction.encode` returned; either all of it is in the kernel afterwards, or nothing.

    Raises `MachineError` if the kernel lacks something that the batch needs, else `PodError` naming the object that
    was refused.
    """
    try:
        answers = receive.carry_out(sock, batch)
    except OSError as error:
        cure = "raise net.core.wmem_max" if error.errno == errors.EMSGSIZE else "send on a netfilter netlink socket"
        raise PodError(f"nftables: {len(batch)} bytes of rules could not be sent: {error.strerror}: {cure}") from error
    if answers.refusals:
        raise explain(batch, answers.refusals[0])  # where more refusals came than fit: the first ones say enough
    if not answers.complete:
        raise PodError("nftables: the kernel did not answer: nothing is known about the rules: remove them and retry")


def explain(batch: bytes, refusal: Refusal) -> SidelabError:
    """Return the error for a refused batch: which object of it, why, and what the kernel lacks, if anything."""
    why = refusal.why
    if refusal.errno == errors.EPERM:
        return NotPermittedError(f"nftables: {why}: the capability NET_ADMIN in this network namespace is needed")
    if refusal.sequence == 0:
        if refusal.errno in _MISSING | {errors.EINVAL}:
            return MachineError(f"nftables: {why}: this kernel has no nftables: it needs CONFIG_NF_TABLES")
        return PodError(f"nftables: the kernel refused the transaction: {why}")
    refused, missing = _object(batch, refusal)
    if missing:
        return MachineError(f"nftables: the kernel refused {refused}: {why}: it lacks {missing}")
    return PodError(f"nftables: the kernel refused {refused}: {why}")


def _object(batch: bytes, refusal: Refusal) -> tuple[str, str]:
    """Return the name of the refused object, and the kernel option that it needs if that is what is missing."""
    rules: dict[tuple[str, str], int] = {}
    for kind, _, sequence, body in header.messages(batch):
        table, chain = _names(kind & 0xFF, body)
        if kind == messages.SUBSYSTEM << 8 | messages.NEW_RULE:
            rules[table, chain] = rules.get((table, chain), 0) + 1
        if sequence != refusal.sequence or kind & 0xFF in {messages.NEW_SET, messages.NEW_ELEMENTS}:
            continue
        option = _option(kind & 0xFF, body, refusal) if refusal.errno in _MISSING else ""
        match kind & 0xFF:
            case messages.NEW_RULE:
                return f"rule {rules[table, chain]} of chain {chain} of table {table}", option
            case messages.NEW_CHAIN:
                return f"chain {chain} of table {table}", option
            case _:
                return f"table {table}", option
    return "an object", ""


def _names(kind: int, body: bytes) -> tuple[str, str]:
    found = contents(body[messages.GENERIC.size :])
    chain = found.get(messages.RULE_CHAIN if kind == messages.NEW_RULE else messages.CHAIN_NAME, b"")
    return name(found.get(messages.TABLE_NAME, b"")), name(chain)


def _option(kind: int, body: bytes, refusal: Refusal) -> str:
    found = contents(body[messages.GENERIC.size :])
    if kind == messages.NEW_TABLE:
        return "CONFIG_NF_TABLES_INET"
    if kind == messages.NEW_CHAIN:
        return _CHAIN_KINDS.get(name(found.get(messages.CHAIN_TYPE, b"")), "")
    if kind != messages.NEW_RULE:
        return ""
    refused = _expression_names(body, found[messages.RULE_EXPRESSIONS]).get(refusal.offset, "")
    if refused == "ct" and refusal.errno == errors.EOPNOTSUPP:
        return _CONNTRACK
    # An expression that every nftables has was refused for what it refers to, such as a chain.
    if not refused or refused in _ALWAYS_THERE or refusal.errno != errors.ENOENT:
        return ""
    return f"the expression {refused!r} ({_EXPRESSIONS.get(refused, 'of a newer kernel')})"


def _expression_names(body: bytes, listed: bytes) -> dict[int, str]:
    """Return the names of a rule's expressions by the offset at which the kernel points when it refuses one."""
    start = header.HEADER.size + body.index(listed)
    return {start + offset: name(contents(element)[expressions.NAME]) for offset, _, element in attributes(listed)}
