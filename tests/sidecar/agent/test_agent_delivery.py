"""The intent's file as the agent keeps it, and what it is told when it starts."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from sidelab.lab.cluster.podinfo import PodInfo, PodObjects
from sidelab.lab.cluster.state import PublishedService, State
from sidelab.lab.errors import InputError, PodError
from sidelab.sidecar.agent import file_events
from sidelab.sidecar.agent.delivery import Delivery, Paths
from sidelab.sidecar.config.agent_settings import ENVIRONMENT, Settings
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop

SERVICE = PublishedService(namespace="default", name="web", ipv4="10.96.0.11", ipv6="", ports=(), endpoints=())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Return a pod's files: a pod without annotations in a cluster without Services."""
    found = Paths(
        home=str(tmp_path / "home"),
        intent=str(tmp_path / "home" / "intent.json"),
        state=str(tmp_path / "cluster" / "state.json"),
        podinfo=str(tmp_path / "podinfo" / "pod.json"),
        objects=str(tmp_path / "podinfo" / "objects.json"),
    )
    publish(found.state, State())
    publish(found.podinfo, pod())
    return found


def pod(**annotations: str) -> PodInfo:
    """Return a pod with annotations of sidelab.io."""
    told = {f"sidelab.io/{name}": value for name, value in annotations.items()}
    return PodInfo(
        namespace="default", name="a", service_account="default", ipv4="10.244.0.2", ipv6="", labels={},
        annotations=told,
    )  # fmt: skip


def publish(path: str, value: object) -> None:
    """Rename a file into place, as the lab does."""
    target = Path(path)
    target.parent.mkdir(exist_ok=True)
    (target.parent / "new").write_bytes(msgspec.json.encode(value))
    (target.parent / "new").rename(target)


def delivered(paths: Paths) -> Intent:
    """Return what is in the intent's file."""
    return Intent.from_json(Path(paths.intent).read_bytes())


def test_the_first_intent_is_there_at_once(paths: Paths):
    """The file is complete, readable by all, and alone in the proxy's directory."""
    delivery = Delivery(paths, Settings(ports=(80,)))
    assert delivery.intent == delivered(paths)
    assert ([80], 0o644, ["intent.json"]) == (
        [each.port for each in delivered(paths).inbound],
        Path(paths.intent).stat().st_mode & 0o777,
        [each.name for each in Path(paths.home).iterdir()],
    )


def test_a_new_intent_replaces_the_file(paths: Paths):
    """By rename: whoever has the old one open reads on."""
    delivery = Delivery(paths, Settings())
    publish(paths.state, State(services=(SERVICE,)))
    with Path(paths.intent).open() as before:
        assert delivery.renew()
        assert ((), 1) == (Intent.from_json(before.read()).services, len(delivered(paths).services))
    assert 2 == delivery.count


def test_what_changes_nothing_is_not_delivered(paths: Paths):
    """Another generation of the same cluster leaves the file alone."""
    delivery = Delivery(paths, Settings())
    publish(paths.state, State(generation=7))
    assert (False, 1) == (delivery.renew(), delivery.count)


def test_objects_that_concern_the_pod_are_read_and_their_generation_is_known(paths: Paths):
    """The newest file's counts once it is taken up; with a wrong annotation beside it, it is not."""
    delivery = Delivery(paths, Settings())
    assert (0, ()) == (delivery.generation, delivery.objects.objects)
    publish(paths.objects, PodObjects(generation=5, objects=({"kind": "Gate"},)))
    assert (False, 5, "Gate") == (delivery.renew(), delivery.generation, delivery.objects.objects[0]["kind"])
    publish(paths.state, State(generation=6))
    publish(paths.podinfo, pod(protocol="smoke"))
    with pytest.raises(InputError):
        delivery.renew()
    assert 5 == delivery.generation


def test_a_wrong_annotation_keeps_the_last_intent(paths: Paths):
    """It is an error that names it, and the file stays."""
    delivery = Delivery(paths, Settings())
    publish(paths.podinfo, pod(protocol="smoke"))
    with pytest.raises(InputError, match="smoke"):
        delivery.renew()
    assert "auto" == delivered(paths).protocol


@pytest.mark.parametrize("content", [b"", b"garbage", b"{}", b'{"version": "x"}', b"\xff\xfe"])
def test_garbage_in_the_pods_files_is_an_error_that_names_the_file(paths: Paths, content: bytes):
    """What is no pod is told with its path."""
    Path(paths.podinfo).write_bytes(content)
    with pytest.raises(PodError, match=r"pod\.json"):
        Delivery(paths, Settings())


def test_outside_a_lab_there_is_nothing_to_read(paths: Paths):
    """A missing file is an error that says what it wants."""
    Path(paths.state).unlink()
    with pytest.raises(PodError, match="in a pod of a lab"):
        Delivery(paths, Settings())


def test_a_path_that_is_taken_is_named(paths: Paths):
    """Something else in the pod has made a file of the directory."""
    Path(paths.home).write_text("mine")
    with pytest.raises(PodError, match="let nothing else in the pod use"):
        Delivery(paths, Settings())


def test_settings_survive_their_variable():
    """What the pod's manifest decides arrives as it was, and garbage is named."""
    told = Settings(proxy=("/opt/proxy", "-v"), ports=(80,), base=Intent(mode="tproxy"), dns=True)
    assert told == Settings.of({ENVIRONMENT: told.to_json()})
    assert Settings() == Settings.of({})
    for text in ("{", '{"proxy": 1}', '{"base": {"concurrency": 0}}'):
        with pytest.raises(InputError, match=ENVIRONMENT):
            Settings.of({ENVIRONMENT: text})


@pytest.mark.parametrize("way", ["inotify", "dnotify"])
def test_renamed_files_are_heard_of_in_every_directory(paths: Paths, way: str):
    """By either of the kernel's ways."""
    loop = ProxyLoop()
    heard: list[int] = []
    listen = file_events.watch if way == "inotify" else file_events.by_dnotify
    listened = listen(loop, [str(Path(each).parent) for each in (paths.state, paths.podinfo)], lambda: heard.append(1))
    for path, value in ((paths.state, State()), (paths.podinfo, pod())):
        before = len(heard)
        publish(path, value)
        while len(heard) == before:
            loop.turn(10)
    listened.close()
    loop.close()


def test_without_instances_of_inotify_dnotify_is_used(paths: Paths, monkeypatch: pytest.MonkeyPatch):
    """A thousand agents of one user are more than the kernel grants it by default."""

    def refused(_directory: str) -> SimpleNamespace:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(file_events, "Watch", refused)
    loop = ProxyLoop()
    heard: list[int] = []
    listened = file_events.watch(loop, [str(Path(paths.state).parent)], lambda: heard.append(1))
    publish(paths.state, State(generation=1))
    while not heard:
        loop.turn(10)
    listened.close()
    loop.close()
