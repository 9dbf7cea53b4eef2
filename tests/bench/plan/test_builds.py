import subprocess
from pathlib import Path

import pytest
from tools import tool

from sidelab.bench.arms import revisions
from sidelab.bench.plan import builds
from sidelab.bench.plan import plan as plans
from sidelab.lab.errors import InputError

PLAN = plans.load("compare")


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        ("bundled", ("bundled", "", "istio")),
        ("envoy", ("envoy", "", "istio")),
        ("envoy:1.35.0", ("envoy", "1.35.0", "istio")),
        ("envoy:/opt/envoy", ("envoy", "/opt/envoy", "istio")),
        ("profile:classic", ("bundled", "", "classic")),
        ("git:main", ("git:main", "", "istio")),
        ("git:HEAD~2", ("git:HEAD~2", "", "istio")),
    ],
)
def test_a_build_is_put_into_its_arm(build: str, expected: tuple[str, str, str]):
    """A build changes what it names in the arm of its own name, and nothing in the other."""
    plan = builds.compare(PLAN, build, "bundled")
    head = plan.arm("head")
    assert expected == (head.proxy, head.envoy, head.profile)
    assert PLAN.arm("base") == plan.arm("base")
    assert PLAN.arms[:2] == plan.arms[:2]


def test_a_program_is_named_by_its_path(tmp_path: Path):
    """A proxy's path may be relative; the arm has the absolute one."""
    program = tmp_path / "proxy"
    program.touch()
    assert str(program) == builds.compare(PLAN, "bundled", f"{tmp_path}/./proxy").arm("base").proxy


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ("haproxy", "--head haproxy: not a build"),
        ("envoy:new", "--head envoy:new: not a build"),
        ("profile:old", "--head profile:old: not a build"),
        ("git:", "--head git:: arm 'head'"),
        ("./nowhere", "there is no such file"),
    ],
)
def test_what_is_no_build_is_refused(build: str, words: str):
    """A build in no known form is refused with all forms."""
    with pytest.raises(InputError) as refusal:
        builds.compare(PLAN, build, "bundled")
    assert words in str(refusal.value)
    assert "git:REVISION" in str(refusal.value)


def test_a_plan_without_the_two_arms_is_refused():
    """--head and --base need a plan with arms of these names."""
    with pytest.raises(InputError, match="plan smoke has no arm base and head"):
        builds.compare(plans.load("smoke"), "bundled", "bundled")


def test_a_revision_must_be_there(tmp_path: Path):
    """A word that means no commit is refused with git's checkout in the message."""
    subprocess.run((tool("git"), "init", "-q", tmp_path), check=True)
    with pytest.raises(InputError, match=r"git:nope: git in .* there is no such revision"):
        revisions.resolve("git:nope", tmp_path)


def test_nothing_is_made_without_a_revision(tmp_path: Path):
    """A plan whose arms name no revision needs no git and makes no program."""
    with revisions.extracted(PLAN, tmp_path) as programs:
        assert {} == programs
