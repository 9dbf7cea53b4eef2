"""The command line: parse its words and call the verb.

Imports happen inside the verbs, because `up` has 0.3 s for everything and pandas alone takes `bench` half of that.
That is also why this uses argparse: typer would take 0.09 s (it imports pydantic).
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from sidelab.bench.base import interruption
from sidelab.cli import arguments, output
from sidelab.cli.command import Given, Verb
from sidelab.cli.commands import completion
from sidelab.cli.verbs import VERBS
from sidelab.lab.errors import InputError, SidelabError


class _Parser(argparse.ArgumentParser):
    """An argument parser with our kind of errors: one line, with the cure, exit status 2."""

    def error(self, message: str) -> NoReturn:
        what, _, missing = message.partition(" arguments are required: ")
        if missing and what == "the following":
            as_in = (self.epilog or "").removeprefix("example: ")
            shown = f"as in `{as_in}`" if as_in else f"see `{self.prog} --help`"
            raise InputError(f"{self.prog.removeprefix('sidelab').strip() or 'sidelab'}: {missing} is missing: {shown}")
        raise InputError(f"{message}: see `{self.prog} --help`")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            known = [str(each) for each in action.choices]
            what = "a verb" if action.metavar == "VERB" else f"known to {'/'.join(action.option_strings)}"
            hint = arguments.meant(str(value), known) or ":"
            raise InputError(f"{value!r} is not {what}{hint} there are {', '.join(known)}")


class _Version(argparse.Action):
    """Prints `sidelab 0.1.0`; the version is read only when needed, because that takes a while."""

    def __call__(self, *_: object) -> NoReturn:
        from sidelab.cli.command import version  # see above

        sys.stdout.write(f"sidelab {version()}\n")
        raise SystemExit(0)


def parse(argv: Sequence[str]) -> Given:
    """Return the parsed command line, with the verb as `verb`; raises `InputError`."""
    ours, command = arguments.split(next((verb for verb in VERBS if argv and verb.name == argv[0]), None), argv)
    given, rest = _parser().parse_known_args(ours)
    if given.verb.takes_flags:
        given.flags = rest
    elif rest:
        raise _not_understood(given.verb, rest[0])
    if command and not given.verb.runs_command:
        raise InputError(f"{given.verb.name} runs no command: see `sidelab {given.verb.name} --help`")
    given.command = command
    return given


def _not_understood(verb: Verb, word: str) -> InputError:
    if not word.startswith("-"):
        return InputError(f"{verb.name}: {word!r} is one word too many: as in `{verb.example}`")
    known = [name for each in verb.arguments for name in each.names if name.startswith("-")]
    hint = arguments.meant(word.partition("=")[0], known) or ":"
    return InputError(f"{verb.name} has no option {word!r}{hint} see `sidelab {verb.name} --help`")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sidelab",
        description="A service-mesh interception lab on one machine: how traffic gets into the sidecar, and what "
        "that costs.",
        epilog="example: sidelab up examples/nginx-injected.yaml",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version, and end")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    groups: dict[str, Any] = {"": verbs}
    for verb in VERBS:
        group, _, name = verb.name.rpartition(" ")
        if group not in groups:
            parent = verbs.add_parser(group, help="the interception rules: as text, or as the kernel has them")
            groups[group] = parent.add_subparsers(metavar="VERB", required=True)
        about = (verb.call.__doc__ or "").strip()
        each = groups[group].add_parser(
            name, help=about, description=about, epilog=f"example: {verb.example}", allow_abbrev=False
        )
        for argument in verb.arguments:
            each.add_argument(*argument.names, **argument.how)
        each.set_defaults(verb=verb)
    return parser


def main() -> None:
    """Run the command line; the exit status shows whose fault a failure is (see `lab.errors`)."""
    output.open_standard()
    completion.answer(_parser)
    with interruption.raised():
        try:
            status = output.flushed(_run(sys.argv[1:] or ["--help"]))
        except interruption.Interrupted as stop:  # while a message was written
            status = stop.exit_status
    raise SystemExit(status)


def _run(argv: Sequence[str]) -> int:
    """Run the verb and return the exit status."""
    try:
        given = parse(argv)
        given.verb.call(given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except SidelabError as error:
        if isinstance(error, output.OutputError):
            output.discard()  # flushing it later would fail and be reported again
        sys.stderr.write(f"sidelab: {error}\n")
        return error.exit_status
    except BrokenPipeError:
        output.discard()  # the reader of our output has stopped reading
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"sidelab: {stop}\n" if str(stop) else "")
        return getattr(stop, "exit_status", 130)
    except Exception as error:  # noqa: BLE001  # whatever it is, its status is not that of a failed check
        return _unforeseen(error)
    return 0


def _unforeseen(error: Exception) -> int:
    """Report an unhandled error: what the machine has run out of, with its cure; anything else is a bug."""
    from sidelab.lab.base.exhausted import as_refusal  # most runs need none

    refusal = as_refusal(error)
    if refusal is None:
        traceback.print_exception(error)
        return 70
    sys.stderr.write(f"sidelab: {refusal}\n")
    return refusal.exit_status
