"""What the verbs of labs do around the labs themselves; nothing is started."""

import pytest

from sidelab.cli.main import parse
from sidelab.lab.client import ending, lab_names
from sidelab.lab.errors import InputError, PodError, SidelabError


class _Labs:
    """Labs that are stopped, some of which refuse it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **labs: SidelabError | None) -> None:
        self.running = list(labs)
        self._refusals = labs
        monkeypatch.setattr(lab_names, "running", lambda: list(self.running))
        monkeypatch.setattr(ending, "end", self._end)

    def _end(self, name: str, *, seen: bool) -> None:
        assert seen
        refusal = self._refusals[name]
        if refusal is not None:
            raise refusal
        self.running.remove(name)


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
