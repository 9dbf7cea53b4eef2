"""Root without some of its privileges: it has a lab all the same, or is told which one is missing, before it starts."""

import os
import shutil
import sys

import pytest
from command_line import EXAMPLE, ROOT, CommandLine
from tools import needs

from sidelab.lab.base.privileges import NEEDED
from sidelab.lab.base.syscalls import CAPABILITIES

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(bool(os.getuid()), reason="only root can give up root's privileges"),
    pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed"),
]

# Installs a seccomp filter that refuses the calls of given numbers with EPERM, as container runtimes do, and goes on.
_FILTERED = """
import ctypes, os, struct, sys
numbers = [int(word) for word in sys.argv[1].split(",")]
refuse = b"".join(struct.pack("=HBBI", 0x15, 0, 1, each) + struct.pack("=HBBI", 6, 0, 0, 0x50001) for each in numbers)
program = struct.pack("=HBBI", 0x20, 0, 0, 0) + refuse + struct.pack("=HBBI", 6, 0, 0, 0x7FFF0000)
filters = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None, use_errno=True)
fprog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(program) // 8, ctypes.addressof(filters)))
assert libc.prctl(22, 2, fprog, 0, 0) == 0, ctypes.get_errno()
os.execvp(sys.argv[2], sys.argv[2:])
"""
# The numbers of unshare(2) and mount(2), by machine (arch/*/entry/syscalls, include/uapi/asm-generic/unistd.h).
_CALLS = {"x86_64": {"unshare": 272, "mount": 165}, "aarch64": {"unshare": 97, "mount": 40}}


def _only(*names: str) -> tuple[str, ...]:
    kept = ",".join(["-all", *(f"+{name.lower()}" for name in names)])
    return ("setpriv", "--bounding-set", kept, "--inh-caps", "-all", "--")


def _refusal(sidelab: CommandLine, *words: str) -> str:
    done = sidelab.run(*words)
    assert (3, "") == (done.returncode, done.stdout), done.stderr
    assert done.stderr.startswith("sidelab: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize("name", NEEDED)
def test_a_capability_that_is_needed_is_named_when_it_is_missing(sidelab: CommandLine, name: str):
    """Each verb that starts a lab says so in one line, with status 3; doctor gives no advice about the kernel."""
    sidelab.prefix = _only(*(each for each in CAPABILITIES if each != name))
    for words in (("up", EXAMPLE, "--name", sidelab.name), ("bench", "smoke"), ("selftest",)):
        assert f"lacks CAP_{name}, which is needed" in _refusal(sidelab, *words)
    done = sidelab.run("doctor")
    assert (3, True, False) == (done.returncode, f"--cap-add {name}`" in done.stdout, "modprobe" in done.stdout)


def test_a_lab_needs_no_other_capability(sidelab: CommandLine):
    """With these alone Services, names, the sidecar and its rules work, and the lab ends as asked."""
    sidelab.prefix = _only(*NEEDED)
    done = sidelab.up(str(ROOT / "examples" / "tutorial.yaml"))
    assert done.returncode == 0, done.stderr
    assert sidelab.run("doctor", "--pod", "nginx", "--lab", sidelab.name).returncode == 0
    assert sidelab.run("rules", "check", "nginx", "--lab", sidelab.name).returncode == 0
    reached = "import urllib.request as r; print(r.urlopen('http://service-istio:8080/', timeout=9).status)"
    answer = sidelab.exec("client", "python3", "-c", reached)
    assert (answer.returncode, answer.stdout) == (0, "200\n"), answer.stderr
    assert sidelab.run("down", sidelab.name).returncode == 0


@needs("iptables-nft-restore")
def test_a_container_that_asks_for_what_root_has_not_is_named(sidelab: CommandLine):
    """A program such as iptables needs NET_RAW, which the default way, by netlink, does not."""
    sidelab.prefix = _only(*NEEDED)
    refusal = _refusal(sidelab, "up", EXAMPLE, "--name", sidelab.name, "--rules", "iptables")
    assert "CAP_NET_RAW, which is needed by container istio-init of pod nginx" in refusal


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
def test_a_single_mapped_id_is_named(sidelab: CommandLine):
    """Root of a user namespace in which uid 1337 does not exist is told so, and how to have it."""
    sidelab.prefix = ("unshare", "--user", "--map-root-user", "--")
    for words in (("up", EXAMPLE, "--name", sidelab.name), ("bench", "smoke"), ("selftest",)):
        assert "only 1 of the ids 0…65534 exist" in _refusal(sidelab, *words)


@pytest.mark.parametrize("call", ["unshare", "mount"])
def test_a_seccomp_filter_is_blamed_for_what_it_forbids(sidelab: CommandLine, call: str):
    """A container runtime's filter leaves the capability and takes the call."""
    calls = _CALLS.get(os.uname().machine)
    if calls is None:
        pytest.skip(f"the numbers of system calls on {os.uname().machine} are not known here")
    sidelab.prefix = (sys.executable, "-c", _FILTERED, str(calls[call]))
    assert "seccomp" in _refusal(sidelab, "up", EXAMPLE, "--name", sidelab.name)
    assert "modprobe" not in sidelab.run("doctor").stdout


def test_an_ordinary_user_under_no_new_privs_is_told(rootless: CommandLine):
    """A set-uid newuidmap gains nothing there, whatever /etc/subuid says."""
    rootless.prefix = ("setpriv", "--no-new-privs", *rootless.prefix)
    assert "no_new_privs is set" in _refusal(rootless, "up", EXAMPLE, "--name", rootless.name)
