"""The command line: the table of verbs, read and called.

Imports happen inside the verbs, because `up` has 0.3 s for everything and `bench` needs half of that for pandas alone.
That is also why it is argparse: typer would take 0.09 s (it imports pydantic).
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from lab.errors import InputError, SidelabError
from verbs import labs, measuring, rules
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


def _open_standard() -> None:
    """Open what we were started without: the next socket would become some program's input."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            while os.open(os.devnull, os.O_RDWR) < fd:
                pass
            setattr(sys, name, os.fdopen(fd, "w" if fd else "r"))


def main() -> None:
    """Run the command line; the exit status says whose fault a failure is (see `lab.errors`)."""
    _open_standard()
    try:
        given = parse(sys.argv[1:] or ["--help"])
        given.verb.call(given)
    except SidelabError as error:
        sys.stderr.write(f"sidelab: {error}\n")
        raise SystemExit(error.exit_status) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read our output has had enough of it
        raise SystemExit(0) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception:  # noqa: BLE001  # a bug: whatever it is, its status is not that of a failed check
        traceback.print_exc()
        raise SystemExit(70) from None


if __name__ == "__main__":
    main()
