import pytest

from sidelab.lab.errors import InputError
from sidelab.sidecar.interception import Options

TUTORIAL = "-p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020".split(" ")


def test_the_tutorials_arguments_work_verbatim() -> None:
    """istio-init's short flags, an empty value among them, give the options they mean."""
    expected = Options(outbound_cidrs="*", inbound_ports="*", inbound_ports_exclude=(15090, 15021, 15020))

    assert expected == Options.from_args(TUTORIAL)


@pytest.mark.parametrize(
    "argv",
    [
        ["-b", "80,90"],
        ["-b=80,90"],
        ["-b80,90"],
        ["--istio-inbound-ports", "80,90"],
        ["--istio-inbound-ports=80,90"],
        ["-b", "1", "-b", "80,90"],
        ["-b", ",80,,90,"],
        ["-b", " 80, 90 "],
        ["-b", "80,\t90\n"],
    ],
)
def test_a_flag_can_be_spelt_in_every_way_of_pflag(argv: list[str]) -> None:
    """Short, joined and long forms mean the same; the last one wins; empty items and blanks in a list are dropped."""
    assert Options(inbound_ports=(80, 90)) == Options.from_args(argv)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--redirect-dns"], True),
        (["--redirect-dns=true"], True),
        (["--redirect-dns=T"], True),
        (["--redirect-dns=false"], False),
        (["--redirect-dns", "--redirect-dns=0"], False),
        ([], False),
    ],
)
def test_truth_values_are_gos(argv: list[str], *, expected: bool) -> None:
    """A truth value needs no text, and takes Go's spellings after `=`."""
    assert expected is Options.from_args(argv).redirect_dns


def test_short_flags_without_value_join_others() -> None:
    """`-nb VALUE` is `-n -b VALUE`."""
    assert Options(dry_run=True, inbound_ports="*") == Options.from_args(["-nb", "*"])


def test_ipv6_can_be_switched_both_ways() -> None:
    """The later of --enable-ipv6 and --no-enable-ipv6 wins."""
    both = [
        Options.from_args(argv).enable_ipv6
        for argv in (["--enable-ipv6", "--no-enable-ipv6"], ["--no-enable-ipv6", "--enable-ipv6"])
    ]

    assert both == [False, True]


def test_dns_servers_add_up() -> None:
    """Each --dns-server adds one, of either family."""
    options = Options.from_args(["--dns-server", "10.0.0.10", "--dns-server=fd00::a"])

    assert [str(server) for server in options.dns_servers] == ["10.0.0.10", "fd00::a"]


@pytest.mark.parametrize(
    ("env", "field", "expected"),
    [
        ({"INBOUND_CAPTURE_PORT": "16006"}, "inbound_capture_port", 16006),
        ({"INBOUND_CAPTURE_PORT": ""}, "inbound_capture_port", 15006),
        ({"ENVOY_PORT": "16001"}, "proxy_port", 15001),
        ({"ISTIO_META_DNS_CAPTURE": "true"}, "redirect_dns", True),
        ({"REDIRECT_DNS": "false", "ISTIO_META_DNS_CAPTURE": "true"}, "redirect_dns", False),
        ({"INVALID_DROP": "true"}, "drop_invalid", True),
        ({"ISTIO_DUAL_STACK": "true"}, "dual_stack", True),
        ({"PROXY_UID": "3,4"}, "proxy_gids", (3, 4)),
        ({"ISTIO_OUTBOUND_OWNER_GROUPS": "java,202"}, "owner_groups", ("java", 202)),
        ({"ISTIO_OUTBOUND_OWNER_GROUPS": ""}, "owner_groups", ()),
        ({"ISTIO_OUTBOUND_OWNER_GROUPS": "java, 202"}, "owner_groups", ("java", 202)),
        ({"PROXY_UID": "1337, 1338"}, "proxy_uids", (1337, 1338)),
        ({"PROBE_TIMEOUT": "1m0.5s"}, "probe_timeout_s", 60.5),
        ({"PROFILE": "classic"}, "profile", "istio"),
    ],
)
def test_environment_variables_stand_in_for_flags(env: dict[str, str], field: str, expected: object) -> None:
    """A flag's variable is its name in capitals; envoy-port has none; an empty one is unset unless it has no flag."""
    assert expected == getattr(Options.from_args([], env), field)


def test_the_command_line_beats_the_environment() -> None:
    """A flag wins over its variable."""
    assert Options.from_args(["-u", "5"], {"PROXY_UID": "6"}).proxy_uids == (5,)


