"""An agent's settings at its start, made from the pod's manifest and passed in one environment variable."""

from collections.abc import Mapping

import msgspec

from sidelab.lab.errors import InputError
from sidelab.sidecar.config.contract import BUNDLED
from sidelab.sidecar.config.intent import Intent

ENVIRONMENT = "SIDELAB_AGENT"
"""The environment variable that holds `Settings` as JSON."""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a pod's manifest decides and no later change affects.

    `proxy` is the proxy's command line without `--intent`, `ports` the TCP ports that the containers declare, `base`
    the fixed part of the intent. `dns` is true if the pod's rules send DNS to the agent.
    """

    proxy: tuple[str, ...] = (BUNDLED,)
    ports: tuple[int, ...] = ()
    base: Intent = Intent()
    dns: bool = False

    def to_json(self) -> str:
        """Return the value of the environment variable."""
        return msgspec.json.encode(self).decode()

    @staticmethod
    def of(env: Mapping[str, str]) -> "Settings":
        """Read the environment variable; if it is unset, return the defaults. Raises `InputError`."""
        try:
            return _DECODER.decode(env.get(ENVIRONMENT, "{}"))
        except (msgspec.DecodeError, InputError) as error:
            raise InputError(f"{ENVIRONMENT}: {error}: leave it to sidelab to set it") from error


_DECODER = msgspec.json.Decoder(Settings)
