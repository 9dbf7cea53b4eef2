import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidelab.sidecar.config.intent import InboundPort, Intent, Ports
from sidelab.sidecar.envoy import ask_admin

ROOT = Path(__file__).parents[3]
FIELDS = Ports().__struct_fields__


@pytest.fixture
def ports() -> Ports:
    """Return ports that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in FIELDS]
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return Ports(**dict(zip(FIELDS, found, strict=True)))


@pytest.fixture
def folder(tmp_path: Path, ports: Ports) -> Path:
    """Return a working directory with an intent."""
    (tmp_path / "intent.json").write_text(Intent(ports=ports, inbound=(InboundPort(port=80),), drain_s=0).to_json())
    return tmp_path


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """Start the program in `folder`."""
    argv = (sys.executable, "-m", "sidelab.sidecar.envoy", "--intent", "intent.json", *words)
    return subprocess.Popen(
        argv, cwd=folder, env={"PYTHONPATH": str(ROOT)}, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(folder: Path, *words: str) -> tuple[int, str, str]:
    """Return status, output and errors of the program run in `folder`."""
    process = start(folder, *words)
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def fake(folder: Path, script: str) -> str:
    """Make a program that is run in place of Envoy."""
    path = folder / "fake"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def waiting(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Return the program with an Envoy that waits for the end, and has said so."""
    script = "trap 'echo told; exit 0' TERM; echo started; while :; do sleep 0.01; done"
    with start(folder, "--envoy", fake(folder, script)) as process:
        assert process.stdout is not None
        assert "started\n" == process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("part", "expected"),
    [("bootstrap", {"node", "admin", "dynamic_resources"}), ("lds", {"resources"}), ("cds", {"resources"})],
)
def test_a_part_of_the_configuration_can_be_shown(folder: Path, part: str, expected: set[str]) -> None:
    """`--print` writes a part as JSON, and starts and writes nothing else."""
    status, output, errors = run(folder, "--print", part)
    assert (0, "") == (status, errors)
    assert expected <= json.loads(output).keys()
    assert ["intent.json"] == [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("name", ["admin", "outbound", "inbound", "health", "stats"])
def test_a_port_that_is_taken_is_named(folder: Path, ports: Ports, name: str) -> None:
    """Nothing is started beside another that listens: the error names the address."""
    port = getattr(ports, name)
    with socket.create_server(("127.0.0.1", port)):
        status, _, errors = run(folder, "--envoy", "/bin/true")
    assert 5 == status
    assert f":{port}: Address already in use: let nothing else in the pod use this port\n" in errors


def test_an_end_before_it_was_told_is_told_with_its_last_words(folder: Path) -> None:
    """Envoy's status is the program's, and its last line is repeated."""
    done = run(folder, "--envoy", fake(folder, "echo first >&2; echo 'cannot do it' >&2; exit 3"))
    assert (
        3,
        "",
        "first\ncannot do it\nsidelab: envoy: it ended with status 3; its last words: cannot do it\n",
    ) == done


def test_the_critical_line_counts_for_the_last_words(folder: Path) -> None:
    """Where Envoy says why before it shows a backtrace, that is what is repeated."""
    _, _, errors = run(folder, "--envoy", fake(folder, "echo '[critical] too few' >&2; echo '#0 0x7f' >&2; exit 134"))
    assert "sidelab: envoy: it ended with status 134; its last words: [critical] too few" == errors.splitlines()[-1]


def test_a_missing_intent_is_an_error_of_the_users(tmp_path: Path) -> None:
    """Without the file nothing starts, and the message names it."""
    status, _, errors = run(tmp_path, "--envoy", "/bin/true")
    assert (2, "sidelab: intent.json: No such file or directory: give the file with the intent\n") == (status, errors)


def test_sigterm_reaches_an_envoy_that_does_not_answer(waiting: subprocess.Popen[str]) -> None:
    """Where the admin port is silent there is nothing to be drained, so the end comes at once."""
    waiting.send_signal(signal.SIGTERM)
    output, errors = waiting.communicate(timeout=60)
    assert (0, "told\n", "") == (waiting.returncode, output, errors)


def test_an_envoy_that_does_not_end_is_killed(folder: Path) -> None:
    """What ignores SIGTERM gets SIGKILL after a while."""
    script = "trap '' TERM; echo started; while :; do sleep 0.01; done"
    with start(folder, "--envoy", fake(folder, script)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        process.communicate(timeout=60)
    assert 137 == process.returncode


def test_a_broken_intent_leaves_the_old_one(folder: Path, waiting: subprocess.Popen[str]) -> None:
    """A new intent that is none is said so, and files stay as they are; a good one replaces those that differ."""
    before = {path.name: path.read_text() for path in folder.glob("?ds.json")}
    good = (folder / "intent.json").read_text()
    (folder / "intent.json").write_text("{")
    waiting.send_signal(signal.SIGHUP)
    assert waiting.stderr is not None
    assert "the old one stays" in waiting.stderr.readline()
    assert before == {path.name: path.read_text() for path in folder.glob("?ds.json")}
    (folder / "intent.json").write_text(good.replace('"port":80', '"port":81'))
    waiting.send_signal(signal.SIGHUP)
    waiting.send_signal(signal.SIGTERM)
    waiting.communicate(timeout=60)
    assert "inbound|81||" in (folder / "cds.json").read_text()


def test_envoy_dies_with_the_program(folder: Path, ports: Ports) -> None:
    """Killed, the program leaves no Envoy that holds the output open."""
    script = "echo started; while :; do sleep 0.01; done"
    with start(folder, "--envoy", fake(folder, script)) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.kill()
        process.communicate(timeout=60)
    assert -signal.SIGKILL == process.returncode


def test_an_admin_page_may_come_in_chunks() -> None:
    """What chunks say is joined, so that no line of a page is torn; the sidecar's own connections do not count."""
    page = b"listener.0.0.0.0_15006.downstream_cx_active: 2\nlistener.0.0.0.0_15021.downstream_cx_active: 4\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (page[:30], page[30:], b""))

    def answer(server: socket.socket) -> None:
        with server.accept()[0] as link:
            link.recv(1000)
            link.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        found = ask_admin.active_connections(server.getsockname()[1], (15021, 15090))
        thread.join()
    assert 2 == found
