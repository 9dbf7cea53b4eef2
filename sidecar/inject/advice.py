"""Warns of settings in a manifest that have no effect on a sidecar or conflict with it: istioctl's and ours. Pure.

Sources: istio.io/docs/reference/config/analysis (IST0107, IST0108, IST0144); …/annotations.
"""

from collections.abc import Iterator, Mapping

from sidelab.lab.manifest import Deployment, Manifest
from sidelab.sidecar.config import annotations as table
from sidelab.sidecar.config import injected_names, proxyconfig
from sidelab.sidecar.config.choices import read
from sidelab.sidecar.inject.whole_manifest import Candidate, Selection, candidates


def warnings(manifest: Manifest) -> list[str]:
    """Return a sentence for each doubt about pods' sidecars, with the pods concerned.

    The manifest may be injected or not. Raises `InputError` for annotations that are wrong.
    """
    selection = Selection(manifest)
    said: dict[str, list[str]] = {}
    for each in candidates(manifest):
        if each.injected or selection.asks(each):
            for sentence in _doubts(each):
                said.setdefault(sentence, []).append(each.title)
    for deployment in manifest.deployments:
        for sentence in _misplaced(deployment):
            said.setdefault(sentence, []).append(f"deployment {deployment.name}")
    return [f"{_titles(titles)}: {sentence}" for sentence, titles in said.items()]


def _misplaced(deployment: Deployment) -> Iterator[str]:
    """Yield annotations for pods that stand on the Deployment instead of its template (IST0107)."""
    metadata = deployment.metadata
    found = [f"annotation {name}" for name in metadata.annotations if name.startswith(table.PREFIXES_OF_PODS)]
    if table.INJECT.name in metadata.labels:
        found.append(f"label {table.INJECT.name}")
    for what in found:
        yield f"{what} has no effect on a Deployment: put it into spec.template.metadata"


def _titles(titles: list[str]) -> str:
    return f"{titles[0]} and {len(titles) - 1} more" if titles[1:] else titles[0]


def _doubts(candidate: Candidate) -> Iterator[str]:
    if not candidate.injected and candidate.occupied:
        yield (
            f"it has a container called {injected_names.PROXY_NAME} or {injected_names.INIT_NAME} of its own, so it is "
            "not injected: rename the container"
        )
        return
    choices = read(candidate.title, candidate.metadata.annotations)
    yield from (f"annotation {table.CONFIG.name}: {each}" for each in choices.config.warnings)
    if choices.config.hold and choices.native:
        name = table.CONFIG.name
        yield f"annotation {name}: {proxyconfig.HOLD} has no effect with a native sidecar, which starts first"
    yield from _annotations(candidate.metadata.annotations)
    if choices.proxied:
        yield from _containers(candidate)


def _annotations(said: Mapping[str, str]) -> Iterator[str]:
    for name in said:
        if name in table.WITHOUT_EFFECT:
            yield f"annotation {name} has no effect here"
        elif name.startswith(table.PREFIXES) and name not in table.TABLE:
            # Needed only for this message, and it would slow down every start.
            from difflib import get_close_matches  # noqa: PLC0415  see the line above

            near = get_close_matches(name, table.TABLE, n=1, cutoff=0.9)
            hint = f": did you mean {near[0]}?" if near else ""
            yield f"annotation {name} is unknown, and so has no effect{hint}"


def _containers(candidate: Candidate) -> Iterator[str]:
    spec = candidate.spec
    for each in spec.containers:
        if each.name == injected_names.PROXY_NAME:
            continue
        for field, what in (("run_as_user", "user"), ("run_as_group", "group")):
            own = getattr(each.security_context, field)
            if (getattr(spec.security_context, field) if own is None else own) == injected_names.PROXY_UID:
                yield (
                    f"container {each.name} runs as {what} {injected_names.PROXY_UID}, which is the proxy's: "
                    "its connections bypass the sidecar; give it another (IST0144)"
                )
        for port in each.ports:
            if port.container_port in injected_names.SIDECAR_PORTS:
                yield (
                    f"container {each.name}: port {port.container_port} is the sidecar's "
                    f"({injected_names.SIDECAR_PORTS[port.container_port]}): let the application listen on another"
                )
