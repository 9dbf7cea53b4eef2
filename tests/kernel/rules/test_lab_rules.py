import json
from typing import Any

import pytest
from command_line import CommandLine
from tools import tool

pytestmark = pytest.mark.kernel

WAYS = ("nft", "iptables", "iptables-legacy")
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{sidecar.istio.io/inject: "true"}}
  annotations: {{sidelab.io/proxy: none, {annotations}}}
spec:
  containers: [{{name: idle, image: curlimages/curl}}]
"""
INIT = """\
apiVersion: v1
kind: Pod
metadata:
  name: own
  annotations: {{sidelab.io/rules: {way}}}
spec:
  initContainers:
    - name: rules
      image: istio/proxyv2
      args: [istio-iptables, {flags}]
      env: [{{name: ISTIO_OUTBOUND_OWNER_GROUPS, value: "{groups}"}}]
      securityContext: {{capabilities: {{add: [NET_ADMIN, NET_RAW]}}, runAsUser: 0}}
  containers: [{{name: idle, image: curlimages/curl}}]
"""
PLAIN = """\
apiVersion: v1
kind: Pod
metadata: {name: plain}
spec:
  containers: [{name: idle, image: curlimages/curl}]
"""
TPROXY = "sidecar.istio.io/interceptionMode: TPROXY"
MANIFEST = "---\n".join(
    [
        *(
            POD.format(name=f"{way}-{mode}", annotations=f"sidelab.io/rules: {way}, {more}")
            for way in WAYS
            for mode, more in (("redirect", ""), ("tproxy", TPROXY))
        ),
        POD.format(name="by-flag", annotations=""),
        PLAIN,
    ]
)
PODS = [f"{way}-{mode}" for way in WAYS for mode in ("redirect", "tproxy")]


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    tool("iptables-legacy-restore")


def rules(line: CommandLine, verb: str, pod: str, *options: str) -> Any:
    """Return what `sidelab rules VERB` printed and its exit status."""
    done = line.run("rules", verb, pod, "--lab", line.name, *options)
    return done.stdout + done.stderr, done.returncode


def shown(line: CommandLine, pod: str) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Return the rules of each chain that has some, uncounted, tables and chains in one order."""
    text, _ = rules(line, "show", pod, "--json")
    chains = [
        (table["table"], chain["chain"], chain["rules"]) for table in json.loads(text) for chain in table["chains"]
    ]
    uncounted = [(t, c, [{**rule, "packets": 0, "bytes": 0} for rule in rows]) for t, c, rows in chains if rows]
    return sorted(uncounted, key=lambda chain: chain[:2])


@pytest.mark.parametrize("mode", ["redirect", "tproxy"])
def test_rules_read_the_same_whichever_way_they_came(shared: CommandLine, mode: str) -> None:
    """`rules show` of equal pods is equal for all three ways, table by table and rule by rule."""
    native, *others = (shown(shared, f"{way}-{mode}") for way in WAYS)

    assert native
    assert [native, native] == others


@pytest.mark.parametrize("pod", ["nft-redirect", *PODS[1::2]])
def test_a_pods_rules_can_be_checked_cleaned_and_put_right(shared: CommandLine, pod: str) -> None:
    """`check` says 0, after `clean` 1 with all that is missing, and after `reconcile` 0 again."""
    good = (f"pod {pod} has the rules that it asks for\n", 0)
    assert good == rules(shared, "check", pod)
    assert ("", 0) == rules(shared, "clean", pod)
    text, status = rules(shared, "check", pod, "--json")
    found = json.loads(text)
    assert (1, True, [], []) == (status, found["drifted"], found["extra"], found["extra_local"])
    assert {"table": "nat", "chain": "OUTPUT", "rule": "-A OUTPUT -j ISTIO_OUTPUT"} in [
        {key: value for key, value in each.items() if key != "family"} for each in found["missing"]
    ]
    assert ("ip rule add fwmark 1337 lookup 133" in found["missing_local"]) == pod.endswith("tproxy")
    assert (f"pod {pod}: put right\n", 0) == rules(shared, "reconcile", pod)
    assert (f"pod {pod}: nothing to do\n", 0) == rules(shared, "reconcile", pod)
    assert good == rules(shared, "check", pod)


def test_drift_by_hand_is_shown_as_a_diff(shared: CommandLine) -> None:
    """Who looks into a pod as its istio-init may change rules with the tool; `check` shows the lines that moved."""
    tool = ["iptables-nft", "-t", "nat"]
    for words in (["-D", "ISTIO_INBOUND", "1"], ["-A", "ISTIO_INBOUND", "-p", "icmp", "-j", "ACCEPT"]):
        done = shared.run("exec", "iptables-redirect", "-c", "istio-init", "--lab", shared.name, "--", *tool, *words)
        assert done.returncode == 0, done.stderr
    text, status = rules(shared, "check", "iptables-redirect")
    rules(shared, "reconcile", "iptables-redirect")

    assert status == 1
    assert ["--A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN", "+-A ISTIO_INBOUND -p icmp -j ACCEPT"] == [
        line for line in text.splitlines() if line[:2] in {"--", "+-"} and line[2] != "-"
    ]


def test_a_pod_without_rules_says_so(shared: CommandLine) -> None:
    """Of a pod that was not injected there is nothing to show, and nothing to hold it against."""
    assert ("pod plain has no rules in table nat\n", 0) == rules(shared, "show", "plain")
    for verb in ("check", "reconcile", "clean"):
        text, status = rules(shared, verb, "plain")
        assert status == 2
        assert "has no istio-init" in text


