import subprocess
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from netns_helper import in_namespace
from rules_held import EVERYTHING, changed, everything_held, iptables, require
from tools import tool

from sidelab.lab.errors import MachineError, PodError
from sidelab.lab.netlink import route
from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.apply import ways
from sidelab.sidecar.interception.apply.tools import Done, run_here
from sidelab.sidecar.interception.apply.ways import HERE, Reach
from sidelab.sidecar.interception.options.options import WAYS, Way

# Few rules, but of both families, in two tables, and with all that goes beside rules.
SMALL = build(Options.from_args("-m TPROXY -b * -i * --enable-ipv6".split()))

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _installed(request: pytest.FixtureRequest) -> None:
    require(request.node.callspec.params["way"] if "way" in request.fixturenames else "nft")


class FailingError(PodError):
    """A fault that a test injects."""


def failing_at(number: int, reach: Reach = HERE) -> tuple[Reach, Callable[[], int]]:
    """Return a reach whose step `number` (from 1) fails, and how many steps were taken; afterwards steps work again."""
    taken = [0]

    def step(call: Callable[..., object], *arguments: object) -> object:
        taken[0] += 1
        if taken[0] == number:
            raise FailingError("injected")
        return call(*arguments)

    return (
        Reach(partial(step, reach.netfilter), partial(step, reach.route), partial(step, reach.run)),  # type: ignore[arg-type]  # a partial's type says too little
        lambda: taken[0],
    )


@pytest.mark.parametrize("way", WAYS)
def test_whichever_step_fails_nothing_stays(way: Way) -> None:
    """A fault at any step of applying leaves a namespace as it was: no rule, no route, no address."""

    def work() -> tuple[int, list[str]]:
        before = everything_held()
        left = []
        number = 0
        while True:
            number += 1
            reach, taken = failing_at(number)
            try:
                ways.apply(SMALL, way, None, reach)
            except FailingError:
                left.append(changed(before, everything_held()))
            if taken() < number:
                return number - 1, left

    steps, left = in_namespace(work)

    assert {"nft": 2, "iptables": 5, "iptables-legacy": 5}[way] == steps
    assert [""] * steps == left


@pytest.mark.parametrize("way", WAYS)
def test_whichever_step_of_reconciling_fails_what_was_there_is_there(way: Way) -> None:
    """A fault at any step of reconciling brings back the drifted rules of before, and no guardrail stays."""

    def work() -> tuple[int, int]:
        number = good = 0
        while True:
            number += 1
            ways.reconcile(SMALL, way)
            if way == "nft":
                subprocess.run([tool("nft"), "flush chain inet istio-proxy-nat istio-redirect"], check=True)
            else:
                iptables(way, "-t", "nat", "-F", "ISTIO_REDIRECT")
            before = everything_held()
            reach, taken = failing_at(number)
            try:
                ways.reconcile(SMALL, way, reach)
            except FailingError:
                good += before == everything_held()
            if taken() < number:
                return number - 1, good

    steps, good = in_namespace(work)

    assert steps == good > 1


@pytest.mark.parametrize(
    ("way", "lacks", "option"),
    [
        ("iptables", "-m owner", "CONFIG_NETFILTER_XT_MATCH_OWNER"),
        ("iptables-legacy", "-m owner", "CONFIG_NETFILTER_XT_MATCH_OWNER"),
        ("iptables-legacy", "-m multiport", "CONFIG_NETFILTER_XT_MATCH_MULTIPORT"),
        ("iptables-legacy", "-m conntrack", "CONFIG_NETFILTER_XT_MATCH_CONNTRACK"),
        ("iptables-legacy", "-m connmark", "CONFIG_NETFILTER_XT_MATCH_CONNMARK"),
        ("iptables-legacy", "-j REDIRECT", "CONFIG_NETFILTER_XT_TARGET_REDIRECT"),
        ("iptables-legacy", "-j TPROXY", "CONFIG_NETFILTER_XT_TARGET_TPROXY"),
        ("iptables", "-j CT ", "CONFIG_NETFILTER_XT_TARGET_CT"),
    ],
)
def test_what_the_kernel_lacks_is_named_by_its_option(way: Way, lacks: str, option: str) -> None:
    """Where one match or target is missing, only its kernel option is named, and nothing of the rules stays."""

    def without(argv: Sequence[str], text: str, env: dict[str, str]) -> Done:
        """Be a tool of a kernel without it: tables before the one at fault are there already."""
        tables = text.split("COMMIT\n")
        for number, table in enumerate(tables):
            if lacks in table:
                run_here(argv, "COMMIT\n".join([*tables[:number], ""]), env)
                return Done(1, "", f"iptables-restore: line {len(table.splitlines())} failed")
        return run_here(argv, text, env)

    def work() -> tuple[str, str]:
        before = everything_held()
        with pytest.raises(MachineError) as refused:
            ways.apply(EVERYTHING, way, None, Reach(run=without))
        return str(refused.value), changed(before, everything_held())

    said, left = in_namespace(work)

    assert said.partition("this kernel lacks ")[2].startswith(option)
    assert 1 == said.count("CONFIG_NETFILTER")
    assert "" == left


def test_without_policy_routing_its_option_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that has no policy rules is told from a refusal, and no rule of TPROXY stays."""
    real = route.mark_rule

    def unsupported(family: int, mark: int, table: int) -> route.Message:
        message = real(family, mark, table)
        # Family 77 has no rules anywhere: what AF_INET6 has in a kernel without the option.
        return route.Message(message.name, b"\x4d" + message.data[1:], message.kind, message.flags, message.needs)

    monkeypatch.setattr(route, "mark_rule", unsupported)

    def work() -> tuple[str, str]:
        before = everything_held()
        with pytest.raises(MachineError) as refused:
            ways.apply(EVERYTHING)
        return str(refused.value), changed(before, everything_held())

    said, left = in_namespace(work)

    assert "CONFIG_IP_MULTIPLE_TABLES" in said
    assert "" == left
