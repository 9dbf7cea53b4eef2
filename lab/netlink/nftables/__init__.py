"""nftables over netlink: the only package that talks nfnetlink, and ignorant of what the rules are for.

`encode` is pure and its result may be sent into any number of namespaces; `send` and `dump` use a socket that the
caller opened inside one.
"""

from sidelab.lab.netlink.nftables.dump import ChainState, TableState, dump, handles, uncounted
from sidelab.lab.netlink.nftables.objects import (
    Expression,
    NftChain,
    NftRule,
    NftTable,
    Operation,
    RuleHandle,
    Transaction,
)
from sidelab.lab.netlink.nftables.talk import NETLINK_NETFILTER, open_socket, prepared, send
from sidelab.lab.netlink.nftables.transaction import batch, encode, part

__all__ = [
    "NETLINK_NETFILTER",
    "ChainState",
    "Expression",
    "NftChain",
    "NftRule",
    "NftTable",
    "Operation",
    "RuleHandle",
    "TableState",
    "Transaction",
    "batch",
    "dump",
    "encode",
    "handles",
    "open_socket",
    "part",
    "prepared",
    "send",
    "uncounted",
]
