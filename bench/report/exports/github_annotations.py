"""The verdict as GitHub's workflow commands, which become annotations of the job.

`::error title=…::message`: in a message `%`, CR and LF are percent-encoded, in a property also `:` and `,` (GitHub's
toolkit, packages/core/src/command.ts). GitHub shows ten annotations of a kind per step and drops the rest, so the
sentence comes first.
"""

from sidelab.bench.judge.gate.gate import GateResult, GateRow
from sidelab.bench.judge.verdict import GateOutcome
from sidelab.lab.base.text import escapes

_TITLE = "sidelab gate"
_LEVEL = {GateOutcome.PASS: "notice", GateOutcome.REGRESSION: "error", GateOutcome.INCONCLUSIVE: "warning"}


def render(result: GateResult) -> str:
    """Write the sentence as an annotation of the verdict's level, then one for each row that did not pass."""
    lines = [_command(_LEVEL[result.verdict], _TITLE, result.heading)]
    for outcome in (GateOutcome.REGRESSION, GateOutcome.INCONCLUSIVE):
        lines += [_command(_LEVEL[outcome], f"{_TITLE}: {outcome}", _message(row)) for row in result.of(outcome)]
    lines += [_command("warning", f"{_TITLE}: doubt", str(doubt)) for doubt in result.doubts]
    return "".join(f"{line}\n" for line in lines)


def _message(row: GateRow) -> str:
    return f"{row.name}: {row.interval} against {row.against} ({row.limit})"


def _command(level: str, title: str, message: str) -> str:
    return f"::{level} title={_data(title).replace(':', '%3A').replace(',', '%2C')}::{_data(message)}"


def _data(text: str) -> str:
    return escapes.visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
