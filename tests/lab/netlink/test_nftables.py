import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink.nftsocket import nft_rule_msg

from sidelab.lab.errors import MachineError, PodError
from sidelab.lab.netlink import header
from sidelab.lab.netlink.attributes import attribute, attributes, contents, read, text
from sidelab.lab.netlink.header import Refusal
from sidelab.lab.netlink.nftables import NftChain, NftRule, NftTable, Operation, RuleHandle, encode, messages, part
from sidelab.lab.netlink.nftables import batch as join
from sidelab.lab.netlink.nftables.expressions import DATA, NAME, decode
from sidelab.lab.netlink.nftables.expressions import encode as encode_expression
from sidelab.lab.netlink.nftables.forms import FORMS
from sidelab.lab.netlink.nftables.objects import (
    IPV4,
    IPV6,
    Base,
    Bitwise,
    Choice,
    Code,
    Compare,
    Counter,
    Ct,
    CtKey,
    Elements,
    Expression,
    Immediate,
    Lookup,
    MapReference,
    Masquerade,
    Meta,
    MetaKey,
    NftHook,
    Payload,
    RandomNumber,
    Redirect,
    Reset,
    SetReference,
    Tproxy,
    TranslateDestination,
    Unknown,
    Unreachable,
    Verdict,
    quarter,
)
from sidelab.lab.netlink.nftables.talk import explain

TABLE = NftTable("tt")
TCP = (Meta(MetaKey.L4PROTO), Compare(b"\6"))
ADD_TABLE = Operation("add", TABLE)
NAT = Operation("add", NftChain(TABLE, "output", "nat", NftHook.OUTPUT, -100))


def rules(*expressions: tuple[Expression, ...]) -> list[Operation]:
    """Return the operations that append these rules to the chain `output`."""
    return [Operation("add", NftRule(TABLE, "output", each)) for each in expressions]


def kinds(batch: bytes) -> list[tuple[int, int, int]]:
    """Return type, flags and sequence of each message."""
    return [(kind & 0xFF, flags, sequence) for kind, flags, sequence, _ in header.messages(batch)]


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
    bodies = [body for kind, _, _, body in header.messages(encode((ADD_TABLE, *rule, *rule))) if kind & 0xFF == 6]

    assert bodies[0] != bodies[1]


def data(value: bytes) -> dict[str, object]:
    """Return how pyroute2 shows plain data."""
    return {"NFTA_DATA_VALUE": value}


def shown(part: object) -> object:
    """Return what pyroute2 has read as plain values: attributes by name."""
    if isinstance(part, dict) and "attrs" in part:
        return {attr[0]: shown(attr[1]) for attr in part["attrs"]}
    return part


