"""Verbs for the interception rules: as text, or as they are in a pod's kernel."""

import os
import sys
from typing import Any

from sidelab.cli.command import JSON, LAB, POD, Argument, Given, Verb, print_json, reader_may_leave


def rules_show(given: Given) -> None:
    """Show a pod's rules and their counters from the kernel, in the form of `iptables -t nat -L -v`."""
    from sidelab.evidence import origins
    from sidelab.lab.client.lab import find
    from sidelab.sidecar import live_rules
    from sidelab.sidecar.interception.text import listing

    family: Any = 6 if given.ipv6 else 4
    with find(given.lab) as found:
        tables = live_rules.tables(found, found.pod(given.pod), family)
    if given.json:
        print_json(listing.data(tables, family))
        return
    text = listing.listing(tables, given.table, family, numeric=given.numeric)
    sys.stdout.write(text or f"pod {given.pod} has no rules in table {given.table}\n")
    sentence = origins.probes_sentence([each for each in tables if each.name == given.table], family)
    if sentence:
        sys.stdout.flush()
        sys.stderr.write(f"note: {sentence}; `sidelab rules conntrack {given.pod}` has the connections\n")


def rules_check(given: Given) -> None:
    """Compare a pod's rules, routes and addresses with what it asks for; if they differ, print how and end with 1."""
    from sidelab.lab.client.lab import find
    from sidelab.sidecar import live_rules

    with find(given.lab) as found:
        drift = live_rules.check(found, found.pod(given.pod))
    with reader_may_leave():
        if given.json:
            print_json({"pod": given.pod, "drifted": bool(drift), **drift.data})
        else:
            sys.stdout.write(drift.diff or f"pod {given.pod} has the rules that it asks for\n")
    raise SystemExit(int(bool(drift)))


def rules_reconcile(given: Given) -> None:
    """Make a pod's rules what it asks for; rules of other programs in the same tables stay."""
    from sidelab.lab.client.lab import find
    from sidelab.sidecar import live_rules

    with find(given.lab) as found:
        changed = live_rules.reconcile(found, found.pod(given.pod))
    with reader_may_leave():
        sys.stdout.write(f"pod {given.pod}: {'put right' if changed else 'nothing to do'}\n")


def rules_clean(given: Given) -> None:
    """Remove all interception rules from a pod, with their routes and addresses."""
    from sidelab.lab.client.lab import find
    from sidelab.sidecar import live_rules

    with find(given.lab) as found:
        live_rules.clean(found, found.pod(given.pod))


def rules_conntrack(given: Given) -> None:
    """Show a pod's tracked connections as `conntrack -L` does, with what each is for after a #."""
    import socket
    from dataclasses import asdict

    from sidelab.evidence.origins import purpose
    from sidelab.lab.client.lab import find
    from sidelab.lab.netlink import conntrack
    from sidelab.lab.netlink.nftables import NETLINK_NETFILTER

    with find(given.lab) as found:
        pod = found.pod(given.pod)
        own = found.addresses(pod)
        link = found.open_socket(pod, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with link:
        entries, statistics = conntrack.dump(link), conntrack.statistics(link)
    if given.json:
        told = [{**each.to_json(), "purpose": purpose(each, own)} for each in entries]
        print_json({"entries": told, "statistics": asdict(statistics)})
    elif given.statistics:
        sys.stdout.write(f"{statistics}\n")
    else:
        lines = (f"{each}{f'  # {why}' if (why := purpose(each, own)) else ''}\n" for each in entries)
        sys.stdout.write("".join(lines) or f"pod {given.pod} tracks no connection now\n")


def rules_render(given: Given) -> None:
    """Print the rules for istio-iptables' flags; reads nothing from this machine."""
    from sidelab.sidecar.interception import Options, build, render

    options = Options.from_args(given.flags, os.environ)
    for warning in options.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    sys.stdout.write(render(build(options), given.form))


VERBS = (
    Verb(
        "rules show",
        rules_show,
        "sidelab rules show nginx",
        (
            POD,
            LAB,
            Argument(
                "--table", "-t", default="nat", choices=("nat", "mangle", "raw"), help="which table (default: nat)"
            ),
            Argument("--numeric", "-n", action="store_true", help="print addresses and ports as numbers"),
            Argument("--ipv6", "-6", action="store_true", help="the rules for IPv6"),
            JSON,
        ),
    ),
    Verb("rules check", rules_check, "sidelab rules check nginx", (POD, LAB, JSON)),
    Verb("rules reconcile", rules_reconcile, "sidelab rules reconcile nginx", (POD, LAB)),
    Verb("rules clean", rules_clean, "sidelab rules clean nginx", (POD, LAB)),
    Verb(
        "rules conntrack",
        rules_conntrack,
        "sidelab rules conntrack nginx",
        (
            POD,
            LAB,
            Argument("--statistics", "-S", action="store_true", help="print how full the table is and what went wrong"),
            JSON,
        ),
    ),
    Verb(
        "rules render",
        rules_render,
        "sidelab rules render -p 15001 -z 15006 -u 1337 -m REDIRECT -i '*' -b '*' -d 15090,15021,15020 --form table",
        (
            Argument(
                "--form",
                default="iptables",
                metavar="FORM",
                help="iptables, ip6tables, nft or table (default: iptables); all other flags are istio-iptables' own",
            ),
        ),
        takes_flags=True,
    ),
)
