import json
import socket
import subprocess
from pathlib import Path

import pytest
from netns_helper import add_pod_link, in_namespace, original_destination, owner
from tools import tool

from sidelab.lab.errors import InputError, MachineError, PodError
from sidelab.lab.netlink import nftables
from sidelab.lab.netlink.nftables import Operation
from sidelab.lab.netlink.nftables.objects import Counter
from sidelab.sidecar.interception import Options, Ruleset, build, render
from sidelab.sidecar.interception.apply import kernel as rules
from sidelab.sidecar.interception.expressions.lower import lower
from sidelab.sidecar.interception.model.counted import TableRows, from_ruleset
from sidelab.sidecar.interception.text.listing import listing

pytestmark = pytest.mark.kernel

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "istio-rules.json").read_text())["cases"]
# Besides Istio's sets, one for each corner that they leave out.
CORNERS = {
    "ports-in-another-order": "-e 15 -i * --redirect-dns --capture-all-dns",
    "odd-prefixes": "-i 10.0.0.0/20,0.0.0.0/0,2001:db8::/33,::/0 -x 10.128.0.0/9,fd00::/8 --enable-ipv6",
    "resolvers-of-a-family-that-is-off": "--redirect-dns --dns-server fd00::a",
    "two-families-of-resolvers": "--redirect-dns --dns-server 10.0.0.10 --dns-server fd00::a --enable-ipv6",
    "tproxy-without-ports": "-m TPROXY --enable-ipv6 --drop-invalid",
    "everything": "-m TPROXY -b * -d 1 -i * -x 10.1.0.0/16 -q 2 -o 3 -c a -k b --drop-invalid --redirect-dns "
    "--capture-all-dns -u 3,4 -g 5,6 --enable-ipv6",
    "without-quirks": "-m TPROXY -b * -i * -o 3 --drop-invalid --redirect-dns --capture-all-dns --quirks none",
    "classic": "-b * -i * -d 15090,15021,15020 --profile classic --enable-ipv6",
}
SETS = [pytest.param(case["args"], case["env"], id=case["name"]) for case in GOLDEN] + [
    pytest.param(words.split(), {}, id=name) for name, words in CORNERS.items()
]
TUTORIAL = build(Options.from_args("-m REDIRECT -i * -b * -d 15090,15021,15020".split()))
APP_PORT = 8080
POD = "10.9.0.1"


def ruleset_of(args: list[str], env: dict[str, str]) -> Ruleset:
    """Return the rules of an option set; its group names become that of a group which every machine has."""
    return build(Options.from_args(args, {key: value.replace("java", "root") for key, value in env.items()}))


def statements(sock: socket.socket) -> dict[tuple[str, str], tuple[object, ...]]:
    """Return each chain's rules as the kernel tells them, counters at zero."""
    return {
        (state.table.name, chain.chain.name): tuple(nftables.uncounted(rule) for rule in chain.rules)
        for state in nftables.dump(sock)
        for chain in state.chains
    }


def lowered(ruleset: Ruleset) -> dict[tuple[str, str], tuple[object, ...]]:
    """Return each chain's rules as they are meant to be."""
    things = [operation.thing for operation in lower(rules.resolved(ruleset))]
    return {
        (chain.table.name, chain.name): tuple(
            rule
            for rule in things
            if isinstance(rule, nftables.NftRule) and (rule.table, rule.chain) == (chain.table, chain.name)
        )
        for chain in things
        if isinstance(chain, nftables.NftChain)
    }


def filled(tables: tuple[TableRows, ...]) -> list[tuple[str, str, object]]:
    """Return the chains that hold rules."""
    return [(table.name, chain.name, chain.rows) for table in tables for chain in table.chains if chain.rows]


@pytest.mark.parametrize(("args", "env"), SETS)
def test_the_kernel_holds_what_the_model_says(args: list[str], env: dict[str, str]) -> None:
    """Read back, every expression is the one that was meant, and decodes to the model's rules."""
    ruleset = ruleset_of(args, env)

    def work() -> tuple[object, object]:
        with nftables.open_socket() as sock:
            rules.apply(sock, ruleset)
            return statements(sock), filled(rules.counters(sock))

    assert (lowered(ruleset), filled(from_ruleset(rules.resolved(ruleset)))) == in_namespace(work)


@pytest.mark.parametrize(("args", "env"), [each for each in SETS if each.id != "resolvers-of-a-family-that-is-off"])
def test_netlink_rules_are_those_that_nft_makes_of_our_text(args: list[str], env: dict[str, str]) -> None:
    """`nft list ruleset` shows the same after netlink as after `nft -f` has loaded the text."""
    nft = tool("nft")
    ruleset = rules.resolved(ruleset_of(args, env))

    def shown() -> str:
        return subprocess.run([nft, "list", "ruleset"], capture_output=True, text=True, check=True).stdout

    def netlink() -> str:
        with nftables.open_socket() as sock:
            rules.apply(sock, ruleset)
            return shown()

    def loaded() -> str:
        subprocess.run([nft, "-f", "-"], input=render(ruleset, "nft"), text=True, check=True)
        return shown()

    assert in_namespace(loaded) == in_namespace(netlink)