EXAMPLES: list[tuple[Expression, str, dict[str, object]]] = [
    (Meta(MetaKey.SKUID), "meta", {"NFTA_META_KEY": "NFT_META_SKUID", "NFTA_META_DREG": "NFT_REG_1"}),
    (Meta(MetaKey.MARK, store=True), "meta", {"NFTA_META_KEY": "NFT_META_MARK", "NFTA_META_SREG": "NFT_REG_1"}),
    (Ct(CtKey.STATE), "ct", {"NFTA_CT_KEY": "NFT_CT_STATE", "NFTA_CT_DREG": "NFT_REG_1"}),
    (Ct(CtKey.ZONE, store=True), "ct", {"NFTA_CT_KEY": "NFT_CT_ZONE", "NFTA_CT_SREG": "NFT_REG_1"}),
    (
        Payload(Base.NETWORK, 16, 4),
        "payload",
        {
            "NFTA_PAYLOAD_DREG": "NFT_REG_1",
            "NFTA_PAYLOAD_BASE": "NFT_PAYLOAD_NETWORK_HEADER",
            "NFTA_PAYLOAD_OFFSET": 16,
            "NFTA_PAYLOAD_LEN": 4,
        },
    ),
    (
        Bitwise(b"\xff\xf0"),
        "bitwise",
        {
            "NFTA_BITWISE_SREG": "NFT_REG_1",
            "NFTA_BITWISE_DREG": "NFT_REG_1",
            "NFTA_BITWISE_LEN": 2,
            "NFTA_BITWISE_MASK": data(b"\xff\xf0"),
            "NFTA_BITWISE_XOR": data(b"\0\0"),
        },
    ),
    (
        Compare(b"lo", negated=True),
        "cmp",
        {"NFTA_CMP_SREG": "NFT_REG_1", "NFTA_CMP_OP": "NFT_CMP_NEQ", "NFTA_CMP_DATA": data(b"lo")},
    ),
    (
        SetReference("__set%d", 7, negated=True),
        "lookup",
        {
            "NFTA_LOOKUP_SET": "__set%d",
            "NFTA_LOOKUP_SREG": "NFT_REG_1",
            "NFTA_LOOKUP_SET_ID": 7,
            "NFTA_LOOKUP_FLAGS": {"NFT_LOOKUP_F_INV"},
        },
    ),
    (
        Immediate(b"\x3a\x99"),
        "immediate",
        {"NFTA_IMMEDIATE_DREG": "NFT_REG_1", "NFTA_IMMEDIATE_DATA": data(b"\x3a\x99")},
    ),
    (
        Verdict(Code.JUMP, "elsewhere"),
        "immediate",
        {
            "NFTA_IMMEDIATE_DREG": "NFT_REG_VERDICT",
            "NFTA_IMMEDIATE_DATA": {
                "NFTA_DATA_VERDICT": {"NFTA_VERDICT_CODE": "NFT_JUMP", "NFTA_VERDICT_CHAIN": "elsewhere"}
            },
        },
    ),
    (Counter(3, 2**40), "counter", {"NFTA_COUNTER_BYTES": 2**40, "NFTA_COUNTER_PACKETS": 3}),
    (
        Redirect(),
        "redir",
        {
            "NFTA_REDIR_REG_PROTO_MIN": "NFT_REG_1",
            "NFTA_REDIR_REG_PROTO_MAX": "NFT_REG_1",
            "NFTA_REDIR_FLAGS": {"NF_NAT_RANGE_PROTO_SPECIFIED"},
        },
    ),
    (
        MapReference("services", register=9),
        "lookup",
        {"NFTA_LOOKUP_SET": "services", "NFTA_LOOKUP_SREG": "NFT_REG32_01", "NFTA_LOOKUP_DREG": "NFT_REG_VERDICT"},
    ),
    (
        TranslateDestination(IPV6, 1, 2),
        "nat",
        {
            "NFTA_NAT_TYPE": "NFT_NAT_DNAT",
            "NFTA_NAT_FAMILY": IPV6,
            "NFTA_NAT_REG_ADDR_MIN": "NFT_REG_1",
            "NFTA_NAT_REG_ADDR_MAX": "NFT_REG_1",
            "NFTA_NAT_REG_PROTO_MIN": "NFT_REG_2",
            "NFTA_NAT_REG_PROTO_MAX": "NFT_REG_2",
            "NFTA_NAT_FLAGS": {"NF_NAT_RANGE_MAP_IPS", "NF_NAT_RANGE_PROTO_SPECIFIED"},
        },
    ),
    (Masquerade(), "masq", {"NFTA_MASQ_FLAGS": {"NF_NAT_RANGE_PROTO_RANDOM_FULLY"}}),
    (
        RandomNumber(3),
        "numgen",
        {"NFTA_NG_DREG": "NFT_REG_1", "NFTA_NG_MODULUS": 3, "NFTA_NG_TYPE": "NFT_NG_RANDOM"},
    ),
    (Reset(), "reject", {"NFTA_REJECT_TYPE": "NFT_REJECT_TCP_RST"}),
    (
        Unreachable(3),  # pyroute2 takes the family's own code for one of both families
        "reject",
        {"NFTA_REJECT_TYPE": "NFT_REJECT_ICMP_UNREACH", "NFTA_REJECT_ICMP_CODE": "NFT_REJECT_ICMPX_ADMIN_PROHIBITED"},
    ),
    # pyroute2 takes the family's number for a register's.
    (Tproxy(IPV4), "tproxy", {"NFTA_TPROXY_FAMILY": "NFT_REG_2", "NFTA_TPROXY_REG_PORT": "NFT_REG_1"}),
]


@pytest.mark.parametrize(("expression", "name", "attributes"), EXAMPLES)
def test_pyroute2_reads_what_is_meant(expression: Expression, name: str, attributes: dict[str, object]) -> None:
    """An independent decoder finds the kernel's own names for the expression, its attributes and their values."""
    element = nft_rule_msg.nft_expr(encode_expression(expression))
    element.decode()

    assert {"NFTA_EXPR_NAME": name, "NFTA_EXPR_DATA": attributes} == shown(element)


def test_pyroute2_reads_a_whole_rule() -> None:
    """A rule put together from encoded expressions decodes to table, chain and expressions in order."""
    expressions = (*TCP, Counter(), Immediate(b"\x3a\x99"), Redirect())
    batch = encode((ADD_TABLE, *rules(expressions)))
    raw = next(
        header.message(kind, flags, sequence, body)
        for kind, flags, sequence, body in header.messages(batch)
        if kind & 0xFF == messages.NEW_RULE
    )
    rule = nft_rule_msg(raw)
    rule.decode()

    assert (
        rule.get_attr("NFTA_RULE_TABLE"),
        rule.get_attr("NFTA_RULE_CHAIN"),
        [each.get_attr("NFTA_EXPR_NAME") for each in rule.get_attr("NFTA_RULE_EXPRESSIONS")],
    ) == ("tt", "output", ["meta", "cmp", "counter", "immediate", "redir"])


