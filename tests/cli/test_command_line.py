"""How the command line reads its words, and what it answers to wrong ones; nothing is started."""

import re
import shlex

import pytest

from sidelab.cli.command import Verb
from sidelab.cli.commands import object_commands
from sidelab.cli.main import parse
from sidelab.cli.verbs import VERBS
from sidelab.lab.errors import InputError

_LS = ["ls", "-l", "-c"]


@pytest.mark.parametrize(
    "words",
    [
        ["nginx", "--", *_LS],
        ["nginx", *_LS],
        ["-it", "nginx", *_LS],
        ["nginx", "-it", "--", *_LS],
        ["-i", "-t", "-c", "proxy", "nginx", *_LS],
        ["nginx", "-itc", "proxy", *_LS],
        ["--container=proxy", "nginx", "-lother", *_LS],
        ["nginx", "--lab", "other", "--", *_LS],
    ],
)
def test_exec_takes_a_command_as_kubectl_does(words: list[str]):
    """Behind `--`, or behind the pod; from its first word on, options are the command's own."""
    given = parse(["exec", *words])
    assert ("nginx", _LS) == (given.pod, given.command)
    assert ("-it" in words or "-itc" in words or "-t" in words) == given.tty
    assert ("proxy" if any("proxy" in word for word in words) else None) == given.container
    assert ("other" if any("other" in word for word in words) else None) == given.lab


def test_what_is_behind_two_dashes_is_kept_whole():
    """A command may have a `--` of its own."""
    assert ["sh", "--", "-c"] == parse(["exec", "nginx", "sh", "--", "-c"]).command
    assert ["env", "--", "ls"] == parse(["exec", "nginx", "--", "env", "--", "ls"]).command


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["stauts"], "'stauts' is not a verb: did you mean 'status'?"),
        (["rules", "shwo"], "'shwo' is not a verb: did you mean 'show'?"),
        (["frobnicate"], "'frobnicate' is not a verb: there are demo, doctor, "),
        (["up", "--nmae", "x", "y"], "up has no option '--nmae': did you mean '--name'?"),
        (["rules", "show", "nginx", "-t", "nta"], "'nta' is not known to --table/-t: did you mean 'nat'?"),
        (["up"], "up: MANIFEST is missing: as in `sidelab up "),
        (["exec"], "exec: POD is missing: as in `sidelab exec client -- "),
        (["rules"], "rules: VERB is missing"),
        (["--nothing"], "VERB is missing"),
        (["list", "extra"], "list: 'extra' is one word too many: as in `sidelab list"),
        (["down", "one", "two"], "down: 'two' is one word too many: as in `sidelab down"),
        (["logs", "nginx", "--", "ls"], "logs runs no command"),
    ],
)
def test_a_wrong_word_is_answered_with_what_was_meant(words: list[str], answer: str):
    """What, where and the cure, in one line."""
    with pytest.raises(InputError, match=re.escape(answer)) as refusal:
        parse(words)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ([], []),
        (["all"], []),
        (["svc"], [("svc", None)]),
        (["svc,pods"], [("svc", None), ("pods", None)]),
        (["svc", "a", "b", "a"], [("svc", "a"), ("svc", "b")]),
        (["svc,po", "a"], [("svc", "a"), ("po", "a")]),
        (["svc/a", "po/b"], [("svc", "a"), ("po", "b")]),
    ],
)
def test_objects_are_named_as_for_kubectl(words: list[str], wanted: list[tuple[str, str | None]]):
    """By kinds, by names of a kind, or each by both."""
    assert wanted == object_commands._wanted(parse(["get", *words]).objects)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["get", "all", "a"], "says nothing about all kinds"),
        (["get", "svc/a", "b"], "'b': give either a KIND and its NAMEs"),
        (["get", "svc/"], "'svc/': give either"),
        (["get", "svc", "a", "-A"], "from all namespaces: say which with -n"),
        (["delete", "svc"], "svc: a name is missing: as in `sidelab delete service nginx`"),
        (["delete"], "delete: say what, as in"),
        (["delete", "all"], "delete: say what, as in"),
    ],
)
def test_objects_that_are_named_in_no_way_are_refused(words: list[str], message: str):
    """Before any lab is asked."""
    given = parse(words)
    with pytest.raises(InputError, match=re.escape(message)):
        given.verb.call(given)


@pytest.mark.parametrize("verb", ["status", "down"])
def test_a_lab_is_named_by_itself_or_behind_lab(verb: str):
    """The option of all other verbs works for these as well."""
    assert ("x", None) == (parse([verb, "x"]).which, parse([verb, "x"]).lab)
    assert (None, "x") == (parse([verb, "--lab", "x"]).which, parse([verb, "-l", "x"]).lab)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]):
    """As `sidelab 1.2.3`, with status 0."""
    with pytest.raises(SystemExit) as end:
        parse(["--version"])
    assert (0, True) == (end.value.code, bool(re.fullmatch(r"sidelab \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)))


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_each_example_of_the_help_is_understood(verb: Verb):
    """An epilog that shows what is refused would be worse than none."""
    assert verb == parse(shlex.split(verb.example)[1:]).verb