def test_applying_twice_is_applying_once() -> None:
    """A second application leaves the same rules, with counters at zero again."""

    def work() -> bool:
        with nftables.open_socket() as sock:
            rules.apply(sock, TUTORIAL)
            once = nftables.dump(sock)
            rules.apply(sock, TUTORIAL)
            return once == nftables.dump(sock)

    assert in_namespace(work)


def test_removing_leaves_nothing_of_ours() -> None:
    """After removal our tables are gone and others are not; removing once more is no error."""
    other = nftables.NftTable("not-ours")

    def work() -> list[str]:
        with nftables.open_socket() as sock:
            nftables.send(sock, nftables.encode((Operation("add", other),)))
            rules.apply(sock, ruleset_of(CORNERS["everything"].split(), {}))
            rules.remove(sock)
            rules.remove(sock)
            return [state.table.name for state in nftables.dump(sock)]

    assert in_namespace(work) == ["not-ours"]


def test_a_refused_object_leaves_nothing() -> None:
    """If the kernel refuses one rule, no table, chain or rule of the transaction stays, and the rule is named."""
    operations = lower(TUTORIAL)
    table = operations[0].thing
    assert isinstance(table, nftables.NftTable)
    bad = Operation("add", nftables.NftRule(table, "no-such-chain", ()))

    def work() -> tuple[str, int]:
        with nftables.open_socket() as sock:
            with pytest.raises(PodError) as refused:
                nftables.send(sock, nftables.encode((*operations, bad)))
            return str(refused.value), len(nftables.dump(sock))

    said, tables = in_namespace(work)

    assert tables == 0
    assert "rule 1 of chain no-such-chain of table istio-proxy-nat" in said


def test_an_expression_that_the_kernel_lacks_is_named() -> None:
    """The kernel itself says which expression it has not, and the machine is blamed."""
    batch = rules.encoded(TUTORIAL).replace(b"redir\0", b"redix\0")

    def work() -> tuple[str, int]:
        with nftables.open_socket() as sock:
            with pytest.raises(MachineError) as refused:
                nftables.send(sock, batch)
            return str(refused.value), len(nftables.dump(sock))

    said, tables = in_namespace(work)

    assert tables == 0
    assert "'redix'" in said


def test_a_socket_is_good_again_after_a_refusal() -> None:
    """The answers to a refused transaction are all taken off the socket, so the next one works."""

    def work() -> bool:
        with nftables.open_socket() as sock:
            with pytest.raises(MachineError):
                nftables.send(sock, rules.encoded(TUTORIAL).replace(b"redir\0", b"redix\0"))
            rules.apply(sock, TUTORIAL)
            return statements(sock) == lowered(TUTORIAL)

    assert in_namespace(work)


def test_a_transaction_may_be_megabytes() -> None:
    """Ten thousand rules are one transaction, where the machine's root asks."""
    table = nftables.NftTable("many")
    rule = Operation("add", nftables.NftRule(table, "all", (Counter(), Counter())))
    begin = (Operation("add", table), Operation("add", nftables.NftChain(table, "all")))

    def work() -> int:
        with nftables.open_socket() as sock:
            nftables.send(sock, nftables.encode((*begin, *[rule] * 10_000)))
            (state,) = nftables.dump(sock)
        return len(state.chains[0].rules)

    assert in_namespace(work) == 10_000


def test_without_privilege_the_missing_capability_is_named() -> None:
    """An ordinary user in the namespace is told what it takes."""

    def work() -> str:
        with owner(1000), nftables.open_socket() as sock, pytest.raises(MachineError) as refused:
            rules.apply(sock, TUTORIAL)
        return str(refused.value)

    assert "NET_ADMIN" in in_namespace(work)


def test_an_unknown_group_is_bad_input() -> None:
    """A group's name is resolved when rules are applied, and one that nobody has is refused."""
    ruleset = build(Options(owner_groups=("no-such-group",)))

    with pytest.raises(InputError, match="no-such-group"):
        rules.encoded(ruleset)


def test_what_others_put_into_our_tables_is_shown_as_theirs() -> None:
    """A rule that the model has no words for is listed with its counters, and not as one of ours."""
    nft = tool("nft")

    def work() -> str:
        with nftables.open_socket() as sock:
            rules.apply(sock, TUTORIAL)
            foreign = "add rule inet istio-proxy-nat istio-inbound tcp dport 1-9 counter log"
            subprocess.run([nft, "-f", "-"], input=foreign, text=True, check=True)
            return listing(rules.counters(sock))

    assert "not one of ours: meta compare payload unknown" in in_namespace(work)