BYTES = st.binary(min_size=1, max_size=16)
NAMES = st.text("abcxyz-_019", min_size=1, max_size=12)
U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
REGISTERS = st.integers(0, 15).map(quarter)


def of(kind: type, *fields: st.SearchStrategy[object]) -> st.SearchStrategy[Expression]:
    """Return expressions of `kind`."""
    return st.tuples(*fields).map(lambda values: kind(*values))


EXPRESSIONS = st.one_of(
    of(Meta, st.sampled_from(MetaKey), st.booleans(), REGISTERS),
    of(Ct, st.sampled_from(CtKey), st.booleans(), REGISTERS),
    of(Payload, st.sampled_from(Base), U32, U32, REGISTERS),
    of(Bitwise, BYTES, st.just(b""), REGISTERS),
    of(Bitwise, BYTES, BYTES.filter(any), REGISTERS),
    of(Compare, BYTES, st.booleans(), REGISTERS),
    of(SetReference, NAMES, U32, st.booleans(), REGISTERS),
    of(MapReference, NAMES, U32, REGISTERS),
    of(Immediate, BYTES, REGISTERS),
    of(Verdict, st.sampled_from(Code), st.just("") | NAMES),
    of(Counter, U64, U64),
    of(Redirect, REGISTERS),
    of(Tproxy, st.sampled_from([IPV4, IPV6]), REGISTERS),
    of(TranslateDestination, st.sampled_from([IPV4, IPV6]), REGISTERS, REGISTERS),
    of(Masquerade),
    of(RandomNumber, U32, REGISTERS),
    of(Reset),
    of(Unreachable, st.integers(0, 255)),
)


@given(EXPRESSIONS)
@settings(deadline=None)
def test_what_is_encoded_decodes_to_the_same(expression: Expression) -> None:
    """Reading an encoded expression gives that expression, and encoding this gives those bytes."""
    element = encode_expression(expression)
    ((_, _, content),) = attributes(element)
    read = decode(content)

    assert (expression, type(expression), element) == (read, type(read), encode_expression(read))


@given(EXPRESSIONS, st.integers(40, 200), BYTES)
@settings(deadline=None)
def test_an_attribute_too_many_makes_an_expression_unknown(expression: Expression, number: int, content: bytes) -> None:
    """What an expression says besides is never ignored, unless it is padding, which is empty."""
    ((_, _, element),) = attributes(encode_expression(expression))
    data = contents(element)[DATA]
    named = attribute(NAME, text(expression.name))
    strange = data + attribute(number, content)

    assert Unknown(expression.name, strange) == decode(named + attribute(DATA, strange))
    assert expression == decode(named + attribute(DATA, data + attribute(number, b"")))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("meta", {1: 1, 2: 999}),  # another key
        ("meta", {1: 1}),  # no key
        ("cmp", {1: 1, 2: 2}),  # less than
        ("bitwise", {1: 1, 2: 1, 3: 4, 6: 1}),  # a shift
        ("redir", {1: 1, 2: 2, 3: 2}),  # a range of ports
        ("tproxy", {1: 0, 3: 1}),  # both IP versions
        ("synproxy", {1: 1460}),
    ],
)
def test_what_our_types_cannot_say_is_unknown(name: str, data: dict[int, int]) -> None:
    """Other operations and expressions are not taken for ours."""
    content = b"".join(attribute(number, value.to_bytes(4, "big")) for number, value in data.items())

    assert Unknown(name, content) == decode(attribute(NAME, text(name)) + attribute(DATA, content))


@pytest.mark.parametrize(
    ("registers", "mask_and_xor", "expected"),
    [
        ((1, 1), (b"\xff\xff", b"\0\0"), Bitwise(b"\xff\xff")),
        ((2, 2), (b"\xff\xff", b"\0\1"), Bitwise(b"\xff\xff", b"\0\1", register=2)),
        ((1, 1), (b"\xff", b"\0"), None),
        ((1, 2), (b"\xff\xff", b"\0\0"), None),
    ],
)
def test_flipping_is_not_masking(
    registers: tuple[int, int], mask_and_xor: tuple[bytes, bytes], expected: Expression | None
) -> None:
    """What is flipped is read as such; a wrong length, or a result in another register, can't be said."""
    source, result = (number.to_bytes(4, "big") for number in registers)
    data = attribute(1, source) + attribute(2, result) + attribute(3, b"\0\0\0\2")
    data += b"".join(attribute(4 + at, attribute(1, each)) for at, each in enumerate(mask_and_xor))

    expected = Unknown("bitwise", data) if expected is None else expected
    assert expected == decode(attribute(NAME, text("bitwise")) + attribute(DATA, data))


