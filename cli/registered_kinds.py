"""The kinds of objects that the command line registers with `lab`, in addition to those that every lab has."""

from sidelab.lab.manifest.own_kinds import OWN
from sidelab.lab.manifest.registered import KnownKinds, RegisteredKind

REGISTERED: tuple[RegisteredKind, ...] = ()


def known() -> KnownKinds:
    """Return all kinds that manifests may hold, apart from pods and kinds that make pods."""
    return OWN.plus(REGISTERED) if REGISTERED else OWN
