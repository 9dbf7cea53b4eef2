"""One request through a sidecar, observed: the rules that counted it, its connections, the line in the access log."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sidelab.evidence import origins
from sidelab.lab.client.lab import Lab
from sidelab.lab.errors import PodError
from sidelab.lab.keys import PodKey
from sidelab.lab.net.ask import answer_to, request_of
from sidelab.lab.net.http_answer import AnswerError
from sidelab.lab.netlink import conntrack
from sidelab.lab.netlink.conntrack import Entry
from sidelab.lab.netlink.nftables import NETLINK_NETFILTER
from sidelab.sidecar import live_rules
from sidelab.sidecar.inject import PROXY_NAME
from sidelab.sidecar.interception.model.counted import TableRows
from sidelab.sidecar.interception.text import listing

PORT = 80
_TIMEOUT_S = 5.0
_LOOK_AGAIN_S = 0.005
_MOST_REQUESTS = 3


@dataclass(frozen=True)
class RuleMet:
    """A rule that counted packets of the request: its chain and its columns in `rules show`."""

    chain: str
    target: str
    packets: int
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class Observed:
    """What happened to a request; addresses look like `10.244.0.2:80`.

    `rules` are those that counted packets meanwhile, in the order in which packets meet them, `others` is how many more
    there are. `connection` is the client's, `onward` the sidecar's own to the application, if it opened one.
    """

    client: str
    server: str
    status: int
    rules: tuple[RuleMet, ...]
    others: int
    connection: Entry
    onward: Entry | None
    log: str

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            **asdict(self),
            "connection": self.connection.to_json(),
            "onward": None if self.onward is None else self.onward.to_json(),
        }


def observe(lab: Lab, server: PodKey, client: PodKey) -> Observed:
    """Send a request from `client` to `server` over IPv4 and return what is known about it afterwards.

    If the kubelet's probes were counted meanwhile, it is sent again, so that all counts shown are the request's.
    Raises `PodError` if nothing answers, or the sidecar does not log it.
    """
    address, own = lab.addresses(server)[0], lab.addresses(client)[0]
    for _ in range(_MOST_REQUESTS):
        before = live_rules.tables(lab, server, 4)
        local_port, status = _asked(lab, client, address)
        after = live_rules.tables(lab, server, 4)
        if origins.probes(before) == origins.probes(after):
            break
    log = _logged(lab, server, f"{own}:{local_port}")
    entries = _entries(lab, server)
    connection = _connection(entries, own, local_port)
    met = tuple(_met(before, after))
    return Observed(
        client=f"{own}:{local_port}",
        server=f"{address}:{PORT}",
        status=status,
        rules=met,
        others=sum(len(chain["rules"]) for chain in _chains(after)) - len(met),
        connection=connection,
        onward=next((each for each in entries if each is not connection and _source(each) in log.split()), None),
        log=log,
    )


def _asked(lab: Lab, client: PodKey, address: str) -> tuple[int, int]:
    """Send a request from inside the client's network; return the local port and the answer's status."""
    with lab.open_socket(client, socket.AF_INET, socket.SOCK_STREAM) as link:
        link.settimeout(_TIMEOUT_S)
        try:
            link.connect((address, PORT))
            local_port = link.getsockname()[1]
            answer = answer_to(link, request_of("GET", "/", address, user_agent="sidelab-demo"), _TIMEOUT_S)
        except (OSError, AnswerError) as error:
            raise PodError(f"the request to {address}:{PORT} was not answered: {error}") from error
    return local_port, answer.status


def _logged(lab: Lab, server: PodKey, client: str) -> str:
    """Return the line of the sidecar's access log about the connection from `client`."""
    log = lab.log(server, PROXY_NAME)
    deadline_s = time.monotonic() + _TIMEOUT_S
    text = ""
    try:
        while time.monotonic() < deadline_s:
            text += os.read(log, 1 << 16).decode(errors="replace")
            found = next((line for line in text.splitlines(keepends=True) if client in line.split()), "")
            if found.endswith("\n"):
                return found.rstrip("\n")
            time.sleep(_LOOK_AGAIN_S)
    finally:
        os.close(log)
    raise PodError(f"the sidecar logged nothing about the connection from {client} within {_TIMEOUT_S:g} s")


def _entries(lab: Lab, pod: PodKey) -> Sequence[Entry]:
    with lab.open_socket(pod, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as link:
        return conntrack.dump(link)


def _connection(entries: Sequence[Entry], client: str, port: int) -> Entry:
    found = next(
        (each for each in entries if (each.original.source, each.original.source_port) == (client, port)), None
    )
    if found is None:
        raise PodError(f"the kernel tracks no connection from {client}:{port}: does the pod have its rules?")
    return found


def _source(entry: Entry) -> str:
    """Return the source of a connection, as the access log writes it."""
    return f"{entry.original.source}:{entry.original.source_port}"


def _chains(tables: Sequence[TableRows]) -> Iterator[dict[str, Any]]:
    """Yield the chains of the nat table in the order in which the packets of an inbound request meet them."""
    met = ("PREROUTING", "ISTIO_INBOUND", "ISTIO_IN_REDIRECT", "OUTPUT", "ISTIO_OUTPUT", "ISTIO_REDIRECT")
    nat = next((table for table in listing.data(tables) if table["table"] == "nat"), {"chains": ()})
    chains = {chain["chain"]: chain for chain in nat["chains"]}
    yield from (chains.pop(name) for name in met if name in chains)
    yield from chains.values()


def _met(before: Sequence[TableRows], after: Sequence[TableRows]) -> Iterator[RuleMet]:
    for old, new in zip(_chains(before), _chains(after), strict=True):
        for was, rule in zip(old["rules"], new["rules"], strict=True):
            if packets := rule["packets"] - was["packets"]:
                yield RuleMet(new["chain"], rule["target"], packets, tuple(_conditions(rule)))


def _conditions(rule: dict[str, Any]) -> Iterator[str]:
    """Yield a rule's conditions, in the words of `rules show`, without those that are true for every packet."""
    if rule["protocol"] != "all":
        yield rule["protocol"]
    for name in ("in", "out"):
        if rule[name] not in {"*", "any"}:
            yield f"{name} {rule[name]}"
    for name, word in (("source", "from"), ("destination", "to")):
        if rule[name] not in {"0.0.0.0/0", "anywhere"}:
            yield f"{word} {rule[name]}"
    if rule["extra"]:
        yield rule["extra"]
