"""What stands in for Istio's image: istio-init becomes rules in the kernel, istio-proxy the bundled proxy or Envoy."""

from functools import partial

from lab.errors import InputError
from lab.manifest import Container, Pod
from lab.program import Command, Hook, Program, Registry, Standin
from sidecar import envoy, inject
from sidecar.intent import ENVIRONMENT, Intent, Protocol
from sidecar.rules import Options, Ruleset, build

_PRELOAD = ("sidecar.proxy.main",)


def _program(pod: Pod, container: Container) -> Program:
    match container.args[:1]:
        case ("istio-iptables",):
            return Hook(partial(apply_rules, ruleset(pod, container)))
        case ("proxy",):
            return _proxy(pod)
        case _:
            raise InputError(
                f"pod {pod.name}: container {container.name}: {container.image} is known here as `istio-iptables …` "
                "and `proxy sidecar`: give one of them in `args`"
            )


def ruleset(pod: Pod, container: Container) -> Ruleset:
    """Return the rules that an istio-init container stands for; its pod's annotation chooses the profile.

    Raises `InputError` naming the option that is wrong.
    """
    profile = pod.metadata.annotations.get(inject.PROFILE, "istio")
    env = {each.name: each.value for each in container.env}
    try:
        return build(Options.from_args((*container.args[1:], "--profile", profile), env))
    except InputError as error:
        raise InputError(f"pod {pod.name}: container {container.name}: {error}") from error


def apply_rules(rules: Ruleset) -> None:
    """Load `rules` into the network namespace that the caller is in, and what goes with them.

    Raises `MachineError` for what the kernel lacks, `PodError` for what it refuses.
    """
    from lab.nftables import open_socket  # noqa: PLC0415  # only the supervisor speaks to the kernel
    from sidecar.rules import kernel  # noqa: PLC0415

    with open_socket() as link:
        kernel.apply(link, rules)


def intent_of(pod: Pod) -> Intent:
    """Return what the pod's proxy must do, from its annotations."""
    protocol: Protocol = "tcp" if pod.metadata.annotations.get(inject.PROTOCOL) == "tcp" else "http"
    return Intent(protocol=protocol)


def _proxy(pod: Pod) -> Program:
    intent = intent_of(pod)
    if pod.metadata.annotations.get(inject.PROXY, "bundled") == "envoy":
        # Without --enable-ipv6 the rules are not IPv6's either, and `::6` is no address of the pod.
        return Command(envoy.command(intent, envoy=str(envoy.find_envoy()), ipv6=False))
    return Standin("sidecar.proxy.main:main", env=((ENVIRONMENT, intent.to_json()),), preload=_PRELOAD)


IMAGES = Registry((("istio/proxyv2", _program),))
