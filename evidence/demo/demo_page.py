"""What was observed of a request, explained to a first-time reader, at 80 columns. Pure."""

from collections.abc import Iterator
from textwrap import wrap

from sidelab.evidence.demo.observe import Observed, RuleMet
from sidelab.lab.netlink.conntrack import Direction, Entry

WIDTH = 80
_INDENT = "   "

# By chain and target: why a packet of the request matched that rule.
_WHY = {
    ("PREROUTING", "ISTIO_INBOUND"): "Something comes in over TCP: ISTIO_INBOUND decides what becomes of it.",
    ("ISTIO_INBOUND", "ISTIO_IN_REDIRECT"): "It is for none of the sidecar's own ports, so it is to be redirected.",
    ("ISTIO_IN_REDIRECT", "REDIRECT"): "Port 80 becomes 15006, where the sidecar listens. nginx does not notice.",
    ("OUTPUT", "ISTIO_OUTPUT"): "The sidecar now asks nginx, over a connection of its own.",
    ("ISTIO_OUTPUT", "RETURN"): "From 127.0.0.6: so it is the sidecar's own, and is not caught again.",
}


def render(observed: Observed) -> str:
    """Return the whole page, with lines of at most `WIDTH` columns except where text has no blanks."""
    return "".join(f"{line.rstrip()}\n" for line in _lines(observed))


def _lines(observed: Observed) -> Iterator[str]:
    yield "One request, from a pod without a sidecar to a pod with one"
    yield ""
    yield f"{_INDENT}client {observed.client}  --->  nginx {observed.server}   answered: {observed.status}"
    yield ""
    yield from _paragraph(
        "1  The rules that it met, read from the kernel, in the network namespace of nginx. They see the first packet "
        "of each connection, and these have counted one:"
    )
    yield ""
    for rule in observed.rules:
        yield from _rule(rule)
    yield ""
    yield from _paragraph(f"The other {observed.others} rules counted nothing.", _INDENT)
    yield ""
    yield "2  Your connection, as the kernel tracks it"
    yield ""
    yield from _connection(observed.connection)
    yield from _redirect(observed.connection)
    if observed.onward is not None:
        yield ""
        yield f"{_INDENT}and the one over which the sidecar asks nginx"
        yield ""
        yield from _connection(observed.onward)
    yield ""
    yield "3  What the sidecar says about it: the line of its access log"
    yield ""
    yield from wrap(
        observed.log,
        WIDTH,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _rule(rule: RuleMet) -> Iterator[str]:
    conditions = f"   ({', '.join(rule.conditions)})" if rule.conditions else ""
    yield f"{_INDENT}{rule.packets}x  {rule.chain} -> {rule.target}{conditions}"
    if why := _WHY.get((rule.chain, rule.target)):
        yield from _paragraph(why, f"{_INDENT}    ")


def _connection(entry: Entry) -> Iterator[str]:
    yield f"{_INDENT}asked      {_ends(entry.original)}"
    yield f"{_INDENT}answered   {_ends(entry.reply)}"


def _redirect(entry: Entry) -> Iterator[str]:
    asked, answered = entry.original.destination_port, entry.reply.source_port
    if asked != answered:
        yield from _paragraph(
            f"The client asks port {asked}, and port {answered} answers: that is the redirect. On the way out the "
            f"kernel changes the port back to {asked}, so the client does not notice either.",
            _INDENT,
        )


def _ends(direction: Direction) -> str:
    source = f"{direction.source}:{direction.source_port}"
    return f"{source:21} -> {direction.destination}:{direction.destination_port}"


def _paragraph(text: str, indent: str = "") -> list[str]:
    rest = indent or _INDENT
    return wrap(text, WIDTH, initial_indent=indent, subsequent_indent=rest, break_on_hyphens=False)
