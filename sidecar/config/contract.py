"""The contract between the agent and a proxy: how any program becomes a sidecar. docs/proxy-contract.md is its text.

It has what both ends share: the path of the intent's file, and the command line that follows from a pod's annotations.
`python -m sidelab.sidecar.config.contract` prints the intent's JSON schema. It depends on no particular proxy.
"""

import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sidelab.lab.errors import InputError
from sidelab.sidecar.config import proxy_annotations
from sidelab.sidecar.config.intent import Intent

HOME = "/run/istio"
"""The proxy's working directory: the agent creates it, and both may write there."""

INTENT = f"{HOME}/intent.json"
"""The intent's file: always complete when it is opened, because a new one is renamed over it."""

UID = 1337
"""User and group id of agent and proxy; the rules let their connections pass. With TPROXY it is only the group id."""

READY_PATH = "/healthz/ready"
"""The path that answers 200 on the intent's health port once the proxy serves."""

BUNDLED, ENVOY = "sidelab-proxy", "sidelab-envoy"
"""The first words of the command lines of sidelab's own proxies; the agent forks them from itself."""

ENTRIES: Mapping[str, str] = {BUNDLED: "sidelab.sidecar.proxy.main:run", ENVOY: "sidelab.sidecar.envoy.main:run"}
"""The `module:function` that a forked proxy calls with its command line; it returns when the proxy has ended."""

_CHOICES = {"bundled": BUNDLED, "envoy": ENVOY}


def command(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command line, without `--intent`, of the proxy that a pod's annotations choose.

    Raises `InputError` for an annotation that is wrong, and for `none`, which has no command line.
    """
    choice = proxy_annotations.PROXY.read(annotations)
    if choice == "none":
        raise InputError(
            f"annotation {proxy_annotations.PROXY.name}: a pod whose proxy is 'none' has no container for one: remove "
            "the annotation or the container"
        )
    program = _CHOICES.get(choice, choice)
    binary = proxy_annotations.ENVOY.given(annotations) if program == ENVOY else None
    chosen = (program,) if binary is None else (program, "--envoy", binary)
    return (*chosen, *proxy_annotations.PROXY_ARGS.read(annotations))


def full_command(proxy: Sequence[str], intent: str = INTENT) -> tuple[str, ...]:
    """Return the command line of `proxy` with `--intent`."""
    return (*proxy, "--intent", intent)


def intent_path(argv: Sequence[str]) -> str:
    """Return the value of `--intent` in a command line of the contract; other words are the proxy's own.

    Raises `InputError` if it is missing.
    """
    for word, value in itertools.pairwise(argv):
        if word == "--intent":
            return value
    raise InputError(f"{argv[0] if argv else 'proxy'}: no --intent PATH is given: give the file of an intent")


def schema() -> dict[str, Any]:
    """Return the intent's JSON schema (2020-12)."""
    return msgspec.json.schema(Intent)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(schema())).decode() + "\n")
