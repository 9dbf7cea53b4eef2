"""docs/injection.md says what the code does: its manifests, annotations and fields are compared with the real ones."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from sidelab.lab.manifest import decode, encode, load
from sidelab.sidecar.config import injected_names
from sidelab.sidecar.config.annotations import INJECT, LIVE, REVISION, STATUS, TABLE
from sidelab.sidecar.config.proxyconfig import HONOURED
from sidelab.sidecar.inject import inject, warnings

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "injection.md").read_text()
BLOCKS = dict(re.findall(r"^    \$ (.+)\n((?:    .*\n|\n(?=    ))+)", PAGE, re.MULTILINE))
BEFORE, AFTER = (dedent(BLOCKS[command]) for command in ("cat nginx.yaml", "sidelab inject nginx.yaml"))
TUTORIAL = ROOT / "examples" / "tutorial.yaml"


def first_cells(heading: str) -> list[str]:
    """Return what is in code in the first column of the table below a heading, a string for each name."""
    section = PAGE.partition(f"# {heading}\n")[2].partition("\n#")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall("`(.+?)`", row)]


def test_the_injected_pod_is_what_the_command_prints() -> None:
    """To the letter: what stands below `sidelab inject` is made of what stands above it."""
    assert AFTER == encode(inject(decode([("nginx.yaml", BEFORE)])))


def test_the_page_shows_the_examples_pod() -> None:
    """The pod of the page is that of examples/tutorial.yaml, which injection has nothing to say against."""
    (shown,) = decode([("nginx.yaml", BEFORE)]).pods
    tutorial = load([TUTORIAL])

    assert shown == tutorial.pods[0]
    assert [] == warnings(tutorial)


def test_the_tutorials_services_lead_to_one_pod_each() -> None:
    """`service-istio` selects the pod with the sidecar, `service-direct` the one without, both from 8080 to 80."""
    tutorial = load([TUTORIAL])
    led = {
        service.name: [
            (pod.name, INJECT.name in pod.metadata.labels)
            for pod in tutorial.pods
            if service.spec.selector.items() <= pod.metadata.labels.items()
        ]
        for service in tutorial.services
    }

    assert {"service-istio": [("nginx", True)], "service-direct": [("nginx-direct", False)]} == led
    assert {(8080, 80)} == {(each.port, each.target_port) for one in tutorial.services for each in one.spec.ports}


def test_every_annotation_has_its_row() -> None:
    """The table names all that are read and no others; status and revision are injection's own."""
    assert sorted(TABLE.keys() - {STATUS.name, REVISION.name}) == sorted(first_cells("Annotations"))


def test_every_field_has_its_row() -> None:
    """The fields of ProxyConfig that have an effect are those of the table."""
    assert sorted(HONOURED) == sorted(first_cells("proxy.istio.io/config"))


def test_the_sidecars_ports_are_all_there() -> None:
    """The page lists each port that an application can't have."""
    listed = re.search(r"a port of the sidecar's \(([\d,\s]+)\)", PAGE)
    assert listed is not None
    assert list(injected_names.SIDECAR_PORTS) == [int(port) for port in listed[1].split(",")]


@pytest.mark.parametrize("name", sorted(LIVE))
def test_what_changes_live_is_said(name: str) -> None:
    """A row says so."""
    (row,) = (line for line in PAGE.splitlines() if line.startswith(f"| `{name}`"))
    assert row.endswith("changes live |")


def test_links_lead_somewhere() -> None:
    """Each relative link names a page beside this one."""
    assert [] == [link for link in re.findall(r"\]\(([^)#:]+)\)", PAGE) if not (ROOT / "docs" / link).exists()]
