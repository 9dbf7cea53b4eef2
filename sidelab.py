"""The command line: the table of verbs, read and called.

Imports happen inside the verbs, because `up` has 0.3 s for everything and `bench` needs half of that for pandas alone.
That is also why it is argparse: typer would take 0.09 s (it imports pydantic).
"""

import argparse
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from lab.errors import InputError, SidelabError
from verbs import labs, measuring, output, rules
from verbs.verb import Given

VERBS = (*labs.VERBS, *rules.VERBS, *measuring.VERBS)


class _Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are ours: one line, with the cure, exit status 2."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}: see `{self.prog} --help`")


def parse(argv: Sequence[str]) -> Given:
    """Return what the command line says, `verb` being the verb; raises `InputError`."""
    words, command = _split(list(argv))
    given, rest = _parser().parse_known_args(words)
    if given.verb.takes_flags:
        given.flags = rest
    elif rest:
        name = given.verb.name
        raise InputError(f"{name}: {rest[0]!r} is not understood: see `sidelab {name} --help`")
    if command and not given.verb.runs_command:
        raise InputError(f"{given.verb.name} runs no command: see `sidelab {given.verb.name} --help`")
    given.command = command
    return given


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """Return what stands before the first `--`, and what stands behind it."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sidelab",
        description="A service-mesh interception lab on one machine: how traffic gets into the sidecar, and what "
        "that costs.",
        epilog="example: sidelab up examples/nginx-injected.yaml",
    )
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
    """Run the command line; the exit status says whose fault a failure is (see `lab.errors`)."""
    output.open_standard()
    raise SystemExit(output.flushed(_run(sys.argv[1:] or ["--help"])))


def _run(argv: Sequence[str]) -> int:
    """Do what the command line says and return the exit status."""
    try:
        given = parse(argv)
        given.verb.call(given)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except SidelabError as error:
        sys.stderr.write(f"sidelab: {error}\n")
        return error.exit_status
    except BrokenPipeError:
        output.discard()  # whoever read our output has had enough of it
    except KeyboardInterrupt as stop:
        sys.stderr.write(f"sidelab: {stop}\n" if str(stop) else "")
        return getattr(stop, "exit_status", 130)
    except Exception:  # noqa: BLE001  # a bug: whatever it is, its status is not that of a failed check
        traceback.print_exc()
        return 70
    return 0


if __name__ == "__main__":
    main()