@pytest.mark.parametrize(
    ("argv", "env", "said"),
    [
        (["-b", "70000"], {}, "--istio-inbound-ports: '70000'"),
        (["-b", "80,*"], {}, "--istio-inbound-ports: '*'"),
        (["-p", "0"], {}, "--envoy-port: '0'"),
        (["-x", "*"], {}, "--istio-service-exclude-cidr: '*'"),
        (["-i", "10.0.0.1"], {}, "--istio-service-cidr: '10.0.0.1'"),
        (["-i", "10.0.0.0/33"], {}, "--istio-service-cidr: '10.0.0.0/33'"),
        (["-i", "10.0.0.0/8, 10.1.0.0/16"], {}, "--istio-service-cidr: ' 10.1.0.0/16'"),
        (["-b", "80, ,90"], {}, "--istio-inbound-ports: ''"),
        (["-b", "80 90"], {}, "--istio-inbound-ports: '80 90'"),
        (["-i", "fe80::1%eth0/64"], {}, "--istio-service-cidr"),
        (["-m", "NONE"], {}, "--istio-inbound-interception-mode: 'NONE'"),
        (["-u", "root"], {}, "--proxy-uid: 'root'"),
        (["-u", ","], {}, "--proxy-uid: no user id"),
        (["-c", "eth0;reboot"], {}, "--istio-exclude-interfaces: 'eth0;reboot'"),
        (["-t", "0"], {}, "--istio-inbound-tproxy-mark: '0'"),
        (["--probe-timeout", "5"], {}, "--probe-timeout: '5'"),
        (["--redirect-dns=maybe"], {}, "--redirect-dns: 'maybe'"),
        (["--dns-server", "resolver"], {}, "--dns-server: 'resolver'"),
        (["--force-iptables-binary", "both"], {}, "--force-iptables-binary: 'both'"),
        ([], {"PROXY_UID": "-1"}, "PROXY_UID: '-1'"),
        ([], {"ISTIO_OUTBOUND_OWNER_GROUPS": "*,java"}, "ISTIO_OUTBOUND_OWNER_GROUPS: '*'"),
        ([], {"ISTIO_OUTBOUND_OWNER_GROUPS": ",".join(map(str, range(65)))}, "65 groups are too many"),
        ([], {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "10.0.0.0/8"}, "ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR: '10.0.0.0/8'"),
        ([], {"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR": "127.0.0.1/7"}, "a mask of 8 to 32"),
        (["-b"], {}, "-b: a value is missing"),
        (["--istio-inbound-port", "80"], {}, "did you mean --istio-inbound-ports?"),
        (["-y"], {}, "-y: istio-iptables has no such flag"),
        (["-b", "80", "90"], {}, "'90': istio-iptables takes no arguments"),
        (["--", "90"], {}, "'90': istio-iptables takes no arguments"),
    ],
)
def test_bad_input_names_the_option_and_what_it_accepts(argv: list[str], env: dict[str, str], said: str) -> None:
    """Malformed values are refused by the name of the flag or variable that carried them."""
    with pytest.raises(InputError) as refused:
        Options.from_args(argv, env)

    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["-i", "2001:db8::/32"], "IPv6 is off, so 2001:db8::/32 has no effect"),
        (["-b", "80", "-d", "90"], "--istio-local-exclude-ports has no effect without"),
        (["--redirect-dns"], "--redirect-dns has no effect: no resolver is known"),
        (["--capture-all-dns"], "--capture-all-dns has no effect without --redirect-dns"),
        (["--cni-mode"], "--cni-mode has no effect here"),
        (["--network-namespace", "/x"], "--network-namespace has no effect here"),
        (["--force-iptables-binary", "nft"], "--force-iptables-binary has no effect here"),
    ],
)
def test_what_istio_accepts_without_effect_is_a_warning(argv: list[str], said: str) -> None:
    """Options that change nothing are accepted, and say so."""
    (warning,) = Options.from_args(argv).warnings

    assert said in warning


def test_the_tutorials_arguments_warn_of_nothing() -> None:
    """Ordinary arguments have no warnings."""
    assert Options.from_args(TUTORIAL).warnings == ()


@pytest.mark.parametrize(
    "argv", [["--redirect-dns"], ["-m", "TPROXY"], ["-g", "5"], ["-c", "eth1"], ["--drop-invalid"], ["--reconcile"]]
)
def test_the_classic_profile_refuses_what_its_release_had_not(argv: list[str]) -> None:
    """An option that came later is an error, not silently ignored."""
    with pytest.raises(InputError, match="the classic profile has no such option"):
        Options.from_args(["--profile", "classic", *argv])


@pytest.mark.parametrize(
    "fields",
    [
        {"proxy_port": 70000},
        {"outbound_ports": (0,)},
        {"proxy_uids": ()},
        {"proxy_gids": (2**32 - 1,)},
        {"tproxy_mark": 0},
    ],
)
def test_options_that_exist_are_valid(fields: dict[str, object]) -> None:
    """The constructor checks what the command line's readers check."""
    with pytest.raises(InputError):
        Options(**fields)  # type: ignore[arg-type]  # wrong values are the point
