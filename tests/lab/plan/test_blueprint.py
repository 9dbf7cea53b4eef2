from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidelab.lab.base.incidents import Incidents
from sidelab.lab.base.loop import Loop
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import load
from sidelab.lab.plan.blueprint import Blueprint, PodPlan, Process, draw
from sidelab.lab.plan.registry import Command, Hook, Registry, Standin, image_name
from sidelab.lab.runtime.logfile import Logs, Shelf
from sidelab.lab.runtime.pod_services import Host
from sidelab.lab.runtime.spawner import ProcessPlace, Spawner
from sidelab.lab.standins.standin_images import IMAGES

Draw = Callable[..., Blueprint]

REGISTRY = IMAGES + Registry((("hooked", lambda _pod, _container: Hook(lambda: None)),))


@pytest.fixture(name="draw_pod")
def _draw_pod(tmp_path: Path) -> Draw:
    def draw_pod(container: str, rest: str = "", name: str = "pod") -> Blueprint:
        path = tmp_path / "pod.yaml"
        image = "" if "image: " in container else ", image: any"
        path.write_text(
            f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop}}\n"
            f"spec: {{{rest} containers: [{{name: main, {container}{image}}}]}}\n"
        )
        return draw(load([str(path)]), REGISTRY)

    return draw_pod


def _process(blueprint: Blueprint) -> Process:
    run = blueprint.pods[0].containers[0].run
    assert isinstance(run, Process)
    return run


def test_variables_are_expanded_as_kubernetes_does(draw_pod: Draw):
    """Earlier variables are known, later and unknown ones stay as written, and `$$` is a dollar."""
    process = _process(
        draw_pod(
            "command: [run, $(B), $(NOBODY), $$(A), a$(A)b$(A)],"
            "env: [{name: A, value: '1'}, {name: B, value: $(A)2$(C)}, {name: C, value: '3'}]"
        )
    )
    env = dict(process.env)
    assert ("1", "12$(C)", "3") == (env["A"], env["B"], env["C"])
    assert Command(("run", "12$(C)", "$(NOBODY)", "$(A)", "a1b1")) == process.program


def test_variables_can_be_taken_from_the_pod(draw_pod: Draw):
    """Name, namespace, service account and address, by fieldRef."""
    fields = ("metadata.name", "metadata.namespace", "spec.serviceAccountName", "status.podIP")
    env = ", ".join(
        f"{{name: V{number}, valueFrom: {{fieldRef: {{fieldPath: {field}}}}}}}" for number, field in enumerate(fields)
    )
    found = dict(_process(draw_pod(f"command: [run], env: [{env}]")).env)
    assert ("pod", "shop", "default", "10.244.0.2") == tuple(found[f"V{number}"] for number in range(4))


def test_a_program_gets_a_plain_environment(draw_pod: Draw):
    """What our own environment holds stays ours."""
    assert {"PATH", "HOME", "HOSTNAME"} == dict(_process(draw_pod("command: [run]")).env).keys()


@pytest.mark.parametrize(
    ("rest", "context", "uid", "gid"),
    [
        ("", "", 0, 0),
        ("securityContext: {runAsUser: 7, runAsGroup: 8},", "", 7, 8),
        ("securityContext: {runAsUser: 7, runAsGroup: 8},", "securityContext: {runAsUser: 9},", 9, 8),
        ("securityContext: {runAsUser: 7},", "securityContext: {runAsUser: 0, runAsGroup: 5},", 0, 5),
    ],
)
def test_the_user_is_the_containers_then_the_pods_then_root(
    draw_pod: Draw, rest: str, context: str, uid: int, gid: int
):
    """Each of uid and gid is looked for by itself; 0 in a container is a choice, not a gap."""
    process = _process(draw_pod(f"{context} command: [run]", rest))
    assert (uid, gid) == (process.uid, process.gid)


def test_capabilities_are_those_that_are_named(draw_pod: Draw):
    """None by default; a name that is none is refused with where it stands."""
    added = "securityContext: {capabilities: {add: [%s]}}, command: [run]"
    assert ((), ("NET_ADMIN", "NET_RAW")) == (
        _process(draw_pod("command: [run]")).capabilities,
        _process(draw_pod(added % "NET_ADMIN, NET_RAW")).capabilities,
    )
    with pytest.raises(InputError, match=r"container main: securityContext\.capabilities\.add: 'NET_ADMEN'"):
        draw_pod(added % "NET_ADMEN")


def test_a_host_name_is_cut_to_what_a_host_may_be_called(draw_pod: Draw):
    """63 characters, not ending in a dot or dash."""
    assert draw_pod("command: [run]", name="a" * 60 + ".b.c").pods[0].hostname == "a" * 60 + ".b"
    assert draw_pod("command: [run]", name="a" * 62 + "." + "b" * 5).pods[0].hostname == "a" * 62


def test_a_command_wins_over_a_stand_in(draw_pod: Draw):
    """An image that has a stand-in is not looked at where the container has its own command."""
    command = _process(draw_pod("command: [run, it], args: [now]", "initContainers: [{name: i, image: nginx}],"))
    assert Command(("run", "it", "now")) == command.program


def test_an_unknown_image_without_a_command_is_refused_with_those_there_are(draw_pod: Draw):
    """The message names pod, container and image, and lists every pattern."""
    with pytest.raises(InputError) as refusal:
        draw_pod("workingDir: /tmp")
    assert "pod pod: container main: no stand-in for image 'any'" in str(refusal.value)
    assert ", ".join(REGISTRY) in str(refusal.value)


