import errno

import pytest
from pyroute2.netlink.nfnetlink.nftsocket import nft_rule_msg

from lab.errors import MachineError, PodError
from lab.nftables import Chain, Operation, Rule, Table, encode, wire
from lab.nftables.objects import (
    Base,
    Code,
    Compare,
    Counter,
    Ct,
    CtKey,
    Expression,
    Hook,
    Immediate,
    Lookup,
    Meta,
    MetaKey,
    Payload,
    Redirect,
    Unknown,
    Verdict,
)
from lab.nftables.talk import Refusal, explain

TABLE = Table("tt")
TCP = (Meta(MetaKey.L4PROTO), Compare(b"\6"))
ADD_TABLE = Operation("add", TABLE)
NAT = Operation("add", Chain(TABLE, "output", "nat", Hook.OUTPUT, -100))


def rules(*expressions: tuple[Expression, ...]) -> list[Operation]:
    """Return the operations that append these rules to the chain `output`."""
    return [Operation("add", Rule(TABLE, "output", each)) for each in expressions]


def kinds(batch: bytes) -> list[tuple[int, int, int]]:
    """Return type, flags and sequence of each message."""
    return [(kind & 0xFF, flags, sequence) for kind, flags, sequence, _ in wire.messages(batch)]


def test_a_transaction_is_one_batch_with_one_acknowledgement() -> None:
    """Everything stands between begin and end, numbered by operation; only the last asks for an answer."""
    batch = encode((ADD_TABLE, NAT, *rules((Verdict(Code.RETURN),))))

    assert kinds(batch) == [(0x10, 1, 0), (0, 0x401, 1), (3, 0x401, 2), (6, 0xC05, 3), (0x11, 1, 0)]


def test_a_set_belongs_to_its_rule() -> None:
    """An anonymous set and its elements precede the rule that looks them up, under the same number."""
    lookup = Lookup((b"\0\x35", b"\x3a\xa0"), negated=True)
    batch = encode((ADD_TABLE, *rules((*TCP, Payload(Base.TRANSPORT, 2, 2), lookup))))

    assert kinds(batch)[2:5] == [(9, 0x401, 2), (12, 0x401, 2), (6, 0xC05, 2)]


def test_every_set_of_a_batch_has_its_own_number() -> None:
    """Equal rules with sets do not share one: the second batch message differs in the set's number."""
    rule = rules((Lookup((b"\0\x35",)),))
    bodies = [body for kind, _, _, body in wire.messages(encode((ADD_TABLE, *rule, *rule))) if kind & 0xFF == 6]

    assert bodies[0] != bodies[1]


def test_the_encoding_is_what_pyroute2_reads() -> None:
    """A rule put together from encoded expressions decodes to table, chain and expressions in order."""
    expressions = (*TCP, Counter(), Immediate(b"\x3a\x99"), Redirect())
    batch = encode((ADD_TABLE, *rules(expressions)))
    raw = next(
        wire.HEADER.pack(len(body) + 16, kind, flags, sequence, 0) + body
        for kind, flags, sequence, body in wire.messages(batch)
        if kind & 0xFF == wire.NEW_RULE
    )
    rule = nft_rule_msg(raw)
    rule.decode()

    assert (
        rule.get_attr("NFTA_RULE_TABLE"),
        rule.get_attr("NFTA_RULE_CHAIN"),
        [each.get_attr("NFTA_EXPR_NAME") for each in rule.get_attr("NFTA_RULE_EXPRESSIONS")],
    ) == ("tt", "output", ["meta", "cmp", "counter", "immediate", "redir"])


@pytest.mark.parametrize(
    "operations",
    [(), (Operation("delete", Chain(TABLE, "output")),), tuple(rules((Unknown("synproxy"),)))],
)
def test_what_cannot_be_said_is_a_bug(operations: tuple[Operation, ...]) -> None:
    """Empty transactions, deleting chains, and expressions that can only be read are refused while encoding."""
    with pytest.raises(ValueError, match=r"transaction|only"):
        encode(operations)


def refused(number: int, code: int, *expressions: tuple[Expression, ...], at: str = "") -> Exception:
    """Return the error for operation `number` of a table, a chain and rules; the kernel points at expression `at`."""
    batch = encode((ADD_TABLE, NAT, *rules(*expressions)))
    offset = 0
    for kind, _, sequence, body in wire.messages(batch):
        if kind & 0xFF == wire.NEW_RULE and sequence == number and at:
            name = body.index(wire.attribute(1, wire.text(at)))
            offset = 16 + name - 4
    return explain(batch, Refusal(number, code, offset=offset))


def test_a_refusal_names_the_object() -> None:
    """The error says which rule of which chain was refused, counting from 1, and why."""
    error = refused(4, errno.EINVAL, TCP, (Counter(),))

    assert (PodError, "nftables: the kernel refused rule 2 of chain output of table tt: Invalid argument (EINVAL)") == (
        type(error),
        str(error),
    )


@pytest.mark.parametrize(
    ("number", "code", "at", "option"),
    [
        (1, errno.EAFNOSUPPORT, "", "CONFIG_NF_TABLES_INET"),
        (2, errno.ENOENT, "", "CONFIG_NFT_NAT"),
        (3, errno.ENOENT, "redir", "CONFIG_NFT_REDIR"),
        (4, errno.EOPNOTSUPP, "ct", "CONFIG_NF_CONNTRACK_ZONES"),
        (0, errno.EOPNOTSUPP, "", "CONFIG_NF_TABLES"),
        (0, errno.EPERM, "", "NET_ADMIN"),
    ],
)
def test_what_the_kernel_lacks_is_named(number: int, code: int, at: str, option: str) -> None:
    """A missing family, chain type, expression or conntrack feature is the machine's, by its CONFIG option."""
    error = refused(number, code, (Immediate(b"\0\1"), Redirect()), (Ct(CtKey.ZONE, store=True),), at=at)

    assert (MachineError, True) == (type(error), option in str(error))


def test_a_missing_chain_is_not_a_missing_feature() -> None:
    """The kernel's ENOENT for a jump to nowhere is not mistaken for a lack of the jump itself."""
    error = refused(3, errno.ENOENT, (Verdict(Code.JUMP, "nowhere"),), at="immediate")

    assert PodError is type(error)
