"""Sending a batch and understanding the kernel's answer; the caller's socket decides in which namespace.

nfnetlink works inside send(2): when it returns, every answer is already queued. Sources: Linux' nfnetlink.c,
netlink(7).
"""

import errno as errors
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from sidelab.lab.errors import MachineError, NotPermittedError, PodError, SidelabError
from sidelab.lab.netlink.nftables import expressions, messages
from sidelab.lab.netlink.nftables.attributes import attributes, contents, name

NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_CAP_ACK, _EXT_ACK = 10, 11
_ERROR = 2  # NLMSG_ERROR
_CAPPED, _TLVS = 0x100, 0x200
_ACK_MESSAGE, _ACK_OFFSET = 1, 2  # NLMSGERR_ATTR_MSG, _OFFS
_SNDBUFFORCE = 32
_SEND_BUFFER_BYTES = 1 << 23
_RECEIVE_BYTES = 1 << 13  # an answer holds no more than a header and a sentence

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


class Refusal(NamedTuple):
    """The kernel's answer about operation number `sequence` (0: the whole batch); `errno` 0 is a yes.

    If the kernel tells, `sentence` is its reason and `offset` where in the message the refused attribute is.
    """

    sequence: int
    errno: int
    sentence: str = ""
    offset: int = 0


def open_socket() -> socket.socket:
    """Return a netfilter socket of the caller's current network namespace.

    Raises `MachineError` where the kernel has no nfnetlink.
    """
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    except OSError as error:
        raise MachineError(
            f"nftables: this kernel has no netfilter netlink ({error.strerror}): it needs CONFIG_NETFILTER_NETLINK"
        ) from error
    return prepared(sock)


def prepared(sock: socket.socket) -> socket.socket:
    """Return a netfilter netlink socket, opened by whomever, ready for `send`."""
    sock.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    sock.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
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
        sock.send(batch)
    except OSError as error:
        cure = "raise net.core.wmem_max" if error.errno == errors.EMSGSIZE else "send on a netfilter netlink socket"
        raise PodError(f"nftables: {len(batch)} bytes of rules could not be sent: {error.strerror}: {cure}") from error
    answers = list(_queued(sock))
    refusals = [answer for answer in answers if answer.errno]
    if refusals:
        raise explain(batch, refusals[0])
    if not answers:
        raise PodError("nftables: the kernel did not answer: nothing is known about the rules: remove them and retry")


def _queued(sock: socket.socket) -> Iterator[Refusal]:
    """Yield the answers that wait on the socket, all of them, so that the next transaction finds it empty."""
    while True:
        try:
            data = sock.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errors.ENOBUFS:  # more refusals than fit: the first ones say enough
                raise
            continue
        for kind, flags, sequence, body in messages.messages(data):
            if kind == _ERROR:
                answer = _read(sequence, flags, body)
                yield answer
                # Answers come in the order of the messages, and only the last message is told a yes.
                if not answer.errno:
                    return


def explain(batch: bytes, refusal: Refusal) -> SidelabError:
    """Return the error for a refused batch: which object of it, why, and what the kernel lacks, if anything."""
    why = f"{os.strerror(refusal.errno)} ({errors.errorcode.get(refusal.errno, refusal.errno)})"
    why += f": {refusal.sentence}" if refusal.sentence else ""
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


def _read(sequence: int, flags: int, body: bytes) -> Refusal:
    (number,) = struct.unpack_from("=i", body)
    sentence, offset = "", 0
    if flags & _TLVS:
        # The header of our message follows the error, and all of the message unless it was capped.
        (length,) = struct.unpack_from("=I", body, 4)
        for _, kind, content in attributes(body[4 + (16 if flags & _CAPPED else length) :]):
            if kind == _ACK_MESSAGE:
                sentence = name(content)
            elif kind == _ACK_OFFSET:
                (offset,) = struct.unpack("=I", content)
    return Refusal(sequence, -number, sentence, offset)


def _object(batch: bytes, refusal: Refusal) -> tuple[str, str]:
    """Return the name of the refused object, and the kernel option that it needs if that is what is missing."""
    rules: dict[tuple[str, str], int] = {}
    for kind, _, sequence, body in messages.messages(batch):
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
    start = 16 + body.index(listed)
    return {start + offset: name(contents(element)[expressions.NAME]) for offset, _, element in attributes(listed)}
