"""What the verbs of labs do around the labs themselves; nothing is started."""

import pytest

from lab import lab, names
from lab.errors import InputError, PodError, SidelabError
from sidelab import parse


class _Labs:
    """Labs that are stopped, some of which refuse it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **labs: SidelabError | None) -> None:
        self.running = list(labs)
        self._refusals = labs
        monkeypatch.setattr(names, "running", lambda: list(self.running))
        monkeypatch.setattr(lab, "find", lambda name, **_: _Lab(self, name, self._refusals[name]))


class _Lab:
    def __init__(self, labs: _Labs, name: str, refusal: SidelabError | None) -> None:
        self._labs, self._name, self._refusal = labs, name, refusal

    def stop(self) -> None:
        if self._refusal is not None:
            raise self._refusal
        self._labs.running.remove(self._name)


def _down_all() -> object:
    given = parse(["down", "--all"])
    with pytest.raises(SystemExit) as end:
        given.verb.call(given)
    return end.value.code


def test_down_all_goes_on_after_a_lab_that_can_not_be_ended(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Every other lab is ended, each failure is said, and the status is the worst one's."""
    labs = _Labs(monkeypatch, aaa=PodError("aaa does not end"), bbb=InputError("bbb is elsewhere"), ccc=None)
    assert (5, ["aaa", "bbb"]) == (_down_all(), labs.running)
    assert "sidelab: aaa does not end\nsidelab: bbb is elsewhere\n" == capsys.readouterr().err


def test_a_lab_that_ends_by_itself_meanwhile_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """It was to end, and has."""
    labs = _Labs(monkeypatch, aaa=InputError("no lab named 'aaa'"))
    listed = iter([["aaa"], []])
    monkeypatch.setattr(names, "running", lambda: next(listed))
    assert (0, "") == (_down_all(), capsys.readouterr().err)
    assert ["aaa"] == labs.running
