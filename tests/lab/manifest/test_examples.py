from pathlib import Path

import pytest

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import examples
from sidelab.lab.manifest.examples import example

ROOT = Path(__file__).parents[3]


def test_an_example_of_the_checkout_is_read_where_it_stands() -> None:
    """Without a wheel's copy, an example is the file of that name below `examples/`."""
    assert ROOT / "examples" / "haproxy" / "pod.yaml" == example("haproxy/pod.yaml")


def test_a_wheels_copy_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed sidelab reads its own copy, whatever `examples` lies beside it among the packages."""
    for directory in ("examples", examples.SHIPPED):
        (tmp_path / directory).mkdir(parents=True)
        (tmp_path / directory / "nginx.yaml").touch()
    monkeypatch.setattr(examples, "_ROOT", tmp_path)
    assert tmp_path / examples.SHIPPED / "nginx.yaml" == example("nginx.yaml")


def test_an_unknown_example_is_refused_with_those_that_exist() -> None:
    """A wrong name is answered with the right ones."""
    with pytest.raises(InputError, match=r"no example 'web\.yaml': choose one of haproxy/pod\.yaml, .*nginx\.yaml"):
        example("web.yaml")
