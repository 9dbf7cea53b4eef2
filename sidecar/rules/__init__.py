"""The interception rules: `Options` → `build` → `Ruleset` → text, or the kernel (`sidecar.rules.kernel`).

Importing this package is light: nothing here talks netlink.
"""

from sidecar.rules.build import build
from sidecar.rules.model import Backend, Chain, Key, Match, PolicyRoute, Rule, Ruleset, Table, Target, Verb
from sidecar.rules.options import Options
from sidecar.rules.render import FORMS, render

__all__ = [
    "FORMS",
    "Backend",
    "Chain",
    "Key",
    "Match",
    "Options",
    "PolicyRoute",
    "Rule",
    "Ruleset",
    "Table",
    "Target",
    "Verb",
    "build",
    "render",
]