def test_registers_have_the_kernels_names() -> None:
    """A quarter that begins a whole register is called as that is; the others by their own numbers."""
    assert [1, 9, 10, 11, 2, 13] == [quarter(number) for number in range(6)]


def test_a_choice_is_an_anonymous_map() -> None:
    """It is made and filled before its rule, which refers to it by its number in the batch."""
    chosen = (RandomNumber(2), Choice(("one", "other")))
    batch = encode((ADD_TABLE, *rules(chosen, chosen)))
    bodies = [body for kind, _, _, body in header.messages(batch) if kind & 0xFF == messages.NEW_RULE]

    assert kinds(batch)[2:8] == [
        (9, 0x401, 2),
        (12, 0x401, 2),
        (6, 0xC01, 2),
        (9, 0x401, 3),
        (12, 0x401, 3),
        (6, 0xC05, 3),
    ]
    assert bodies[0] != bodies[1]


def test_the_elements_of_a_set_are_listed_in_as_many_messages_as_they_need() -> None:
    """An attribute's length has 16 bits; all elements are in one of the lists, in order."""
    keys = tuple(number.to_bytes(16, "big") for number in range(5000))
    batch = encode((ADD_TABLE, Operation("add", Elements(TABLE, "many", keys))))
    listed = [
        read(messages.SET_ELEMENTS, body[4:])["elements"]
        for kind, _, _, body in header.messages(batch)
        if kind & 0xFF == messages.NEW_ELEMENTS
    ]

    assert len(listed) > 1
    assert keys == tuple(key for each in listed for key in each)


def test_parts_of_a_batch_keep_their_number() -> None:
    """A part is the same whatever stands beside it, and a refusal of its number names what is in it."""
    chain = Operation("add", NftChain(TABLE, "chain"))
    one, two = part((ADD_TABLE, chain), 7), part(rules((Verdict(Code.RETURN),)), 9)
    whole = join(TABLE, (one, two))

    assert one in whole
    assert kinds(whole) == [
        *((0x10, 1, 0), (0, 0x401, 7), (3, 0x401, 7)),
        *((6, 0xC01, 9), (0, 0x405, 1), (0x11, 1, 0)),
    ]
    assert "rule 1 of chain output of table tt" in str(explain(whole, Refusal(9, errno.EINVAL)))


@given(st.binary(max_size=40))
@settings(deadline=None)
def test_any_attributes_of_an_expression_can_be_read(noise: bytes) -> None:
    """Whatever an expression of a known name carries, reading it raises nothing."""
    for name in {form.type._field_defaults["name"] for form in FORMS}:
        assert name == decode(attribute(NAME, text(name)) + attribute(DATA, noise)).name


def test_equal_fields_do_not_make_expressions_equal() -> None:
    """Expressions of different types differ even where their fields are alike."""
    alike = [Meta(MetaKey.MARK), Ct(CtKey.MARK), Bitwise(b"a"), Immediate(b"a"), Redirect(), Unknown("redir")]

    assert len(alike) == len(set(alike))


@pytest.mark.parametrize(
    "operations",
    [
        (),
        (Operation("delete", NftRule(TABLE, "output", ())),),
        (Operation("add", RuleHandle(TABLE, "output", 1)),),
        tuple(rules((Unknown("synproxy"),))),
        (Operation("delete", Elements(TABLE, "set", ())),),
    ],
)
def test_what_cannot_be_said_is_a_bug(operations: tuple[Operation, ...]) -> None:
    """Empty transactions, rules named the wrong way, and expressions that can only be read are refused."""
    with pytest.raises(ValueError, match=r"transaction|only"):
        encode(operations)


def refused(number: int, code: int, *expressions: tuple[Expression, ...], at: str = "") -> Exception:
    """Return the error for operation `number` of a table, a chain and rules; the kernel points at expression `at`."""
    batch = encode((ADD_TABLE, NAT, *rules(*expressions)))
    offset = 0
    for kind, _, sequence, body in header.messages(batch):
        if kind & 0xFF == messages.NEW_RULE and sequence == number and at:
            name = body.index(attribute(1, text(at)))
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

    assert (True, True) == (isinstance(error, MachineError), option in str(error))


def test_a_missing_chain_is_not_a_missing_feature() -> None:
    """The kernel's ENOENT for a jump to nowhere is not mistaken for a lack of the jump itself."""
    error = refused(3, errno.ENOENT, (Verdict(Code.JUMP, "nowhere"),), at="immediate")

    assert PodError is type(error)
