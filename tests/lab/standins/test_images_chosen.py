"""Which program runs for an image: a stand-in, or the real one."""

from pathlib import Path

import pytest
from tools import needs

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Manifest, decode
from sidelab.lab.plan.registry import Command, Standin
from sidelab.lab.standins import standin_images

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  containers:
    - name: nginx
      image: nginx:1.27
      ports: [{containerPort: 80}, {containerPort: 8443}, {containerPort: 53, protocol: UDP}]
    - {name: shell, image: curlimages/curl}
"""
needs_nginx = needs("nginx")


def manifest() -> Manifest:
    """Return the pod above."""
    return decode([("pod.yaml", POD)])


@needs_nginx
def test_the_real_nginx_listens_on_the_tcp_ports_that_its_container_names() -> None:
    """UDP ports are no business of a web server."""
    (pod,) = manifest().pods
    program = standin_images.chosen("real").program(pod, pod.spec.containers[0])
    assert isinstance(program, Command)
    words = program.argv[3].replace("[::]:", "").split("listen ")[1:]
    assert {word.split(";")[0] for word in words} == {"80", "8443"}
    assert Path(program.argv[4]).name == "nginx"


@pytest.mark.parametrize("choice", ["standin", "real,nginx=standin"])
@needs_nginx
def test_the_last_word_about_an_image_counts(choice: str) -> None:
    """`real` chooses for all images, `nginx=standin` for one."""
    (pod,) = manifest().pods
    assert isinstance(standin_images.chosen(choice).program(pod, pod.spec.containers[0]), Standin)


@needs_nginx
def test_clients_are_stand_ins_whatever_is_chosen() -> None:
    """Nothing would be more real about a program that waits."""
    (pod,) = manifest().pods
    assert isinstance(standin_images.chosen("real").program(pod, pod.spec.containers[1]), Standin)


@needs_nginx
def test_the_record_tells_the_version_of_what_ran() -> None:
    """A result without its server's version is no result."""
    assert standin_images.programs("standin") == {"nginx": "sidelab's stand-in"}
    assert standin_images.programs("nginx=real")["nginx"].startswith("nginx 1.")


@pytest.mark.parametrize("choice", ["", "reel", "nginx=apache", "curl=real", "real,"])
def test_a_choice_that_is_none_says_what_there_is(choice: str) -> None:
    """The message lists every word that is accepted."""
    with pytest.raises(InputError, match=r"--images: .*give `standin`, `real`, or one of nginx=standin, nginx=real"):
        standin_images.chosen(choice)
