"""Image names that lab itself has a program for: the web server and the client of the examples.

Each is a stand-in unless the real program is asked for.
"""

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Container, Pod
from sidelab.lab.plan.registry import Program, Registry, Standin
from sidelab.lab.standins import real_nginx
from sidelab.lab.standins.nginx_answers import DELAY

STANDIN, REAL = CHOICES = ("standin", "real")

_PRELOAD = ("sidelab.lab.standins.client_pod", "sidelab.lab.standins.nginx")
_CLIENT = Standin("sidelab.lab.standins.client_pod:main", preload=_PRELOAD)
_NGINX = Standin("sidelab.lab.standins.nginx:main", preload=_PRELOAD)
_LATE_NGINX = Standin("sidelab.lab.standins.nginx:main", preload=(*_PRELOAD, "sidelab.lab.standins.spin"))
_HAS_REAL = ("nginx",)
"""The images for which this machine may have the real program."""


def _client(_pod: Pod, _container: Container) -> Program:
    return _CLIENT


def _nginx(_pod: Pod, container: Container) -> Program:
    """Return it with all that it may need imported: a pod's user may not read our files."""
    return _LATE_NGINX if any(each.name == DELAY for each in container.env) else _NGINX


def _real_nginx(_pod: Pod, container: Container) -> Program:
    return real_nginx.nginx([each.container_port for each in container.ports if each.protocol == "TCP"] or [80])


_CLIENTS = (("curlimages/curl", _client), ("curl*", _client), ("busybox", _client))

IMAGES = Registry((("nginx*", _nginx), *_CLIENTS))
"""Stand-ins only."""


def chosen(choice: str) -> Registry:
    """Return the programs for `choice`: `standin`, `real`, or a list for each image such as `nginx=real`.

    Raises `InputError` for a word that is neither, `MachineError` where the real program is not installed.
    """
    words = dict.fromkeys(_HAS_REAL, STANDIN)
    for part in choice.split(","):
        image, equals, word = part.strip().rpartition("=")
        if word not in CHOICES or (equals and image not in words):
            raise InputError(
                f"--images: {part.strip()!r} is not accepted: give `standin`, `real`, or one of "
                f"{', '.join(f'{name}={word}' for name in words for word in CHOICES)}"
            )
        words |= {image: word} if equals else dict.fromkeys(words, word)
    if words["nginx"] == STANDIN:
        return IMAGES
    real_nginx.find()
    return Registry((("nginx*", _real_nginx), *_CLIENTS))


def programs(choice: str) -> dict[str, str]:
    """Return what runs for each image that has a choice, for the record: `{"nginx": "nginx 1.22.1"}`, or a stand-in."""
    return {"nginx": "sidelab's stand-in" if chosen(choice) is IMAGES else f"nginx {real_nginx.version()}"}
