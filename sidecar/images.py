"""What stands in for Istio's image: istio-init becomes rules in the kernel, istio-proxy the bundled proxy or Envoy."""

from functools import partial

from lab.errors import InputError
from lab.manifest import Container, Pod
from lab.program import Command, Hook, Program, Registry, Standin
from sidecar import envoy, inject, podrules
from sidecar.intent import ENVIRONMENT, Intent, Protocol
from sidecar.rules import Options, Ruleset, tools

_INIT_PRELOAD = ("sidecar.rules.init", "lab.localroutes")
_PRELOAD = ("sidecar.proxy.main",)


def _program(pod: Pod, container: Container) -> Program:
    match container.args[:1]:
        case ("istio-iptables",):
            return _init(pod, container)
        case ("proxy",):
            return _proxy(pod)
        case _:
            raise InputError(
                f"pod {pod.name}: container {container.name}: {container.image} is known here as `istio-iptables …` "
                "and `proxy sidecar`: give one of them in `args`"
            )


def _init(pod: Pod, container: Container) -> Program:
    """Return istio-init: a call for the way over netlink, and for those that run a tool a process that may wait."""
    rules = podrules.of_container(pod, container)
    if rules.way != "nft":
        tools.require(rules.way, rules.ruleset)
    elif not rules.options.dry_run:  # which prints, and so wants a log
        return Hook(partial(apply_rules, rules.ruleset, rules.options))
    return Standin("sidecar.rules.init:main", args=(rules.way, *rules.arguments), preload=_INIT_PRELOAD)


def apply_rules(ruleset: Ruleset, options: Options) -> None:
    """Load `ruleset` over netlink into the network namespace that the caller is in, and what goes with it.

    Raises `MachineError` for what the kernel lacks, `PodError` for what it refuses.
    """
    from sidecar.rules import ways  # noqa: PLC0415  # only the supervisor speaks to the kernel

    ways.apply(ruleset, "nft", options)


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
