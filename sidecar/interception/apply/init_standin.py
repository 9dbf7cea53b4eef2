"""istio-init's stand-in for the ways that run a tool: a process, so that the supervisor need not wait for the tool."""

from sidelab.lab.plan.registry import Context
from sidelab.sidecar.interception.apply import ways
from sidelab.sidecar.interception.build.build import build
from sidelab.sidecar.interception.options.options import WAYS, Options


def main(context: Context) -> None:
    """Apply istio-iptables' arguments in this process's network namespace; the first of `args` is the way."""
    word, *flags = context.args
    options = Options.from_args(flags, context.env)
    ways.apply(build(options), next(way for way in WAYS if way == word), options)
