"""The stand-ins for Istio's image: istio-init becomes rules in the kernel, istio-proxy an agent and its proxy."""

from functools import partial

from msgspec import structs

from sidelab.lab.errors import InputError
from sidelab.lab.manifest import Container, Pod
from sidelab.lab.plan.registry import Hook, Program, Registry, Standin
from sidelab.sidecar import inject, pod_rules
from sidelab.sidecar.agent.probes.probers import VARIABLE
from sidelab.sidecar.config import contract
from sidelab.sidecar.config.agent_settings import ENVIRONMENT, Settings
from sidelab.sidecar.config.intent import Intent, Ports
from sidelab.sidecar.envoy.find_binary import find_envoy, require_runnable
from sidelab.sidecar.interception import Options, Ruleset
from sidelab.sidecar.interception.apply import tools

_INIT_PRELOAD = ("sidelab.sidecar.interception.apply.init_standin",)
_PROGRAMS = (("pilot-agent", "sidelab.sidecar.agent.pilot_agent:main"),)
_DNS_CAPTURE = "ISTIO_META_DNS_CAPTURE"


def _program(pod: Pod, container: Container) -> Program:
    if inject.is_istio_init(container):
        return _init(pod, container)
    if container.args[:1] == ("proxy",):
        return _proxy(pod, container)
    raise InputError(
        f"pod {pod.name}: container {container.name}: {container.image} is known here as `istio-iptables …` and "
        "`proxy sidecar`: give one of them in `args`"
    )


def _init(pod: Pod, container: Container) -> Program:
    """Return istio-init: a call for the way over netlink, a process, which may block, for those that run a tool."""
    rules = pod_rules.of_container(pod, container)
    if rules.way != "nft":
        tools.require(rules.way, rules.ruleset)
    elif not rules.options.dry_run:  # a dry run prints, and so needs a log
        return Hook(partial(apply_rules, rules.ruleset, rules.options))
    return Standin(
        "sidelab.sidecar.interception.apply.init_standin:main",
        args=(rules.way, *rules.arguments),
        preload=_INIT_PRELOAD,
    )


def apply_rules(ruleset: Ruleset, options: Options) -> None:
    """Load `ruleset`, its routes and its addresses over netlink into the caller's network namespace.

    Raises `MachineError` for what the kernel lacks, `PodError` for what it refuses.
    """
    from sidelab.sidecar.interception.apply import ways  # noqa: PLC0415  # only the supervisor speaks to the kernel

    ways.apply(ruleset, "nft", options)


def settings_of(pod: Pod) -> Settings:
    """Return the settings of the pod's agent. Raises `InputError` for an annotation that is wrong."""
    where = f"pod {pod.name}"
    chosen = inject.choices(where, pod.metadata.annotations)
    rules = pod_rules.of_pod(pod)
    options = rules.options if rules is not None else Options()
    return Settings(
        proxy=_found(contract.command(pod.metadata.annotations), pod),
        ports=tuple(
            port.container_port
            for container in pod.spec.containers
            if container.name != inject.PROXY_NAME
            for port in container.ports
            if port.protocol == "TCP"
        ),
        base=Intent(
            mode="tproxy" if options.interception_mode == "TPROXY" else "redirect",
            ipv6=options.enable_ipv6,
            concurrency=chosen.config.concurrency or 1,
            drain_s=chosen.config.drain_s,
            ports=Ports(
                outbound=options.proxy_port,
                inbound=options.inbound_capture_port,
                agent=chosen.agent_port or Ports().agent,
            ),
        ),
        dns=options.dns_captured,
    )


def _found(command: tuple[str, ...], pod: Pod) -> tuple[str, ...]:
    """Return `command`, in Envoy's case with its binary's path, because a pod's user may not be able to look for it.

    Raises `MachineError` if there is no such Envoy, or none that the sidecar's user may run.
    """
    if command[0] != contract.ENVOY:
        return command
    program, *rest = command
    wanted = rest[1] if rest[:1] == ["--envoy"] else ""
    binary = find_envoy(wanted)
    every = (*pod.spec.init_containers, *pod.spec.containers)
    contexts = [each.security_context for each in every if each.name == inject.PROXY_NAME]
    uids = (each.run_as_user for each in (*contexts, pod.spec.security_context))
    require_runnable(binary, next((uid for uid in uids if uid is not None), 0))
    return (program, "--envoy", str(binary), *(rest[2:] if wanted else rest))


def _starts(proxy: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command line of the program that the contract's `proxy` runs on this machine, () if it is forked."""
    if proxy[0] == contract.ENVOY:
        return proxy[2:]
    return () if proxy[0] in contract.ENTRIES else proxy


def _proxy(pod: Pod, container: Container) -> Program:
    settings = settings_of(pod)
    captures = settings.dns or any(each.name == _DNS_CAPTURE and each.value == "true" for each in container.env)
    settings = structs.replace(settings, dns=captures)
    env = ((ENVIRONMENT, settings.to_json()),)
    return Standin(
        "sidelab.sidecar.agent.main:main",
        env=env,
        preload=_preload(settings, container),
        files=True,
        programs=_PROGRAMS,
        starts=_starts(settings.proxy),
    )


def _preload(settings: Settings, container: Container) -> tuple[str, ...]:
    """Return the modules to load before forking the agent: all it may need, as a pod's user may not read our files.

    Modules for HTTP/2, TLS or DNS take long to import, and are loaded only for pods that need them.
    """
    probers = next((each.value for each in container.env if each.name == VARIABLE), "")
    proxy = contract.ENTRIES.get(settings.proxy[0], "").partition(":")[0]
    asked = {
        "sidelab.sidecar.agent.main": True,
        "sidelab.sidecar.agent.pilot_agent": True,
        proxy: proxy,
        "sidelab.sidecar.agent.dns.resolver": settings.dns,
        "sidelab.lab.net.grpc_health": '"grpc"' in probers,
        "urllib.parse": '"httpGet"' in probers,
        "ssl": '"httpGet"' in probers,  # any of them may be redirected to HTTPS
    }
    return tuple(module for module, wanted in asked.items() if wanted)


IMAGES = Registry((("istio/proxyv2", _program),))
