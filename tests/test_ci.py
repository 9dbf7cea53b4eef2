"""What `.ci/` reads from other files: the README's commands, and which skips are allowed."""

from pathlib import Path

import machines
import pytest
import readme
import skips


def test_the_machines_get_what_the_readme_names():
    """An ordinary user's machine has uidmap beside what root's has, and neither has a tool that tests compare with."""
    root, user = (set(readme.packages(ordinary=each)) for each in (False, True))
    assert ({"nox", "git", "curl"}, {"uidmap"}) == (root, user - root)


@pytest.mark.parametrize("name", [name for name in machines.MACHINES if name != "tools"])
def test_the_commands_are_the_readmes(name: str):
    """Both commands and the tour from `up` to `down` are run, in the README's order and words."""
    words = [
        " ".join(line.split("#")[0].split())
        for line in (*machines.MACHINES[name].commands, *machines.MACHINES[name].alone)
    ]
    assert ["nox -s bench", "nox -s tests"] == words[:2]
    tour = [line.split()[1] for line in words[2:]]
    assert {"up", "exec", "doctor", "logs", "shell", "down"} <= set(tour)
    assert "down" == tour[-1]


def test_a_skip_is_allowed_by_machine_name_and_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A line applies to its section's machines and its own reason; a star is any text, a bracket stands for itself."""
    allowed = tmp_path / "skips-allowed"
    allowed.write_text("# why\n[*-user]\nlab.test_a::*  needs root\n\n[tools one]\nlab.test_b::test[x]  no *\n")
    monkeypatch.setattr(skips, "ALLOWED", allowed)
    first, second = skips.Skip("lab.test_a::test[1]", "needs root"), skips.Skip("lab.test_b::test[x]", "no disk")
    other = skips.Skip("lab.test_a::test[1]", "nft is not installed")
    assert [other, second] == skips.not_allowed([first, other, second], "trixie-user")
    assert [first, other] == skips.not_allowed([first, other, second], "tools")


def test_skips_are_read_from_pytests_own_results(tmp_path: Path):
    """The skipped tests, with their reasons, are read from a run's JUnit file."""
    case = '<testcase classname="a" name="{}">{}</testcase>'
    text = case.format("b", '<skipped message="why"/>') + case.format("c", "")
    text = f"<testsuites><testsuite>{text}</testsuite></testsuites>"
    (tmp_path / "tests.xml").write_text(text)
    assert [skips.Skip("a::b", "why")] == skips.skipped(tmp_path / "tests.xml")
