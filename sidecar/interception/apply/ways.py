"""The three ways into the kernel: one transaction over netlink, `iptables-restore`, and its legacy variant.

All take the same `Ruleset` and give back the same rows. A `Reach` says where: in the caller's own network namespace, or
through descriptors into a pod's. Whatever fails, the namespace is afterwards as it was before.
"""

import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from sidelab.lab.netlink import local_routes, nftables, route
from sidelab.lab.netlink.local_routes import Local, LocalRoute, LoopbackAddress, MarkRule
from sidelab.sidecar.interception.apply import kernel
from sidelab.sidecar.interception.apply.restore import Restore
from sidelab.sidecar.interception.apply.tools import Runner, families, run_here
from sidelab.sidecar.interception.drift import differences
from sidelab.sidecar.interception.drift.differences import Drift, Lines
from sidelab.sidecar.interception.model.counted import TableRows
from sidelab.sidecar.interception.model.model import Backend, Family, Ruleset
from sidelab.sidecar.interception.options.options import WAYS, Options
from sidelab.sidecar.interception.options.options import Way as WayName
from sidelab.sidecar.interception.text import iptables, nft


@dataclass(frozen=True)
class Reach:
    """How to get at a network namespace: sockets opened inside it (the caller's to close), and tools run inside it."""

    netfilter: Callable[[], socket.socket] = nftables.open_socket
    route: Callable[[], socket.socket] = route.open_socket
    run: Runner = run_here


HERE = Reach()


class Way(Protocol):
    """One way, in one namespace; whoever calls it sees to routes and addresses, and has resolved the groups."""

    def read(self, family: Family) -> tuple[TableRows, ...]:
        """Return the tables as the kernel holds them, for `family` at the least."""

    def lines(self, ruleset: Ruleset) -> tuple[Lines, Lines]:
        """Return what should be there, and what of Istio's is there."""

    def carry_out(self, ruleset: Ruleset, options: Options) -> None:
        """Do what istio-iptables does."""

    def reconcile(self, ruleset: Ruleset) -> None:
        """Make Istio's rules those of `ruleset`, whatever of them is there."""

    def clean(self, ruleset: Ruleset) -> None:
        """Take away all of Istio's rules."""


def open_way(name: WayName, reach: Reach = HERE) -> Way:
    """Return the way called `name` in the namespace of `reach`."""
    return Netlink(reach) if name == "nft" else Restore(name, reach.run)


def apply(ruleset: Ruleset, way: WayName = WAYS[0], options: Options | None = None, reach: Reach = HERE) -> None:
    """Do with `ruleset` what istio-iptables does with `options`: apply it, unless they say otherwise.

    Raises `InputError` for a group that this machine does not know, `MachineError` for what the kernel or the machine
    lacks, `PodError` for what the kernel or a tool refuses; then nothing has changed.
    """
    options = options or Options()
    ruleset = kernel.resolved(ruleset)
    if options.skip_rule_apply:
        return
    if options.dry_run and (way != "nft" or options.quirks == "none"):
        texts = (
            [nft.render(ruleset)] if way == "nft" else [iptables.render(ruleset, each) for each in families(ruleset)]
        )
        sys.stdout.write("".join(texts))
    elif options.cleanup_only:
        open_way(way, reach).carry_out(ruleset, options)
        _remove_local(ruleset, reach)
    else:
        with _local(ruleset, reach):
            open_way(way, reach).carry_out(ruleset, options)


def reconcile(ruleset: Ruleset, way: WayName = WAYS[0], reach: Reach = HERE) -> None:
    """Make Istio's rules, routes and addresses those of `ruleset`, counters at zero. Raises what `apply` raises."""
    ruleset = kernel.resolved(ruleset)
    with _local(ruleset, reach):
        open_way(way, reach).reconcile(ruleset)


def clean(ruleset: Ruleset, way: WayName = WAYS[0], reach: Reach = HERE) -> None:
    """Take away all of Istio's rules, and routes and addresses as `ruleset` has them; nothing there is no error."""
    open_way(way, reach).clean(kernel.resolved(ruleset))
    _remove_local(ruleset, reach)


def check(ruleset: Ruleset, way: WayName = WAYS[0], reach: Reach = HERE) -> Drift:
    """Return how the namespace differs from `ruleset`, routes and addresses included."""
    wanted, held = open_way(way, reach).lines(kernel.resolved(ruleset))
    things = _things(ruleset)
    if not things:
        return differences.drift(wanted, held)
    with reach.route() as link:
        there = [str(thing) for thing in local_routes.held(link) if thing in things]
    return differences.drift(wanted, held, map(str, things), there)


class Netlink:
    """One nftables transaction: all or nothing, and as good twice as once."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def read(self, family: Family) -> tuple[TableRows, ...]:
        """Return our tables; they hold both families."""
        del family
        with self._reach.netfilter() as link:
            return kernel.counters(link)

    def lines(self, ruleset: Ruleset) -> tuple[Lines, Lines]:
        """Return what should be there, and what is in our tables."""
        wanted = differences.expected(ruleset, Backend.NFT)
        return wanted, differences.found(self.read(4), None, wanted)

    def carry_out(self, ruleset: Ruleset, options: Options) -> None:
        """Fill our tables or delete them; Istio looks at nothing before, and knows no other options here.

        Without its quirks, what others have put into our tables stays.
        """
        with self._reach.netfilter() as link:
            match options.cleanup_only, options.quirks:
                case True, "istio":
                    kernel.remove(link)
                case True, _:
                    kernel.clear(link, ruleset)
                case False, "istio":
                    kernel.apply(link, ruleset)
                case _:
                    kernel.replace(link, ruleset)

    def reconcile(self, ruleset: Ruleset) -> None:
        """Take our rules away and make them again in one transaction: no packet sees less than all of them."""
        with self._reach.netfilter() as link:
            kernel.replace(link, ruleset)

    def clean(self, ruleset: Ruleset) -> None:
        """Delete our tables, or where others have something in them, all that is ours."""
        with self._reach.netfilter() as link:
            kernel.clear(link, ruleset)


def _things(ruleset: Ruleset) -> tuple[Local, ...]:
    """Return the routes and addresses that go with `ruleset`."""
    if not (ruleset.routes or ruleset.loopback_addresses):
        return ()
    rules = [MarkRule(each.family, each.mark, each.table) for each in ruleset.routes]
    routes = [LocalRoute(each.family, each.table) for each in ruleset.routes]
    addresses = [LoopbackAddress(each.partition("/")[0]) for each in ruleset.loopback_addresses]
    return (*rules, *routes, *addresses)


@contextmanager
def _local(ruleset: Ruleset, reach: Reach) -> Iterator[None]:
    """Add routes and addresses before the block; if it fails, remove those that were not there before."""
    things = _things(ruleset)
    if not things:
        yield
        return
    with reach.route() as link:
        there = local_routes.held(link)
        new = [thing for thing in things if thing not in there]
        try:
            local_routes.add(link, new)
            yield
        except BaseException:
            local_routes.remove(link, new)
            raise


def _remove_local(ruleset: Ruleset, reach: Reach) -> None:
    things = _things(ruleset)
    if things:
        with reach.route() as link:
            local_routes.remove(link, things)
