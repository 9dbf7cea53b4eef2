"""The interception rules: `Options` → `build` → `Ruleset` → text, or the kernel (`sidecar.interception.apply.kernel`).

Importing this package is light: nothing here talks netlink.
"""

from sidelab.sidecar.interception.build.build import build
from sidelab.sidecar.interception.model.model import (
    Backend,
    Chain,
    Key,
    Match,
    PolicyRoute,
    Rule,
    RuleAction,
    Ruleset,
    Table,
    Target,
)
from sidelab.sidecar.interception.options.options import Options
from sidelab.sidecar.interception.text.render import FORMS, render

__all__ = [
    "FORMS",
    "Backend",
    "Chain",
    "Key",
    "Match",
    "Options",
    "PolicyRoute",
    "Rule",
    "RuleAction",
    "Ruleset",
    "Table",
    "Target",
    "build",
    "render",
]
