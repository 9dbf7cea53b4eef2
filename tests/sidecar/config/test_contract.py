"""The contract with a proxy: command lines, and that its page says what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from sidelab.lab.errors import InputError
from sidelab.sidecar.config import contract
from sidelab.sidecar.config.contract import BUNDLED, ENVOY, command, full_command, intent_path
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.config.proxy_annotations import PROXY, PROXY_ARGS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "proxy-contract.md").read_text()


def test_the_pages_example_is_an_intent_with_every_field():
    """What a reader copies decodes, and misses nothing."""
    (example,) = re.findall(r"(?s)```json\n(.*?)```", PAGE)
    intent = Intent.from_json(example)
    assert json.loads(example) == json.loads(intent.to_json())


@pytest.mark.parametrize("name", ["outbound", "inbound", "health", "admin", "stats"])
def test_the_page_names_every_port_that_a_proxy_has(name: str):
    """With its number."""
    assert f"| `{name}` | {getattr(Intent().ports, name)} |" in PAGE


def test_the_page_says_where_things_are():
    """Paths, annotations and ids are those of the code."""
    for word in (contract.INTENT, contract.HOME, PROXY.name, PROXY_ARGS.name, str(contract.UID)):
        assert word in PAGE


def test_the_schema_is_printed():
    """`python -m sidelab.sidecar.config.contract` prints a JSON schema with every field of an intent."""
    done = subprocess.run(
        [sys.executable, "-m", "sidelab.sidecar.config.contract"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(Intent.__struct_fields__) == json.loads(done.stdout)["$defs"]["Intent"]["properties"].keys()


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        ({}, (BUNDLED,)),
        ({"proxy": "bundled"}, (BUNDLED,)),
        ({"proxy": "envoy"}, (ENVOY,)),
        ({"proxy": "envoy", "envoy": "1.35.0"}, (ENVOY, "--envoy", "1.35.0")),
        ({"proxy": "bundled", "envoy": "1.35.0"}, (BUNDLED,)),
        ({"proxy": "/opt/p", "proxy-args": "-v 'a b'"}, ("/opt/p", "-v", "a b")),
    ],
)
def test_annotations_choose_a_command_line(annotations: dict[str, str], expected: tuple[str, ...]):
    """A known word or an absolute path, and arguments as for a shell."""
    assert expected == command({f"sidelab.io/{name}": value for name, value in annotations.items()})


@pytest.mark.parametrize("annotations", [{"proxy": "nginx"}, {"proxy": "./p"}, {"proxy-args": "'"}])
def test_what_is_no_proxy_is_refused(annotations: dict[str, str]):
    """The annotation is named."""
    with pytest.raises(InputError, match=f"sidelab.io/{next(iter(annotations))}"):
        command({f"sidelab.io/{name}": value for name, value in annotations.items()})


def test_a_proxy_finds_its_intent():
    """Among whatever other arguments; without it the command line is refused."""
    assert contract.INTENT == intent_path(full_command(("/opt/p", "-v")))
    with pytest.raises(InputError, match="--intent"):
        intent_path(("/opt/p", "--intent"))


def test_another_version_is_refused():
    """An intent of the future is not taken for this one's."""
    with pytest.raises(InputError, match="version"):
        Intent.from_json(msgspec.json.encode({"version": 2}))
