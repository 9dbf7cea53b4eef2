"""Verbs for manifests: inject and print one, or apply it to a running lab."""

import sys
from typing import TYPE_CHECKING

from sidelab.cli.command import LAB, Argument, Given, Verb, reader_may_leave

if TYPE_CHECKING:
    from sidelab.lab.manifest import Manifest


def injected(paths: list[str], rules: str | None = None) -> "Manifest":
    """Return these files' manifest, injected; `rules` is the way for pods that name no way. Raises `InputError`."""
    from sidelab.cli.registered_kinds import known
    from sidelab.lab.manifest import load
    from sidelab.sidecar.inject import inject, warnings

    manifest = inject(load(paths, known().types), rules)
    for warning in warnings(manifest):
        sys.stderr.write(f"warning: {warning}\n")
    return manifest


def apply(given: Given) -> None:
    """Change a running lab: Services, labels, and annotations that can change live; other changes are refused."""
    from sidelab.lab.client.lab import find
    from sidelab.lab.client.object_requests import apply as changed
    from sidelab.sidecar.inject import LIVE

    manifest = injected(given.manifests, given.rules)
    with find(given.lab) as found:
        outcomes, warnings = changed(found, manifest, LIVE, prune=given.prune)
    with reader_may_leave():
        for name, outcome in outcomes:
            sys.stdout.write(f"{name} {outcome}\n")
    for warning in warnings:
        sys.stderr.write(f"warning: {warning}\n")
    for caveat in manifest.caveats:
        sys.stderr.write(f"note: {caveat}\n")


def inject(given: Given) -> None:
    """Print a manifest after injection: each pod and Deployment that asks for a sidecar has one."""
    from sidelab.lab.manifest import encode

    sys.stdout.write(encode(injected(given.manifests)))


MANIFESTS = Argument("manifests", nargs="+", metavar="MANIFEST", help="YAML files; - is standard input")
RULES = Argument(
    "--rules",
    metavar="WAY",
    help="nft, iptables or iptables-legacy: how to install rules in pods whose annotations don't say (default: nft)",
)

VERBS = (
    Verb(
        "apply",
        apply,
        "sidelab apply examples/services.yaml",
        (
            MANIFESTS,
            LAB,
            Argument("--prune", action="store_true", help="remove Services that the manifests do not mention"),
            RULES,
        ),
    ),
    Verb("inject", inject, "sidelab inject examples/tutorial.yaml", (MANIFESTS,)),
)
