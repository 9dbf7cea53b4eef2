"""The intent's file: made from what the pod can read about itself and the cluster, and written when it changes.

It only touches files: it starts no process and notifies none.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from sidelab.lab.base.replace_file import replace_file
from sidelab.lab.cluster.podinfo import OBJECTS, PODINFO, PodInfo, PodObjects
from sidelab.lab.cluster.state import STATE, State
from sidelab.lab.errors import PodError
from sidelab.sidecar.config import compute
from sidelab.sidecar.config.agent_settings import Settings
from sidelab.sidecar.config.contract import HOME, INTENT
from sidelab.sidecar.config.intent import Intent

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Paths:
    """The paths of files; only tests use others than the defaults."""

    home: str = HOME
    intent: str = INTENT
    state: str = STATE
    podinfo: str = PODINFO
    objects: str = OBJECTS


class Delivery:
    """Holds the last delivered intent and delivers the next; `generation` is that of the newest file read for it."""

    def __init__(self, paths: Paths, settings: Settings) -> None:
        """Deliver the first intent.

        Raises `InputError` for an annotation that is wrong, `PodError` if a file cannot be read or written.
        """
        self._paths = paths
        self._settings = settings
        self.count = 0
        self.state = State()
        self.objects = PodObjects()
        try:
            Path(paths.home).mkdir(0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise PodError(f"{paths.home}: {error.strerror}: let nothing else in the pod use this path") from error
        self.pod = _read(paths.podinfo, _PODINFO)
        self.intent = self._wished()
        self._write()
        self.generation = self._read_generation()

    def renew(self) -> bool:
        """Read the files again and deliver the intent if it has changed; returns whether it has.

        Raises what the constructor raises; then the last intent stays in force.
        """
        self.pod = _read(self._paths.podinfo, _PODINFO)
        intent = self._wished()
        renewed = intent != self.intent
        if renewed:
            self.intent = intent
            self._write()
        self.generation = self._read_generation()
        return renewed

    def _wished(self) -> Intent:
        self.state = _read(self._paths.state, _STATE)
        self.objects = _read(self._paths.objects, _OBJECTS) if Path(self._paths.objects).exists() else PodObjects()
        return compute.intent(self.pod, self._settings.ports, self.state, self._settings.base)

    def _read_generation(self) -> int:
        return max(self.state.generation, self.objects.generation)

    def _write(self) -> None:
        """Replace the file; any user may read it, because the proxy may run as any."""
        path = self._paths.intent
        try:
            replace_file(Path(path), self.intent.to_json().encode(), mode=0o644)
        except OSError as error:
            raise PodError(f"{path}: {error.strerror}: let nothing else in the pod use {self._paths.home}") from error
        self.count += 1


def _read(path: str, decoder: "msgspec.json.Decoder[_Value]") -> _Value:
    try:
        return decoder.decode(Path(path).read_bytes())
    except OSError as error:
        raise PodError(f"{path}: {error.strerror}: an agent runs in a pod of a lab, which has this file") from error
    except msgspec.DecodeError as error:
        raise PodError(f"{path}: {error}: the lab and the agent must be of one version") from error


_PODINFO = msgspec.json.Decoder(PodInfo)
_OBJECTS = msgspec.json.Decoder(PodObjects)
_STATE = msgspec.json.Decoder(State)
