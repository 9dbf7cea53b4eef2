"""The two ways that run a tool: `iptables-restore --noflush` and its IPv6 counterpart, nft-backed or legacy.

`differences` decides what to do, `iptables` and `repair` write the texts; this runs them in order, and undoes them if
one fails.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sidelab.lab.errors import PodError, SidelabError
from sidelab.sidecar.interception.apply.tools import Name, Runner, Tools, families
from sidelab.sidecar.interception.drift import differences, repair
from sidelab.sidecar.interception.drift.differences import Lines, Step
from sidelab.sidecar.interception.model.counted import TableRows
from sidelab.sidecar.interception.model.model import Backend, Family, Ruleset
from sidelab.sidecar.interception.options.options import Options
from sidelab.sidecar.interception.text import saved


class Restore:
    """`iptables-restore --noflush` and its IPv6 counterpart, in tables that others use as well."""

    def __init__(self, name: Name, run: Runner) -> None:
        self._tools = Tools(name, run)

    def read(self, family: Family) -> tuple[TableRows, ...]:
        """Return all tables of `family`."""
        return saved.read(self._tools.save(family), family)

    def lines(self, ruleset: Ruleset) -> tuple[Lines, Lines]:
        """Return the lines that should be there, and those of them or of Istio's chains that are."""
        return self._lines(ruleset, self._saves(ruleset))

    def carry_out(self, ruleset: Ruleset, options: Options) -> None:
        """Read the present rules, and do what `differences.step` decides."""
        saves = self._saves(ruleset)
        wanted, held = self._lines(ruleset, saves)
        step = differences.step(bool(held), differences.drift(wanted, held), options)
        with self._undone_on_failure(saves):
            match step:
                case Step.CLEAN:
                    self._clean(saves, wanted)
                case Step.RECONCILE:
                    self._replace(ruleset, saves, wanted)
                case Step.APPLY:
                    self._apply(ruleset, there_already=bool(held))

    def reconcile(self, ruleset: Ruleset) -> None:
        """Block all traffic, replace Istio's rules, and let the traffic go on."""
        saves = self._saves(ruleset)
        wanted, _ = self._lines(ruleset, saves)
        with self._undone_on_failure(saves):
            self._replace(ruleset, saves, wanted)

    def clean(self, ruleset: Ruleset) -> None:
        """Delete the jumps to Istio's chains and then the chains; everything else stays."""
        saves = self._saves(ruleset)
        with self._undone_on_failure(saves):
            self._clean(saves, differences.expected(ruleset, Backend.IPTABLES))

    def _saves(self, ruleset: Ruleset) -> dict[Family, str]:
        return {family: self._tools.save(family) for family in families(ruleset)}

    def _lines(self, ruleset: Ruleset, saves: Mapping[Family, str]) -> tuple[Lines, Lines]:
        wanted = differences.expected(ruleset, Backend.IPTABLES)
        held = [differences.found(saved.read(text, family), family, wanted) for family, text in saves.items()]
        return wanted, {place: lines for each in held for place, lines in each.items()}

    def _apply(self, ruleset: Ruleset, *, there_already: bool) -> None:
        try:
            self._load(ruleset)
        except PodError as error:
            if not there_already:
                raise
            raise PodError(
                f"{error}: rules of Istio's are there already, which istio-iptables does not replace: give it "
                "--reconcile, or --quirks none (for a pod, the annotation that chooses quirks: docs/rules.md)"
            ) from error

    def _load(self, ruleset: Ruleset) -> None:
        for family in families(ruleset):
            self._tools.load(ruleset, family)

    def _clean(self, saves: Mapping[Family, str], wanted: Lines) -> None:
        for family, text in saves.items():
            self._tools.add(family, repair.cleaning(saved.read(text, family), family, wanted))

    def _replace(self, ruleset: Ruleset, saves: Mapping[Family, str], wanted: Lines) -> None:
        for family in saves:
            self._tools.add(family, repair.GUARD)
        self._clean(saves, wanted)
        self._load(ruleset)
        for family in saves:
            self._tools.add(family, repair.UNGUARD)

    @contextmanager
    def _undone_on_failure(self, saves: Mapping[Family, str]) -> Iterator[None]:
        """Restore the previous rules if the block fails: each table loads atomically, but a ruleset has several."""
        try:
            yield
        except BaseException as error:
            try:
                for family, before in saves.items():
                    self._tools.replace(family, repair.undoing(before, self._tools.save(family)))
            except SidelabError as second:
                raise PodError(f"{error}; and what was there before can't be brought back: {second}") from error
            raise
