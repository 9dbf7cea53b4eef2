"""Completion at a shell's prompt: verbs, options, plans, and the labs and pods that are running, by argcomplete."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

from sidelab.cli.command import Argument, Given, Verb
from sidelab.lab.errors import SidelabError

SHELLS = ("bash", "zsh", "fish", "tcsh", "powershell")


def completion(given: Given) -> None:
    """Print what a shell needs to complete sidelab's words: `source <(sidelab completion bash)` in ~/.bashrc."""
    from argcomplete.shell_integration import shellcode

    sys.stdout.write(shellcode(["sidelab"], shell=given.shell))


def answer(parser: Callable[[], argparse.ArgumentParser]) -> None:
    """Answer a shell that asks for completions, as the environment shows, and exit; else return at once."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    from argcomplete import autocomplete

    asked = parser()
    _prepare(asked)
    autocomplete(asked, always_complete_options=False)


def _prepare(parser: argparse.ArgumentParser) -> None:
    """Give every verb's arguments the functions that list their values, by the values' names in the help."""
    for action in parser._actions:  # noqa: SLF001  # argparse has no other way to them; argcomplete takes it, too
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # the same
            for each in action.choices.values():
                _prepare(each)
        elif action.metavar in _LISTS:
            action.completer = _LISTS[str(action.metavar)]  # type: ignore[attr-defined]  # argcomplete looks for it


def _labs(**_: Any) -> list[str]:
    from sidelab.lab.client.lab_names import running

    return running()


def _plans(prefix: str, **_: Any) -> list[str]:
    from argcomplete.completers import FilesCompleter

    from sidelab.cli.commands.bench_commands import PLANS

    return [*PLANS, *FilesCompleter(("toml",))(prefix)]


def _pods(parsed_args: Given, **_: Any) -> list[str]:
    return [
        pod["name"] if pod["namespace"] == "default" else f"{pod['namespace']}/{pod['name']}"
        for pod in _pods_of(parsed_args)
    ]


def _containers(parsed_args: Given, **_: Any) -> list[str]:
    return [
        container["name"]
        for pod in _pods_of(parsed_args)
        if parsed_args.pod in (pod["name"], f"{pod['namespace']}/{pod['name']}")
        for container in pod["containers"]
    ]


def _pods_of(given: Given) -> list[dict[str, Any]]:
    """Return the pods of the lab that the line names, or of the only one; none if the line is wrong."""
    from sidelab.lab.client.lab import find

    try:
        with find(getattr(given, "lab", None)) as lab:
            pods: list[dict[str, Any]] = lab.status()["pods"]
    except SidelabError:
        return []
    return pods


_LISTS: Mapping[str, Callable[..., list[str]]] = {
    "LAB": _labs,
    "POD": _pods,
    "CONTAINER": _containers,
    "PLAN": _plans,
}

VERBS = (
    Verb(
        "completion",
        completion,
        "sidelab completion bash",
        (Argument("shell", choices=SHELLS, help="bash, zsh, fish, tcsh or powershell"),),
    ),
)
