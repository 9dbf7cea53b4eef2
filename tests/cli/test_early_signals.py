"""Signals at a command line that has barely begun, and in the midst of an import; nothing is started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORTED = """
import os, signal, sys, time
os.kill(os.getpid(), signal.{number})
for _ in range(100): pass
print("imported", flush=True)
"""
PROGRAM = """
import sys
from sidelab.bench.base.interruption import Interrupted, raised
sys.path.insert(0, {directory!r})
with raised():
    try:
        import interrupted_module
        print("goes on", flush=True)
        import time
        time.sleep(60)
    except Interrupted as stop:
        print(stop.exit_status)
"""


DROPPED = """
import os, signal, time
from sidelab.bench.base.interruption import Interrupted, raised

def signalled():
    os.kill(os.getpid(), signal.{number})
    for _ in range(100): pass

class Finalized:
    __del__ = lambda self: signalled()

with raised():
    try:
        {where}
        time.sleep(60)
    except Interrupted as stop:
        print(stop.exit_status)
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize(
    "where", ["os.register_at_fork(after_in_parent=signalled); os.fork() or os._exit(0)", "Finalized()"]
)
def test_no_signal_is_lost_where_python_drops_exceptions(where: str, number: str):
    """A signal that comes while a fork's callbacks or a finalizer run is raised right after them."""
    program = DROPPED.format(where=where, number=number)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    assert ("", f"{128 + getattr(signal, number)}\n") == (done.stderr, done.stdout)


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_no_import_is_interrupted(tmp_path: Path, number: str):
    """A signal that comes while a module is imported is raised once the module is whole."""
    (tmp_path / "interrupted_module.py").write_text(IMPORTED.format(number=number))
    program = PROGRAM.format(directory=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ("", 128 + getattr(signal, number)) == (done.stderr, int(done.stdout.splitlines()[-1]))
    assert "imported" == done.stdout.splitlines()[0]


def test_ctrl_c_before_the_command_line_is_read_ends_it_without_a_word(tmp_path: Path):
    """While its own modules are imported there is nothing yet to be ended in good order."""
    (tmp_path / "argparse.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    # The first that the command line imports after `sidelab.py` has seen to the signal.
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import sidelab; sidelab.main()",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (-signal.SIGINT, "") == (done.returncode, done.stderr)


def test_importing_the_command_line_leaves_signals_as_they_were():
    """Whoever imports it has a Ctrl-C of their own."""
    program = "import signal; before = signal.getsignal(2); import sidelab; print(before == signal.getsignal(2))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ("True\n", "") == (done.stdout, done.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_a_verb_with_its_status(tmp_path: Path, number: signal.Signals):
    """Whatever it was about: here it waits for a manifest."""
    os.mkfifo(tmp_path / "manifest.yaml")
    command = [sys.executable, ROOT / "sidelab.py", "inject", tmp_path / "manifest.yaml"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        (tmp_path / "manifest.yaml").open("w", encoding="utf-8"),  # opens once it is read
    ):
        process.send_signal(number)
        out, problems = process.communicate(timeout=30)
    assert (128 + number, "", "") == (process.returncode, out, problems)
