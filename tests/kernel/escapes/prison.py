"""Labs for attackers: the attacking pods, the other pods, and what is sent along."""

import base64
import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from escapes.attempt import Targets
from escapes.canaries import new_secret

_HERE = Path(__file__).parent
_PROGRAM = ("__init__", "__main__", "attempt", "files", "ipc", "kernel", "network", "processes", "spaces")
_UNPACK = (
    "import base64, runpy, sys\n"
    "with open('/tmp/escapes.zip', 'wb') as file: file.write(base64.b64decode(sys.argv.pop(1)))\n"
    "sys.path.insert(0, '/tmp/escapes.zip')\n"
    "runpy.run_module('escapes', run_name='__main__')\n"
)
COLLECTS = 7000
"""The port at which a victim collects attackers' reports."""
_DONE = 7777
FOREIGN_PORT = 7001
"""The port at which the victim of another lab serves its secret; in the attackers' lab nothing listens there."""


def variants(capabilities: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return security contexts to attack with, by name: users, and each of `capabilities` alone and together."""
    everything = {"capabilities": {"add": list(capabilities)}}
    users = {f"uid-{uid}": {"runAsUser": uid} for uid in (1000, 1337, 65534)}
    alone = {each.lower().replace("_", "-"): {"capabilities": {"add": [each]}} for each in capabilities}
    return {
        "plain": {},
        "meshed": {},
        **users,
        "everything": everything,
        "uid-1000-everything": {"runAsUser": 1000, **everything},
        **alone,
    }


def program() -> bytes:
    """Return the attackers' program as a zip file that Python runs."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in _PROGRAM:
            archive.write(_HERE / f"{name}.py", f"escapes/{name}.py")
    return packed.getvalue()


def victim(name: str, targets: Targets, ports: Iterable[int] = ()) -> dict[str, object]:
    """Return a pod that has something to lose; it gives its secret away at `ports`."""
    secret = new_secret()
    # A pod uses the host's abstract name, in its own network.
    words = [secret, str(targets.ipc_key), f"{targets.queue}", targets.key, f"{name}-{targets.key}", "10.244.0.3"]
    command = ["python3", "-c", (_HERE / "victim.py").read_text(), *words, *map(str, ports)]
    container = {"name": "main", "image": "any", "command": command, "env": [{"name": "SECRET", "value": secret}]}
    return _pod(name, container)


def prison(targets: Targets, attackers: Mapping[str, dict[str, object]]) -> list[dict[str, object]]:
    """Return the pods of a lab of attackers: a victim, which collects reports, a stand-in, an attacker per variant.

    The attacker `meshed` is an application beside a sidecar. An attacker is ready when it has made its attempts.
    """
    sent = base64.b64encode(program()).decode()
    told = json.dumps(asdict(targets))
    pods = [victim("victim", targets), _pod("web", {"name": "web", "image": "nginx"})]
    for name, context in attackers.items():
        command = ["python3", "-c", _UNPACK, sent, name, told, "10.244.0.2", str(COLLECTS)]
        container = {
            "name": "main",
            "image": "any",
            "command": command,
            "securityContext": context,
            "readinessProbe": {"tcpSocket": {"port": _DONE}, "periodSeconds": 1, "failureThreshold": 100},
        }
        pods.append(_pod(name, container, {"sidecar.istio.io/inject": "true"} if name == "meshed" else {}))
    return pods


def written(pods: Sequence[Mapping[str, object]]) -> str:
    """Return a manifest of pods as text."""
    return "---\n".join(f"{json.dumps(each)}\n" for each in pods)


def _pod(name: str, container: dict[str, object], labels: Mapping[str, str] = {}) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels)},
        "spec": {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 0},
    }
