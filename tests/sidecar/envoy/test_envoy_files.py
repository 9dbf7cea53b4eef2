import json
import os
from pathlib import Path

from sidelab.sidecar.config.intent import InboundPort, Intent, IntentEndpoint, IntentService, IntentServicePort
from sidelab.sidecar.envoy.configuration.config_files import BOOTSTRAP, dynamic, initial, publish


def services(*ports: int, endpoint: int = 80) -> tuple[IntentService, ...]:
    """Return a Service of HTTP for each port."""
    endpoints = (IntentEndpoint(address="10.244.0.9", port=endpoint),)
    return tuple(
        IntentService(
            host=f"web{port}.default.svc.cluster.local",
            addresses=("10.96.0.5",),
            ports=(IntentServicePort(port=port, protocol="http", endpoints=endpoints),),
        )
        for port in ports
    )


def write(folder: Path, intent: Intent) -> list[str]:
    """Publish the part that changes."""
    return publish(folder, dynamic(intent, ipv6=False))


def test_what_refers_to_others_is_written_after_them(tmp_path: Path) -> None:
    """Clusters come before listeners, and the bootstrap last."""
    assert ["cds.json", "lds.json", BOOTSTRAP] == list(initial(Intent(), str(tmp_path), ipv6=False))


def test_the_bootstrap_names_files_of_the_folder(tmp_path: Path) -> None:
    """Listeners and clusters are read from two files: each costs an inotify instance, of which a user has few."""
    publish(tmp_path, initial(Intent(services=services(8080, 9090)), str(tmp_path), ipv6=False))
    dynamic_ = json.loads((tmp_path / BOOTSTRAP).read_text())["dynamic_resources"]
    paths = {name: Path(source["path_config_source"]["path"]) for name, source in dynamic_.items()}
    assert {"lds_config": tmp_path / "lds.json", "cds_config": tmp_path / "cds.json"} == paths


def test_new_endpoints_touch_no_listener(tmp_path: Path) -> None:
    """A change of endpoints replaces the clusters alone, so connections stay; and the same again replaces nothing."""
    write(tmp_path, Intent(services=services(8080)))
    changed = Intent(services=services(8080, endpoint=81))
    assert ["cds.json"] == write(tmp_path, changed)
    assert [] == write(tmp_path, changed)


def test_files_are_replaced_and_readable(tmp_path: Path) -> None:
    """A changed file is another one in its place, readable by all whatever the umask is."""
    before = os.umask(0o077)
    try:
        write(tmp_path, Intent())
        first = (tmp_path / "lds.json").stat()
        assert ["cds.json", "lds.json"] == write(tmp_path, Intent(inbound=(InboundPort(port=80),)))
    finally:
        os.umask(before)
    second = (tmp_path / "lds.json").stat()
    assert first.st_ino != second.st_ino
    assert 0o644 == second.st_mode & 0o777


def test_every_file_says_its_version(tmp_path: Path) -> None:
    """Files of one content have one version, and others another: the admin page shows which is in use."""
    versions = [
        json.loads(dynamic(Intent(services=services(*ports)), ipv6=False)["cds.json"])["version_info"]
        for ports in ((80,), (80,), (81,))
    ]
    assert (versions[0], True) == (versions[1], versions[1] != versions[2])
