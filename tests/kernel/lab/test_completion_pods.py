"""What a shell completes while a lab runs: its name, its pods and their containers."""

from pathlib import Path

import pytest
from command_line import EXAMPLE, CommandLine
from completing import completed

pytestmark = pytest.mark.kernel


def test_a_shell_completes_labs_pods_and_containers(sidelab: CommandLine, tmp_path: Path) -> None:
    """Pods are those of the lab that the line names, containers those of its pod."""
    done = sidelab.up(EXAMPLE)
    assert 0 == done.returncode, done.stderr
    assert [sidelab.name] == completed(f"sidelab status {sidelab.name}", tmp_path)
    assert ["nginx", "client"] == completed(f"sidelab logs --lab {sidelab.name} ", tmp_path)
    assert ["istio-proxy"] == completed(f"sidelab logs --lab {sidelab.name} nginx -c i", tmp_path)
    assert [""] == completed("sidelab logs --lab there-is-none ", tmp_path)
