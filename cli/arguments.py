"""The words of a command line before argparse sees them: where the command for a pod begins, and likely typos."""

from collections.abc import Container, Iterable, Sequence

from sidelab.cli.command import Verb


def split(verb: Verb | None, words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return our own words, and the command that `verb` is to run in a pod.

    The command follows `--`, or the pod's name, as in `kubectl exec`; the options after that are the command's own.
    """
    at = words.index("--") if "--" in words else len(words)
    if verb is not None and verb.runs_command:
        begin = _second_word(verb, words[:at])
        if begin < at:
            return list(words[:begin]), list(words[begin:])
    return list(words[:at]), list(words[at + 1 :])


def _second_word(verb: Verb, words: Sequence[str]) -> int:
    """Return the place of the second word after `verb` that is neither an option of it nor an option's value."""
    with_value = {name for each in verb.arguments if "action" not in each.how for name in each.names}
    found = 0
    at = len(verb.name.split())
    while at < len(words):
        if words[at].startswith("-") and words[at] != "-":
            at += 1 + _takes_next(words[at], with_value)
            continue
        found += 1
        if found == 2:
            return at
        at += 1
    return len(words)


def _takes_next(option: str, with_value: Container[str]) -> bool:
    """Return whether the word after `option` is its value; `-itc` is three options, of which the last has one."""
    if option.startswith("--"):
        return option in with_value
    at = next((at for at, letter in enumerate(option) if f"-{letter}" in with_value), None)
    return at is not None and at == len(option) - 1


def meant(word: str, known: Iterable[str]) -> str:
    """Return `: did you mean …?` with the nearest of the known words, or nothing if none is near."""
    from difflib import get_close_matches  # takes 4 ms, so only after a mistake

    near = get_close_matches(word, list(known), 1)
    return f": did you mean {near[0]!r}?" if near else ""
