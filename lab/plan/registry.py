"""What a container runs: an image name is looked up in a registry, and the answer is one of three programs.

The registry is data passed in by the command line: `lab` knows its own stand-ins, packages that import `lab` add more.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

from sidelab.lab.errors import InputError

if TYPE_CHECKING:
    from sidelab.lab.manifest import Container, Pod


class Context(Protocol):
    """What the fork server passes to a stand-in, after it has entered its pod and dropped to its uid."""

    args: tuple[str, ...]
    env: Mapping[str, str]

    def ready(self) -> None:
        """Tell the supervisor that the container serves; called once."""


@dataclass(frozen=True)
class Standin:
    """A Python function run in a forked child: `entry` is `module:function`, called with a `Context`.

    `preload` names the modules that the fork server imports beforehand; stand-ins with equal `preload` share a server.
    With `files` it sees the pod's own mounts, else the same file system as the fork server. `programs` are the image's
    other programs by name: entries like `entry`. `starts` is the command line of the host's program that it starts
    itself, if any.
    """

    entry: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    preload: tuple[str, ...] = ()
    files: bool = False
    programs: tuple[tuple[str, str], ...] = ()
    starts: tuple[str, ...] = ()

    def runs(self, argv: tuple[str, ...]) -> "Standin | Command":
        """Return what `argv` means in this container: a program that the image has, else one of the host's."""
        entry = dict(self.programs).get(argv[0])
        return Command(argv) if entry is None else replace(self, entry=entry, args=argv[1:])


@dataclass(frozen=True)
class Command:
    """A program of the host's file system, which replaces a forked child by `execve`."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...] = ()

    def runs(self, argv: tuple[str, ...]) -> "Command":
        """Return what `argv` means in this container."""
        return Command(argv)


@dataclass(frozen=True)
class Hook:
    """A function that the supervisor calls while inside the pod's network namespace, for init containers.

    It must not block: it exists so that rules cost microseconds and not a process.
    It raises `SidelabError` to fail the pod.
    """

    call: Callable[[], None]


Program = Standin | Command | Hook
Resolver = Callable[["Pod", "Container"], Program]


@dataclass(frozen=True)
class Registry:
    """Image-name patterns (as in fnmatch, matched against the name without registry host, tag and digest)."""

    images: tuple[tuple[str, Resolver], ...] = field(default=())

    def __add__(self, other: "Registry") -> "Registry":
        return Registry(self.images + other.images)

    def __iter__(self) -> Iterator[str]:
        return (pattern for pattern, _ in self.images)

    def program(self, pod: "Pod", container: "Container") -> Program:
        """Return what `container` runs: its own command, else the stand-in for its image.

        Raises `InputError` for an unknown image without a command.
        """
        if container.command:
            return Command((*container.command, *container.args))
        name = image_name(container.image)
        for pattern, resolve in self.images:
            if fnmatchcase(name, pattern):
                return resolve(pod, container)
        known = ", ".join(self)
        raise InputError(
            f"pod {pod.name}: container {container.name}: no stand-in for image {container.image!r}: "
            f"give the container a `command`, or use one of: {known}"
        )


def image_name(reference: str) -> str:
    """Return the repository path of an image reference without registry host, tag or digest.

    `docker.io/library/nginx:1.27` and `nginx` both give `nginx`; `docker.io/istio/proxyv2` gives `istio/proxyv2`.
    """
    name = reference.split("@", 1)[0]
    head, _, tail = name.rpartition("/")
    name = f"{head}/{tail.split(':', 1)[0]}" if head else tail.split(":", 1)[0]
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    return name.removeprefix("library/")