def test_the_flag_is_for_pods_that_do_not_say(sidelab: CommandLine) -> None:
    """`up --rules` decides for every injected pod without the annotation, and for no other."""
    done = sidelab.up(sidelab.manifest(MANIFEST), "--rules", "iptables-legacy")
    assert done.returncode == 0, done.stderr
    tool = ("--lab", sidelab.name, "-c", "istio-init", "--", "iptables-legacy-save")
    by_flag = sidelab.run("exec", "by-flag", *tool)
    by_annotation = sidelab.run("exec", "iptables-redirect", *tool)

    assert "ISTIO_INBOUND" in by_flag.stdout
    assert "ISTIO_INBOUND" not in by_annotation.stdout


@pytest.mark.parametrize(
    ("text", "options", "problem"),
    [
        (POD.format(name="a", annotations="sidelab.io/rules: nftables"), (), "sidelab.io/rules: 'nftables'"),
        (POD.format(name="a", annotations="sidelab.io/quirks: all"), (), "sidelab.io/quirks: 'all'"),
        (INIT.format(way="legacy", flags="", groups=""), (), "sidelab.io/rules: 'legacy'"),
        (MANIFEST, ("--rules", "iptables-nft"), "--rules: 'iptables-nft'"),
        (INIT.format(way="nft", flags='-z, "70000"', groups=""), (), "--inbound-capture-port: '70000'"),
        (INIT.format(way="nft", flags="", groups="no-such-group"), (), "no-such-group"),
        (INIT.format(way="iptables", flags="", groups="no-such-group"), (), "no-such-group"),
    ],
)
def test_bad_input_is_named(sidelab: CommandLine, text: str, options: tuple[str, ...], problem: str) -> None:
    """A way, quirk, flag or group that does not exist ends `up` with 2, whichever process notices it."""
    done = sidelab.up(sidelab.manifest(text), *options)

    assert done.returncode == 2, done.stderr
    assert problem in done.stderr


def test_options_without_effect_are_said_so(sidelab: CommandLine) -> None:
    """What Istio accepts and this lab has no use for is a warning, once for all pods that say it."""
    flags = (
        "--cni-mode, --network-namespace=/a, --force-iptables-binary=legacy, -d, '80', --reconcile, --run-validation"
    )
    done = sidelab.up(sidelab.manifest(INIT.format(way="nft", flags=flags, groups="*")))

    assert done.returncode == 0
    assert [
        "warning: pod own: --istio-local-exclude-ports has no effect without --istio-inbound-ports '*'",
        "warning: pod own: --cni-mode has no effect here",
        "warning: pod own: --network-namespace has no effect here: rules go into the pod's own",
        "warning: pod own: --force-iptables-binary has no effect here",
        "warning: pod own: --reconcile has no effect by the way nft: it replaces its tables whatever is there",
        "warning: pod own: --run-validation has no effect here: `sidelab doctor --pod` validates a running pod",
    ] == done.stderr.splitlines()


def test_an_ordinary_user_has_all_ways(rootless: CommandLine) -> None:
    """Without root too every way applies, reads back, cleans and reconciles, TPROXY's routes included."""
    done = rootless.up(rootless.manifest(MANIFEST))
    assert done.returncode == 0, done.stderr

    for pod in PODS[1::2]:
        good = (f"pod {pod} has the rules that it asks for\n", 0)
        assert good == rules(rootless, "check", pod)
        assert ("", 0) == rules(rootless, "clean", pod)
        assert 1 == rules(rootless, "check", pod)[1]
        assert (f"pod {pod}: put right\n", 0) == rules(rootless, "reconcile", pod)
        assert good == rules(rootless, "check", pod)


@pytest.mark.parametrize(
    ("way", "quirks", "applied"), [("nft", "istio", True), ("nft", "none", False), ("iptables", "istio", False)]
)
def test_a_dry_run_prints_what_it_would_apply(sidelab: CommandLine, way: str, quirks: str, applied: bool) -> None:
    """The rules are in istio-init's log and not in the kernel; Istio's nftables apply all the same, which is said."""
    text = INIT.format(way=f"{way}, sidelab.io/quirks: {quirks}", flags="--dry-run, -i, '*'", groups="*")
    done = sidelab.up(sidelab.manifest(text))
    assert done.returncode == 0, done.stderr
    printed = sidelab.run("logs", "own", "-c", "rules", "--lab", sidelab.name).stdout

    assert applied == ("applies the rules all the same" in done.stderr)
    assert applied == ("ISTIO_OUTPUT" in rules(sidelab, "show", "own")[0])
    assert applied != bool("redirect" in printed.lower())


@pytest.mark.parametrize("way", ["iptables", "iptables-legacy"])
def test_an_init_container_without_capabilities_is_the_machines_fault(sidelab: CommandLine, way: str) -> None:
    """What istio-init lacks to change rules ends `up` with 3 and is named, with the pod; no lab stays."""
    text = INIT.format(way=way, flags="", groups="*").replace("NET_ADMIN, NET_RAW", "")
    done = sidelab.up(sidelab.manifest(text))

    assert done.returncode == 3, done.stderr
    assert "pod default/own: init container rules failed" in done.stderr
    assert "NET_ADMIN" in done.stderr
