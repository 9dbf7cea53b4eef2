import pytest

from sidelab.lab.errors import InputError, MachineError
from sidelab.lab.manifest import Manifest, Pod, decode
from sidelab.lab.plan.registry import Hook, Standin
from sidelab.sidecar import pod_rules
from sidelab.sidecar.inject import inject
from sidelab.sidecar.interception import Options, build
from sidelab.sidecar.interception.apply.tools import Done, Tools, find
from sidelab.sidecar.interception.options.options import WAYS
from sidelab.sidecar.istio_images import IMAGES

POD = """
apiVersion: v1
kind: Pod
metadata:
  name: nginx
  labels: {sidecar.istio.io/inject: "%s"}
  annotations: {%s}
spec:
  containers: [{name: nginx, image: nginx}]
"""


def injected(annotations: str = "", rules: str | None = None, wanted: str = "true") -> Pod:
    """Return the pod as the injector makes it."""
    (pod,) = inject(decode([("pod", POD % (wanted, annotations))]), rules).pods
    return pod


def rules_of(pod: Pod) -> pod_rules.PodRules:
    """Return the rules of a pod that has some."""
    rules = pod_rules.of_pod(pod)
    assert rules is not None
    return rules


@pytest.mark.parametrize(
    ("annotation", "flag", "way"),
    [
        ("", None, "nft"),
        ("", "iptables", "iptables"),
        ("sidelab.io/rules: iptables-legacy", None, "iptables-legacy"),
        ("sidelab.io/rules: nft", "iptables", "nft"),
    ],
)
def test_the_way_is_the_annotations_then_the_flags(annotation: str, flag: str | None, way: str) -> None:
    """A pod's annotation decides, then what the command line says for all pods, then netlink."""
    assert way == rules_of(injected(annotation, flag)).way


def test_an_injected_manifest_may_be_told_a_way_later() -> None:
    """Pods that come injected obey the flag as well, pods without rules are left as they are, and twice is as once."""
    once = inject(Manifest(pods=(injected(),)), "iptables")
    plain = Manifest(pods=(injected(wanted="false"),))

    assert "iptables" == rules_of(once.pods[0]).way
    assert once == inject(once, "iptables-legacy")
    assert plain == inject(plain, "iptables")
    assert pod_rules.of_pod(plain.pods[0]) is None


def test_annotations_choose_profile_and_quirks() -> None:
    """What the annotations say reaches the options, and so the rules."""
    options = rules_of(injected("sidelab.io/profile: classic, sidelab.io/quirks: none")).options

    assert ("classic", "none") == (options.profile, options.quirks)


@pytest.mark.parametrize(
    ("annotation", "flag", "problem"),
    [
        (
            "sidelab.io/rules: legacy",
            None,
            r"sidelab.io/rules: 'legacy' is not accepted here: give one of nft, iptables, iptables-legacy",
        ),
        ("sidelab.io/quirks: no", None, r"sidelab.io/quirks"),
        ("", "netlink", r"--rules: 'netlink' is no way into the kernel: give one of nft, iptables, iptables-legacy"),
    ],
)
def test_unknown_words_are_refused_with_the_known_ones(annotation: str, flag: str | None, problem: str) -> None:
    """A way or a quirk that does not exist is bad input, and the message says which there are."""
    with pytest.raises(InputError, match=problem):
        injected(annotation, flag)


def test_netlink_is_a_call_and_a_tool_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what takes microseconds is done by the supervisor itself; where the tool is missing nothing is started."""
    monkeypatch.setattr("shutil.which", lambda name, **_: f"/sbin/{name}")
    programs = {}
    for way in WAYS:
        pod = injected(rules=way)
        programs[way] = IMAGES.program(pod, pod.spec.init_containers[0])

    assert [Hook, Standin, Standin] == [type(programs[way]) for way in WAYS]
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    pod = injected(rules="iptables")
    with pytest.raises(MachineError, match="iptables-nft-restore is not installed"):
        IMAGES.program(pod, pod.spec.init_containers[0])


def test_a_warning_is_given_once_for_all_pods() -> None:
    """Options without effect are named with the first pod that has them, and how many more."""
    pods = [injected("traffic.sidecar.istio.io/excludeOutboundIPRanges: 'fd00::/8'")] * 3

    assert ["pod nginx and 2 more: IPv6 is off, so fd00::/8 has no effect (--enable-ipv6)"] == pod_rules.warnings(
        [*pods, injected()]
    )


def test_the_nft_backed_tool_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    """`iptables` means the nft-backed tool, and where no variant is installed the only one there is."""
    monkeypatch.setattr("shutil.which", lambda name, **_: name if name == "iptables-restore" else None)
    assert "iptables-restore" == find("iptables", 4, "restore")
    monkeypatch.setattr("shutil.which", lambda name, **_: name)
    assert "ip6tables-nft-save" == find("iptables", 6, "save")
    assert "iptables-legacy-restore" == find("iptables-legacy", 4, "restore")


@pytest.mark.parametrize(
    ("broken", "lacks"),
    [
        ("* nat", "CONFIG_IP_NF_NAT"),
        ("-m owner", "CONFIG_NETFILTER_XT_MATCH_OWNER"),
        ("-j REDIRECT", "CONFIG_NETFILTER_XT_TARGET_REDIRECT"),
    ],
)
def test_what_a_tool_cannot_say_is_found_by_trying(monkeypatch: pytest.MonkeyPatch, broken: str, lacks: str) -> None:
    """The tool says `line 9 failed`; tables, matches and targets are then tried alone, and what fails is named."""
    monkeypatch.setattr("shutil.which", lambda name, **_: name)
    ruleset = build(Options.from_args("-b * -i *".split()))

    def run(argv: object, text: str, env: object) -> Done:
        refused = broken.replace(" ", "") in text.replace(" ", "")
        return Done(1, "", "iptables-restore: line 9 failed") if refused else Done(0, "", "")

    with pytest.raises(MachineError) as error:
        Tools("iptables-legacy", run).load(ruleset, 4)

    assert str(error.value).partition("this kernel lacks ")[2].startswith(lacks)
    assert 1 == str(error.value).count("CONFIG_")


def test_a_tool_without_privilege_blames_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool's "Permission denied" is a missing capability, which is named."""
    monkeypatch.setattr("shutil.which", lambda name, **_: name)
    denied = Done(4, "", "iptables-save: Could not fetch rule set: Permission denied (you must be root)\n")

    with pytest.raises(MachineError, match="NET_ADMIN"):
        Tools("iptables", lambda *_: denied).save(4)
