"""The three ways into the kernel: one transaction over netlink, `iptables-restore`, and its legacy variant.

All take the same `Ruleset` and return the same rows. A `Reach` selects the network namespace: the caller's own, or
through descriptors a pod's. If anything fails, the namespace is left as it was before.
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
    """Access to a network namespace: sockets opened inside it (which the caller closes), and tools run inside it."""

    netfilter: Callable[[], socket.socket] = nftables.open_socket
    route: Callable[[], socket.socket] = route.open_socket
    run: Runner = run_here


HERE = Reach()


class Way(Protocol):
    """One way, in one namespace; the caller handles routes and addresses, and has resolved the groups."""

    def read(self, family: Family) -> tuple[TableRows, ...]:
        """Return the tables as the kernel holds them, at least for `family`."""

    def lines(self, ruleset: Ruleset) -> tuple[Lines, Lines]:
        """Return the lines that should be there, and those of Istio's that are."""

    def carry_out(self, ruleset: Ruleset, options: Options) -> None:
        """Do what istio-iptables does with `options`."""

    def reconcile(self, ruleset: Ruleset) -> None:
        """Make Istio's rules those of `ruleset`, whichever of them are there."""

    def clean(self, ruleset: Ruleset) -> None:
        """Remove all of Istio's rules."""


def open_way(name: WayName, reach: Reach = HERE) -> Way:
    """Return the way called `name` in the namespace of `reach`."""
    return Netlink(reach) if name == "nft" else Restore(name, reach.run)


def apply(ruleset: Ruleset, way: WayName = WAYS[0], options: Options | None = None, reach: Reach = HERE) -> None:
    """Do with `ruleset` what istio-iptables does with `options`: apply it, unless they request something else.

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
    """Make Istio's rules, routes and addresses those of `ruleset`, with zero counters. Raises what `apply` raises."""
    ruleset = kernel.resolved(ruleset)
    with _local(ruleset, reach):
        open_way(way, reach).reconcile(ruleset)


def clean(ruleset: Ruleset, way: WayName = WAYS[0], reach: Reach = HERE) -> None:
    """Remove all of Istio's rules, and the routes and addresses of `ruleset`; it is no error if there are none."""
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
    """One nftables transaction: all or nothing, with the same result when it is repeated."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def read(self, family: Family) -> tuple[TableRows, ...]:
        """Return our tables; they hold both families."""
        del family
        with self._reach.netfilter() as link:
            return kernel.counters(link)

    def lines(self, ruleset: Ruleset) -> tuple[Lines, Lines]:
        """Return the lines that should be there, and those in our tables."""
        wanted = differences.expected(ruleset, Backend.NFT)
        return wanted, differences.found(self.read(4), None, wanted)

    def carry_out(self, ruleset: Ruleset, options: Options) -> None:
        """Fill our tables or delete them; like Istio, without reading them first, and no other options matter here.

        Without Istio's quirks, what others have put into our tables stays.
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
        """Delete and recreate our rules in one transaction: every packet sees all of them."""
        with self._reach.netfilter() as link:
            kernel.replace(link, ruleset)

    def clean(self, ruleset: Ruleset) -> None:
        """Delete our tables, or, where others have put something into them, everything of ours."""
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
