"""The four texts of a ruleset, by the names that `--form` takes."""

from collections.abc import Callable

from sidelab.lab.errors import InputError
from sidelab.sidecar.interception.model.counted import from_ruleset
from sidelab.sidecar.interception.model.model import Ruleset
from sidelab.sidecar.interception.text import iptables, nft
from sidelab.sidecar.interception.text.listing import listing

FORMS: dict[str, Callable[[Ruleset], str]] = {
    "iptables": lambda ruleset: iptables.render(ruleset, 4),
    "ip6tables": lambda ruleset: iptables.render(ruleset, 6),
    "nft": nft.render,
    "table": lambda ruleset: listing(from_ruleset(ruleset)),
}


def render(ruleset: Ruleset, form: str) -> str:
    """Return `ruleset` as the text of `form`: lines that each end in a newline, or nothing.

    Raises `InputError` for an unknown form.
    """
    if form not in FORMS:
        raise InputError(f"--form: {form!r} is not accepted here: give {', '.join(FORMS)}")
    return FORMS[form](ruleset)