class Landing:
    """Listeners in the pod for application, outbound and inbound capture; says where a connection lands."""

    def __init__(self) -> None:
        self.listeners = {}
        for name, port in (("app", APP_PORT), ("outbound", 15001), ("inbound", 15006)):
            listener = socket.create_server(("0.0.0.0", port))
            listener.settimeout(0)
            self.listeners[name] = listener

    def of(self, uid: int, address: str, port: int) -> tuple[str, tuple[str, int] | None]:
        """Return who accepted a connection of `uid`, and the destination that was recovered if it was redirected."""
        with owner(uid):
            client = socket.create_connection((address, port), timeout=5)
        with client:
            for name, listener in self.listeners.items():
                try:
                    accepted, _ = listener.accept()
                except BlockingIOError:
                    continue
                with accepted:
                    return name, None if name == "app" else original_destination(accepted)
        return "nobody", None


def test_connections_land_where_istio_sends_them() -> None:
    """Real connections: the application's go to 15001, the proxy's to its own pod to 15006, loopback is left alone."""

    def work() -> list[tuple[str, tuple[str, int] | None]]:
        add_pod_link(POD)
        landing = Landing()
        with nftables.open_socket() as sock:
            rules.apply(sock, TUTORIAL)
        return [
            landing.of(0, "10.9.0.77", 80),  # the application calls another pod
            landing.of(1337, POD, APP_PORT),  # the proxy calls this pod by its address
            landing.of(0, POD, APP_PORT),  # the application calls its own pod
            landing.of(0, "127.0.0.1", APP_PORT),  # anybody calls localhost
            landing.of(1337, "127.0.0.1", APP_PORT),
        ]

    assert in_namespace(work) == [
        ("outbound", ("10.9.0.77", 80)),
        ("inbound", (POD, APP_PORT)),
        ("app", None),
        ("app", None),
        ("app", None),
    ]


def test_ipv6_connections_land_as_ipv4_ones_do() -> None:
    """With IPv6 on, the mirrored rules redirect IPv6 connections, and their destination can be recovered."""
    ruleset = build(Options.from_args("-i * -b * --enable-ipv6".split()))

    def work() -> tuple[str, int]:
        add_pod_link(POD, "fd00:9::1")
        with (
            nftables.open_socket() as sock,
            socket.create_server(("::", 15001), family=socket.AF_INET6) as listener,
        ):
            rules.apply(sock, ruleset)
            with socket.create_connection(("fd00:9::77", 80), timeout=5):
                accepted, _ = listener.accept()
                with accepted:
                    return original_destination(accepted)

    assert in_namespace(work) == ("fd00:9::77", 80)


def test_dns_is_answered_by_the_agent_in_the_resolvers_name() -> None:
    """A query to any resolver reaches 15053, and the agent's answer comes back from the resolver's address."""
    ruleset = build(Options.from_args("--redirect-dns --capture-all-dns".split()))

    def work() -> tuple[bytes, bytes]:
        add_pod_link(POD)
        with nftables.open_socket() as sock:
            rules.apply(sock, ruleset)
        udp = (socket.AF_INET, socket.SOCK_DGRAM)
        with owner(1337):
            agent = socket.socket(*udp)
        with agent, socket.socket(*udp) as application:
            agent.bind(("127.0.0.1", 15053))
            agent.settimeout(5)
            application.settimeout(5)
            application.connect(("10.9.0.10", 53))  # only datagrams from there are received
            application.send(b"query")
            query, asker = agent.recvfrom(100)
            agent.sendto(b"answer", asker)
            return query, application.recv(100)

    assert in_namespace(work) == (b"query", b"answer")


def test_counters_are_the_kernels() -> None:
    """Each new connection is counted once by the rules it passed: NAT chains see first packets only."""

    def work() -> list[int]:
        add_pod_link(POD)
        landing = Landing()
        with nftables.open_socket() as sock:
            rules.apply(sock, TUTORIAL)
            for _ in range(3):
                landing.of(0, "10.9.0.77", 80)
            landing.of(1337, POD, APP_PORT)
            (nat,) = rules.counters(sock)
        return [row.packets for chain in nat.chains if chain.name.endswith("REDIRECT") for row in chain.rows]

    assert in_namespace(work) == [1, 3]


@pytest.mark.parametrize(("args", "env"), [SETS[0], SETS[2], SETS[11]])
def test_iptables_lists_its_rules_in_our_words(args: list[str], env: dict[str, str]) -> None:
    """Where the tool is installed, `iptables -L -v -n` of iptables' rules has the rows of our listing."""
    restore = tool("iptables-restore")
    ruleset = ruleset_of(args, env)
    numbers = {"0": "all", "6": "tcp", "17": "udp"}

    def rows(text: str) -> list[list[str]]:
        # The tool sets `!` apart before owners; some versions of it number protocols.
        lines = text.replace("! owner", "!owner").splitlines()
        found = [line.split()[2:] for line in lines if line.strip() and not line.lstrip().startswith(("Chain", "pkts"))]
        return [[words[0], numbers.get(words[1], words[1]), *words[2:]] for words in found]

    def work() -> list[list[str]]:
        text = render(ruleset, "iptables")
        subprocess.run([restore, "--noflush"], input=text, text=True, check=True)
        command = [tool("iptables"), "-t", "nat", "-L", "-v", "-n"]
        return rows(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    assert sorted(in_namespace(work)) == sorted(rows(listing(from_ruleset(ruleset), numeric=True)))
