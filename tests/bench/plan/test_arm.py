from typing import Any

import msgspec
import pytest

from sidelab.bench.plan.arm import Arm

TCP: dict[str, Any] = {"server": "injected", "proxy": "bundled", "protocol": "tcp"}


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({}, "no rules, no proxy"),
        ({"server": "rules-only"}, "rules loaded, no redirect"),
        ({"client": "rules-only"}, "rules loaded at the client, no redirect"),
        ({"server": "redirected"}, "redirected to the server's other port, no proxy"),
        ({**TCP, "server": "explicit"}, "TCP proxy addressed directly, no rules"),
        (TCP, "TCP sidecar at the server"),
        ({**TCP, "client": "injected", "server": "plain"}, "TCP sidecar at the client"),
        ({**TCP, "client": "injected", "protocol": "http"}, "HTTP sidecar at both ends"),
        ({**TCP, "proxy": "envoy"}, "Envoy TCP sidecar at the server"),
        ({**TCP, "proxy": "envoy", "envoy": "1.35.0"}, "Envoy 1.35.0 TCP sidecar at the server"),
        ({**TCP, "proxy": "/opt/mine/proxy"}, "proxy TCP sidecar at the server"),
        ({**TCP, "proxy": "git:main"}, "git:main TCP sidecar at the server"),
        ({**TCP, "rules": "tproxy", "family": 6}, "TCP sidecar at the server, TPROXY, IPv6"),
        ({**TCP, "way": "iptables-legacy"}, "TCP sidecar at the server, rules by iptables-legacy"),
        ({**TCP, "profile": "classic", "image": "nginx"}, "TCP sidecar at the server, classic rules, real nginx"),
        ({**TCP, "extra_rules": 10_000}, "TCP sidecar at the server, 10,000 more rules"),
        ({"path": "/size/65536"}, "no rules, no proxy, 65,536 bytes"),
        ({"path": "/whoami"}, "no rules, no proxy, GET /whoami"),
    ],
)
def test_an_arm_says_what_stands_in_between(arm: dict[str, Any], words: str):
    """An arm's description says what stands between client and server, and whatever is not as usual."""
    assert words == Arm(name="a", **arm).describe()


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ({"name": "A b"}, "name 'A b' must be lower-case"),
        ({"proxy": "haproxy"}, "none, bundled, envoy, the absolute path of a program, or git:REVISION"),
        ({**TCP, "proxy": "git:--upload-pack=x"}, "accepted values"),
        ({"proxy": "bundled"}, "names a proxy but injects no side"),
        ({"server": "injected"}, "needs a proxy and a protocol"),
        ({**TCP, "server": "explicit", "proxy": "envoy"}, "an explicit proxy is the bundled one"),
        ({**TCP, "server": "explicit", "client": "injected"}, "dialled by a plain client"),
        ({**TCP, "proxy_args": "-v"}, "its proxy must be the path of a program"),
        ({**TCP, "envoy": "1.35.0"}, "its proxy must be 'envoy'"),
        ({**TCP, "proxy": "envoy", "envoy": "latest"}, "neither an absolute path nor a version"),
        ({"way": "iptables"}, "no side of it has rules"),
        ({"extra_rules": 1}, "no side of it has rules"),
        ({**TCP, "extra_rules": 20_001}, "extra_rules must be 0 to 20000"),
        ({"server": "rules-only", "rules": "tproxy"}, "its server must be 'injected'"),
        ({**TCP, "rules": "tproxy", "profile": "classic"}, "the classic rules know no tproxy"),
        ({"path": "size"}, "path must start with /"),
        ({"path": "/size/99999999"}, "at most 16,777,216"),
        ({"path": "/size/10", "image": "nginx"}, "a real nginx has no page /size/10"),
    ],
)
def test_what_does_not_go_together_is_no_arm(arm: dict[str, Any], words: str):
    """An arm that could not be what it says is refused with the reason."""
    with pytest.raises(msgspec.ValidationError) as refusal:
        msgspec.convert({"name": "a", **arm}, Arm)
    assert words in str(refusal.value)


def test_twins_are_made_of_the_same():
    """Two arms are twins when nothing but their names differs."""
    assert Arm(name="a", **TCP).made_of == Arm(name="b", **TCP).made_of
    assert Arm(name="a", **TCP).made_of != Arm(name="a", **TCP, family=6).made_of
