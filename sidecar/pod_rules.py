"""The rules that a pod asks for, from its istio-init container and its annotations. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from sidelab.lab.cluster.etc_files import name_servers
from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Container, Pod
from sidelab.sidecar import inject
from sidelab.sidecar.config.annotations import PROFILE, QUIRKS, RULES
from sidelab.sidecar.interception import Options, Ruleset, build
from sidelab.sidecar.interception.options.options import Way


@dataclass(frozen=True)
class PodRules:
    """A pod's rules: istio-iptables' `arguments`, the same as `options`, the way, and the container."""

    container: str
    arguments: tuple[str, ...]
    options: Options
    way: Way

    @property
    def ruleset(self) -> Ruleset:
        """The rules built from the options."""
        return build(self.options)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Options without effect, for this way into the kernel or for any, and surprising effects of Istio's."""
        options, nft = self.options, self.way == "nft"
        found = {
            "--dry-run applies the rules all the same by the way nft, as in Istio: with the annotation "
            f"{QUIRKS.name}: none it does not": nft and options.dry_run and options.quirks == "istio",
            "--reconcile has no effect by the way nft: it replaces its tables whatever is there": nft
            and options.reconcile,
            "--force-apply has no effect by the way nft: it always applies": nft and options.force_apply,
            f"--native-nftables has no effect here: the annotation {RULES.name} chooses the way": (
                options.native_nftables and not nft
            ),
            "--run-validation has no effect here: `sidelab doctor --pod` validates a running pod": (
                options.run_validation
            ),
        }
        return (*options.warnings, *(sentence for sentence, true in found.items() if true))


def of_pod(pod: Pod) -> PodRules | None:
    """Return the rules of `pod`, None if it has no istio-init. Raises what `of_container` raises."""
    container = next(filter(inject.is_istio_init, pod.spec.init_containers), None)
    return None if container is None else of_container(pod, container)


def of_container(pod: Pod, container: Container) -> PodRules:
    """Return the rules of an istio-init container; its pod's annotations choose profile, quirks and way.

    The resolvers, which istio-iptables reads from /etc/resolv.conf, are the pod's. Raises `InputError` naming the
    option or annotation that is wrong.
    """
    annotations = pod.metadata.annotations
    try:
        way = RULES.read(annotations)
    except InputError as error:
        raise InputError(f"pod {pod.name}: {error}") from None
    arguments = (
        *container.args[1:],
        *("--profile", PROFILE.text(annotations)),
        *("--quirks", QUIRKS.text(annotations)),
        *(word for server in name_servers(pod) for word in ("--dns-server", server)),
    )
    try:
        options = _options(arguments, tuple((each.name, each.value) for each in container.env))
    except InputError as error:
        raise InputError(f"pod {pod.name}: container {container.name}: {error}") from error
    return PodRules(container.name, arguments, options, way)


@lru_cache(maxsize=256)
def _options(arguments: tuple[str, ...], env: tuple[tuple[str, str], ...]) -> Options:
    return Options.from_args(arguments, dict(env))


def warnings(pods: Iterable[Pod]) -> list[str]:
    """Return a sentence for each option without effect, with the pods that have it."""
    said: dict[str, list[str]] = {}
    for pod in pods:
        rules = of_pod(pod)
        for sentence in rules.warnings if rules else ():
            said.setdefault(sentence, []).append(pod.name)
    return [
        f"pod {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {sentence}"
        for sentence, names in said.items()
    ]
