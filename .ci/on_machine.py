"""Run commands in a checkout on a machine used for nothing else, and look for what they leave behind.

    python3 .ci/on_machine.py COMMAND …

A shell runs every command, even after one has failed. Exits 1 if one of them failed, or if afterwards there is a
process, mount, link, user or file that was not there before.
"""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

_PLACES = ("/tmp", "/var/tmp", "/run", "/dev/shm", "/etc/netns", str(Path.home()))
_USERS = ("/etc/passwd", "/etc/group", "/etc/subuid", "/etc/subgid")


# What tools keep by design: caches and settings, iptables' lock, pytest's files of its last runs. For the checkout,
# `git status` decides.
_KEPT = {*(Path.home() / name for name in (".cache", ".config", ".local")), Path("/run/xtables.lock"), Path.cwd()}
_KEPT_PREFIX = "/tmp/pytest-of-"


def main() -> int:
    """Run the commands given as arguments; return the exit status."""
    before, failed = _state(), []
    os.environ["PATH"] = f"{Path.cwd()}/.nox/sidelab/bin:{os.environ['PATH']}"  # as the README says
    for command in sys.argv[1:]:
        _say(f"$ {command}")
        begin = time.monotonic()
        argv = ["bash", "-c", command]
        if command.startswith("sidelab shell "):
            status = _on_terminal(argv)
        else:
            status = subprocess.run(argv, stdin=subprocess.DEVNULL, check=False).returncode
        _say(f"status {status} after {time.monotonic() - begin:.0f} s")
        if status:
            failed.append(f"status {status}: {command}")
    failed += [f"left behind: {what}" for what in sorted(_state() - before)]
    for each in failed:
        _say(each)
    return bool(failed)


def _on_terminal(argv: list[str]) -> int:
    """Run a command on a terminal, type `exit` whenever it is quiet for a second, and return its exit status."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    while process.poll() is None:
        if not select.select([ours], [], [], 1)[0]:
            os.write(ours, b"exit\n")
            continue
        try:
            os.write(sys.stdout.fileno(), os.read(ours, 4096))
        except OSError:  # EIO: no process has the terminal open any more
            break
    os.close(ours)
    return process.wait()


def _state() -> set[str]:
    """Return everything that a lab must not leave behind, a line each."""
    mounts = {f"mount {line.split()[4]}" for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    links = {f"link {each.name}" for each in Path("/sys/class/net").iterdir()}
    users = {f"{path}: {line}" for path in _USERS for line in Path(path).read_text().splitlines()}
    files = {
        f"file {each}"
        for place in map(Path, _PLACES)
        if place.is_dir()
        for each in place.iterdir()
        if each not in _KEPT and not str(each).startswith(_KEPT_PREFIX)
    }
    changed = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, check=True)
    return mounts | links | users | files | _processes() | {f"git: {line}" for line in changed.stdout.splitlines()}


def _processes() -> set[str]:
    """Return every process of this machine but us and our ancestors."""
    found, ours, pid = {}, set(), os.getpid()
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                fields = (each / "stat").read_text().rpartition(")")[2].split()
                words = (each / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            found[int(each.name)] = (int(fields[1]), f"process {each.name} ({fields[0]}): {words}")
    while pid in found:
        ours.add(pid)
        pid = found[pid][0]
    return {words for pid, (_, words) in found.items() if pid not in ours}


def _say(text: str) -> None:
    sys.stdout.write(f"--- {text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
