"""Programs that tests use beside sidelab: one that is missing skips the test, with the Debian package that has it."""

import os
import shutil
from pathlib import Path

import pytest

from sidelab.lab.errors import MachineError
from sidelab.sidecar.envoy import find_envoy

PATIENCE_S = 60.0
"""How long to wait for what should come at once, on a machine that may stall for seconds under other load."""

_DEBIAN = {
    "ip": "iproute2",
    "iptables-legacy-restore": "iptables",
    "iptables-nft-restore": "iptables",
    "iptables-restore": "iptables",
    "newuidmap": "uidmap",
    "nft": "nftables",
    "nginx": "nginx-light",
    "prlimit": "util-linux",
    "python3": "python3-minimal",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "useradd": "passwd",
    "userdel": "passwd",
    "usermod": "passwd",
}
"""The Debian package of a program, if it has a different name."""


def path_of(name: str) -> str | None:
    """Return a program's path; also looks in the directories of administrators' tools, not in every user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin")


def tool(name: str) -> str:
    """Return the path of a program; without it the test is skipped."""
    found = path_of(name)
    if found is None:
        pytest.skip(missing(name))
    return found


def envoy() -> Path:
    """Return the path of Envoy; without one the test is skipped."""
    try:
        return find_envoy()
    except MachineError as error:
        pytest.skip(str(error))


def needs(*names: str) -> pytest.MarkDecorator:
    """Mark tests that are skipped unless all these programs are installed."""
    lacking = [name for name in names if path_of(name) is None]
    return pytest.mark.skipif(bool(lacking), reason="; ".join(map(missing, lacking)))


def missing(name: str) -> str:
    """Return the reason for a skip."""
    return f"{name} is not installed (Debian: {_DEBIAN.get(name, name)})"
