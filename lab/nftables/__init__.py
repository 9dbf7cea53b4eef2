"""nftables over netlink: the only package that talks nfnetlink, and ignorant of what the rules are for.

`encode` is pure and its result may be sent into any number of namespaces; `send` and `dump` use a socket that the
caller opened inside one.
"""

from lab.nftables.dump import ChainState, TableState, dump, uncounted
from lab.nftables.objects import Chain, Expression, Operation, Rule, Table, Transaction
from lab.nftables.talk import NETLINK_NETFILTER, open_socket, send
from lab.nftables.wire import encode

__all__ = [
    "NETLINK_NETFILTER",
    "Chain",
    "ChainState",
    "Expression",
    "Operation",
    "Rule",
    "Table",
    "TableState",
    "Transaction",
    "dump",
    "encode",
    "open_socket",
    "send",
    "uncounted",
]
