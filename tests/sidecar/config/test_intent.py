import pytest

from sidelab.lab.errors import InputError
from sidelab.sidecar.config.intent import Intent, IntentService, Ports


def test_survives_json() -> None:
    """An intent written as JSON reads back as the same value."""
    intent = Intent(protocol="tcp", ports=Ports(inbound=25006), drain_s=0.5)
    assert intent == Intent.from_json(intent.to_json())


def test_empty_object_is_the_default() -> None:
    """What is left out of the JSON has Istio's defaults."""
    assert Intent() == Intent.from_json("{}")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("{", "intent"),
        ('{"version": 2}', "version"),
        ('{"protocol": "udp"}', "protocol"),
        ('{"surprise": 1}', "surprise"),
        ('{"ports": {"inbound": 70000}}', "ports.inbound"),
        ('{"ports": {"inbound": 15001}}', "different"),
        ('{"inbound_bind_ipv4": "::6"}', "inbound_bind_ipv4"),
        ('{"inbound_bind_ipv6": "nowhere"}', "inbound_bind_ipv6"),
        ('{"concurrency": 0}', "concurrency"),
        ('{"drain_s": -1}', "drain_s"),
        ('{"server_name": "a\\r\\nb"}', "server_name"),
    ],
)
def test_names_what_is_wrong(text: str, named: str) -> None:
    """A wrong intent is refused with one message that names the field."""
    with pytest.raises(InputError, match=named):
        Intent.from_json(text)


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "nowhere", ""])
def test_a_service_has_an_address_that_can_be_dialled(address: str) -> None:
    """The unspecified address would be that of every listener."""
    with pytest.raises(InputError, match=r"intent: service a\.b\.svc\.cluster\.local: "):
        IntentService(host="a.b.svc.cluster.local", addresses=(address,))
