"""`sidelab demo`: what a newcomer sees first, and that nothing is left of it."""

import json
import os
import signal

import pytest
from command_line import CommandLine, await_true, descendants

from sidelab.evidence.demo.demo_page import WIDTH

pytestmark = pytest.mark.kernel


@pytest.mark.parametrize("who", ["sidelab", "rootless"])
def test_the_demo_shows_rules_connections_and_log(request: pytest.FixtureRequest, who: str):
    """As root and as an ordinary user, from any directory, at 80 columns; afterwards the lab is gone."""
    line: CommandLine = request.getfixturevalue(who)
    done = line.run("demo")
    assert done.returncode == 0, done.stderr
    assert not descendants()
    for shown in (
        "ISTIO_IN_REDIRECT -> REDIRECT   (tcp, redir ports 15006)",
        "10.244.0.2:15006",
        '"GET / HTTP/1.1" 200',
    ):
        assert shown in done.stdout
    assert done.stderr == ""
    assert max(map(len, done.stdout.splitlines())) <= WIDTH


def test_what_the_demo_shows_is_one_request(sidelab: CommandLine):
    """The client's port is the same in its connection and in the log; the sidecar's own one leads to nginx."""
    done = sidelab.run("demo", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    asked = told["connection"]["original"]
    assert told["client"] == f"{asked['source']}:{asked['source_port']}"
    assert told["client"] in told["log"].split()
    assert (80, 15006) == (asked["destination_port"], told["connection"]["reply"]["source_port"])
    assert ("127.0.0.6", 80) == (told["onward"]["original"]["source"], told["onward"]["original"]["destination_port"])
    assert ["PREROUTING", "ISTIO_INBOUND", "ISTIO_IN_REDIRECT"] == [rule["chain"] for rule in told["rules"][:3]]
    assert (200, None) == (told["status"], told["lab"])


def test_an_interrupted_demo_leaves_nothing(sidelab: CommandLine):
    """Ctrl-C while it starts ends it with status 130, without a word; the fixture looks for what is left."""
    process = sidelab.start("demo", start_new_session=True)
    await_true(lambda: len(descendants(process.pid)) > 2, "the lab is starting")
    os.killpg(process.pid, signal.SIGINT)
    output, problems = process.communicate(timeout=20)
    sidelab.started.remove(process)
    assert (130, "", False) == (process.returncode, output, "Traceback" in problems)


def test_a_kept_lab_is_shown_by_name(sidelab: CommandLine):
    """With --keep it goes on as `demo`, a second one is refused with the cure, and `down` ends it."""
    if "demo" in sidelab.run("list", "--json").stdout:
        pytest.skip("a lab called demo runs on this machine")
    try:
        kept = sidelab.run("demo", "--keep")
        assert (0, True) == (kept.returncode, "sidelab down demo" in kept.stdout), kept.stderr
        assert max(map(len, kept.stdout.splitlines())) <= WIDTH
        again = sidelab.run("demo", "--keep")
        assert (2, True) == (again.returncode, "`sidelab down demo`" in again.stderr)
    finally:
        ended = sidelab.run("down", "demo")
    assert ended.returncode == 0
