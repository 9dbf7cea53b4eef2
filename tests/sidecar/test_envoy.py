import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lab.errors import InputError, MachineError
from sidecar.envoy import bootstrap, command, find_envoy
from sidecar.intent import Intent, Protocol


def _listener(config: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [listener for listener in config["static_resources"]["listeners"] if listener["name"] == name]
    return dict(found)


def _validate(config: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    try:
        envoy = find_envoy()
    except MachineError as error:
        pytest.skip(str(error))
    path = folder / "envoy.json"
    path.write_text(json.dumps(config))
    argv = [*command(Intent(), str(path), envoy=str(envoy)), "--mode", "validate"]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("protocol", ["tcp", "http"])
@pytest.mark.parametrize("ipv6", [True, False])
def test_envoy_accepts_it(protocol: Protocol, ipv6: bool, tmp_path: Path) -> None:
    """Envoy itself finds the configuration of both modes valid, without a warning."""
    done = _validate(bootstrap(Intent(protocol=protocol), ipv6=ipv6), tmp_path)
    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize(("name", "port"), [("virtualOutbound", 15001), ("virtualInbound", 15006)])
def test_direct_dials_end_in_the_black_hole(name: str, port: int) -> None:
    """A connection whose destination is the listener's own port goes to the cluster without endpoints."""
    chain = _listener(bootstrap(Intent()), name)["filter_chains"][0]
    assert {"destination_port": port} == chain["filter_chain_match"]
    assert "BlackHoleCluster" == chain["filters"][0]["typed_config"]["cluster"]


def test_inbound_leg_comes_from_the_address_that_the_rules_let_pass() -> None:
    """Connections to the application are bound to the intent's addresses, those to elsewhere are not."""
    clusters = {c["name"]: c for c in bootstrap(Intent())["static_resources"]["clusters"]}
    bind = clusters["InboundPassthroughCluster"]["upstream_bind_config"]
    assert {"address": "127.0.0.6", "port_value": 0} == bind["source_address"]
    assert [{"address": {"address": "::6", "port_value": 0}}] == bind["extra_source_addresses"]
    assert "upstream_bind_config" not in clusters["PassthroughCluster"]


def test_command_runs_one_worker_without_hot_restart() -> None:
    """The command line has the intent's number of workers and shares nothing with other pods."""
    expected = "envoy --concurrency 1 --disable-hot-restart --log-level warning -c /etc/envoy.json".split()
    assert tuple(expected) == command(Intent(), "/etc/envoy.json")


def test_command_without_a_file_holds_the_configuration() -> None:
    """Without a path the configuration itself is in the command line."""
    *_, flag, config = command(Intent(), ipv6=False)
    assert ("--config-yaml", bootstrap(Intent(), ipv6=False)) == (flag, json.loads(config))


def test_chosen_binary_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIDELAB_ENVOY decides which binary is used."""
    binary = tmp_path / "envoy"
    binary.write_text("")
    binary.chmod(0o755)
    monkeypatch.setenv("SIDELAB_ENVOY", str(binary))
    assert binary == find_envoy()


def test_chosen_binary_must_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIDELAB_ENVOY that names no executable file is an error, not a search elsewhere."""
    monkeypatch.setenv("SIDELAB_ENVOY", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="SIDELAB_ENVOY"):
        find_envoy()