def test_fork_servers_are_one_for_each_set_of_modules(draw_pod: Draw):
    """The empty set, for commands, is always there; stand-ins that import the same share one."""
    blueprint = draw_pod("command: [run]", "initContainers: [{name: i, image: nginx}, {name: j, image: curl}],")
    runs = [each.run for each in blueprint.pods[0].init]
    preloads = {run.program.preload for run in runs if isinstance(run, Process) and isinstance(run.program, Standin)}
    assert {(), *preloads} == set(blueprint.preloads)
    assert len(blueprint.preloads) == 2


def test_what_is_asked_has_its_address(draw_pod: Draw):
    """Host and port by number: the pod's address unless the manifest names another; a command has none."""
    (pod,) = draw_pod(
        "image: nginx, ports: [{name: http, containerPort: 80}], readinessProbe: {httpGet: {port: http}}, "
        "startupProbe: {tcpSocket: {port: 81, host: 192.0.2.1}}, livenessProbe: {grpc: {port: 9}}, "
        "lifecycle: {postStart: {exec: {command: [a]}}, preStop: {httpGet: {port: http}}}",
    ).pods
    (main,) = pod.containers
    asked = (main.startup, main.liveness, main.readiness)
    assert [("192.0.2.1", 81), (pod.address.ipv4, 9), (pod.address.ipv4, 80)] == [
        each.check.address for each in asked if each is not None
    ]
    assert [("", 0), (pod.address.ipv4, 80)] == [
        each.address for each in (main.post_start, main.pre_stop) if each is not None
    ]


def test_a_hook_by_tcp_is_refused(draw_pod: Draw):
    """The manifest may hold it, for what rewrites it; nothing carries it out."""
    with pytest.raises(InputError, match=r"container main: lifecycle\.postStart\.tcpSocket: Kubernetes accepts it"):
        draw_pod("command: [run], lifecycle: {postStart: {tcpSocket: {port: 80}}}")


@pytest.mark.parametrize(
    ("rest", "container"),
    [
        ("", "image: hooked"),
        ("initContainers: [{name: c, image: hooked, restartPolicy: Always}],", "command: [run]"),
    ],
)
def test_what_ends_when_its_work_is_done_is_an_ordinary_init_container(draw_pod: Draw, rest: str, container: str):
    """It has no process that could go on running."""
    with pytest.raises(InputError, match="make it an ordinary init container"):
        draw_pod(container, rest)


def test_a_deployments_pods_are_drawn_behind_the_others(tmp_path: Path):
    """So that adding one moves no other pod's address; each has an address of its own."""
    path = tmp_path / "web.yaml"
    path.write_text(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n"
        "spec:\n  replicas: 2\n  selector: {matchLabels: {app: web}}\n"
        "  template: {metadata: {labels: {app: web}}, spec: {containers: [{name: c, image: nginx}]}}\n"
        "---\napiVersion: v1\nkind: Pod\nmetadata: {name: own}\nspec: {containers: [{name: c, image: nginx}]}\n"
    )
    pods = draw(load([str(path)]), REGISTRY).pods
    assert [(pod.key[1], pod.address.ipv4) for pod in pods] == [
        ("own", "10.244.0.2"),
        ("web-1", "10.244.0.3"),
        ("web-2", "10.244.0.4"),
    ]


@pytest.mark.parametrize(
    ("program", "files", "stranger"),
    [
        (Command(("run",)), True, True),
        (Standin("a:b"), False, False),
        (Standin("a:b", files=True), True, False),
        (Standin("a:b", files=True, starts=("run",)), True, True),
    ],
)
def test_who_sees_the_pods_own_files_and_is_kept_apart(program: Command | Standin, files: bool, stranger: bool):
    """Programs of the host always, stand-ins where they ask for files, or start such a program."""
    asked: list[tuple[bool, bool]] = []

    def place(
        _pod: PodPlan, *, files: bool, stranger: bool, beside: int | None, words: Sequence[str]
    ) -> AbstractContextManager[ProcessPlace]:
        assert words == ()
        asked.append((files, stranger))
        return nullcontext(ProcessPlace("", 0, beside))

    class Deaf:
        def spawn(self, *_: object, **__: object) -> None:
            """Start nothing."""

    host = Host(
        Loop(),
        {(): cast("Spawner", Deaf())},
        lambda _: nullcontext(),
        place,
        Logs(1, cast("Shelf", Deaf())),
        Incidents(),
    )
    host.spawn(cast("PodPlan", None), Process(program, 0, 0, ()), lambda _what, _value: None)
    assert [(files, stranger)] == asked
    host.loop.close()


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("nginx", "nginx"),
        ("nginx:1.27", "nginx"),
        ("nginx@sha256:0123", "nginx"),
        ("library/nginx", "nginx"),
        ("docker.io/library/nginx:1.27-alpine", "nginx"),
        ("docker.io/istio/proxyv2:1.24.0", "istio/proxyv2"),
        ("localhost/curlimages/curl", "curlimages/curl"),
        ("localhost:5000/nginx", "nginx"),
        ("registry.example:5000/team/nginx:v1@sha256:0123", "team/nginx"),
        ("curlimages/curl:8.10.1", "curlimages/curl"),
    ],
)
def test_an_image_is_known_by_its_repository(reference: str, name: str):
    """Registry host, port, tag and digest don't count."""
    assert name == image_name(reference)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["", "docker.io/", "localhost/", "a.b:80/"]),
    st.from_regex(r"[a-z0-9]{1,8}(/[a-z0-9]{1,8})?", fullmatch=True),
    st.sampled_from(["", ":1.0", "@sha256:00", ":v1@sha256:00"]),
)
def test_what_surrounds_a_repository_never_matters(host: str, repository: str, rest: str):
    """The same repository gives the same name from anywhere, in any version."""
    wanted = repository.removeprefix("localhost/").removeprefix("library/")
    assert wanted == image_name(host + repository + rest)
