"""What the host has to lose while attackers are in pods: made before, checked after, removed at the end."""

import contextlib
import ctypes
import fcntl
import os
import secrets
import selectors
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from escapes.attempt import Targets, check, libc, syscall

_DIRECTORIES = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/home", "/opt", "/srv", "/usr/local/share", "/etc")
_SWITCHES = ("vm/stat_interval", "kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/domainname")
_SIOCGIFADDR, _IPC_RMID = 0x8915, 0
_JOIN_SESSION_KEYRING, _UNLINK = 1, 9

# Reports at once that it was signalled.
_SIGNALLED = (
    "import os, signal, time\n"
    "signal.signal(signal.SIGURG, lambda *_: os.write(1, b'signalled'))\n"
    "os.write(1, b'ready')\n"
    "while True: time.sleep(1000)\n"
)


def new_secret() -> str:
    """Return a secret that nobody can guess."""
    return f"canary-{secrets.token_hex(16)}"


class Canaries:
    """A file, a FIFO and a socket in each of several directories, services, IPC objects, keys and a process.

    They belong to the user `uid`. `harm` returns what was done to them.
    """

    def __init__(self, uid: int) -> None:
        self.uid = uid
        self.secret = new_secret()
        self.name = f"canaries-{os.getpid()}-{uid}"
        self.ipc_key = 0x51DE0000 + os.getpid() % 0xFFFF
        self.directories: list[Path] = []
        self.fifos: dict[Path, int] = {}
        self.visited: list[str] = []
        self._tidy = contextlib.ExitStack()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as tidy:
            for parent in (*_DIRECTORIES, os.environ.get("HOME", "/")):
                if os.access(parent, os.W_OK) and Path(parent, self.name) not in self.directories:
                    self._fill(Path(parent, self.name), tidy)
            self._tcp, self._udp = self._serve(tidy)
            self._share(tidy)
            self._process = self._start(tidy)
            self._before = self._state()
            self._tidy = tidy.pop_all()
        threading.Thread(target=self._answer, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._tidy.close()

    def _fill(self, directory: Path, tidy: contextlib.ExitStack) -> None:
        directory.mkdir(mode=0o755)
        tidy.callback(shutil.rmtree, directory)
        self.directories.append(directory)
        (directory / "secret").write_text(self.secret)
        (directory / "secret").chmod(0o600)
        os.mkfifo(directory / "fifo")
        self.fifos[directory / "fifo"] = os.open(directory / "fifo", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        tidy.callback(os.close, self.fifos[directory / "fifo"])
        service = tidy.enter_context(socket.socket(socket.AF_UNIX))
        service.bind(str(directory / "socket"))
        self._listen(service, str(directory / "socket"))
        for path in (directory, *directory.iterdir()):
            os.chown(path, self.uid, -1)
        for name in ("fifo", "socket"):
            (directory / name).chmod(0o666)

    def _listen(self, service: socket.socket, what: str) -> None:
        service.listen(128)
        service.setblocking(False)
        self._selector.register(service, selectors.EVENT_READ, what)

    def _serve(self, tidy: contextlib.ExitStack) -> tuple[int, int]:
        tcp = tidy.enter_context(socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True))
        self._listen(tcp, "TCP")
        udp = tidy.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind(("::", 0))
        udp.setblocking(False)
        self._selector.register(udp, selectors.EVENT_READ, "UDP")
        abstract = tidy.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{self.name}")
        self._listen(abstract, "abstract")
        return tcp.getsockname()[1], udp.getsockname()[1]

    def _answer(self) -> None:
        """Answer every client with the secret, and note it."""
        while True:
            for ready, _ in self._selector.select():
                service: Any = ready.fileobj
                with contextlib.suppress(OSError):
                    if ready.data == "UDP":
                        _, sender = service.recvfrom(100)
                        service.sendto(self.secret.encode(), sender)
                    else:
                        link, _ = service.accept()
                        with link:
                            link.send(self.secret.encode())
                    self.visited.append(ready.data)

    def _share(self, tidy: contextlib.ExitStack) -> None:
        """Make shared memory, a queue and semaphores as the user, and keys in the keyrings of user and session."""
        text = self.secret.encode()
        libc.shmat.restype = ctypes.c_void_p
        libc.shmdt.argtypes = [ctypes.c_void_p]
        memory = check(libc.shmget(self.ipc_key, ctypes.c_size_t(64), 0o1666))
        tidy.callback(libc.shmctl, memory, _IPC_RMID, None)
        address = libc.shmat(memory, None, 0)
        ctypes.memmove(address, text, len(text))
        libc.shmdt(address)
        messages = check(libc.msgget(self.ipc_key, 0o1666))
        tidy.callback(libc.msgctl, messages, _IPC_RMID, None)
        body = ctypes.create_string_buffer(struct.pack("q", 1) + text)
        check(libc.msgsnd(messages, body, ctypes.c_size_t(len(text)), 0))
        semaphores = check(libc.semget(self.ipc_key, 1, 0o1666))
        tidy.callback(libc.semctl, semaphores, 0, _IPC_RMID)
        with contextlib.suppress(OSError):  # if the kernel has no keys there is nothing to lose
            syscall("keyctl", _JOIN_SESSION_KEYRING, 0, 0, 0, 0)
            for keyring in (-3, -4):
                number = syscall("add_key", b"user", self.name.encode(), text, len(text), keyring)
                tidy.callback(libc.syscall, 250 if os.uname().machine == "x86_64" else 219, _UNLINK, number, keyring)

    def _start(self, tidy: contextlib.ExitStack) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-Sc", _SIGNALLED, self.secret], stdout=subprocess.PIPE)
        assert process.stdout is not None
        tidy.callback(process.communicate)
        tidy.callback(process.send_signal, signal.SIGKILL)
        assert process.stdout.read(5) == b"ready"
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = {}
        for name in _SWITCHES:
            with contextlib.suppress(OSError):
                state[name] = Path("/proc/sys", name).read_text()
        for directory in self.directories:
            for path in sorted(directory.iterdir()):
                seen = path.lstat()
                state[str(path)] = (seen.st_mode, seen.st_uid, seen.st_mtime_ns, seen.st_ino)
        state["modules"] = Path("/proc/modules").read_text() if Path("/proc/modules").exists() else ""
        return state

    def targets(self, **more: Any) -> Targets:
        """Return the description of this that attackers get."""
        addresses = ("127.0.0.1", "::1", *_addresses())
        return Targets(
            files=[str(each / "secret") for each in self.directories],
            fifos=[str(each / "fifo") for each in self.directories],
            sockets=[str(each / "socket") for each in self.directories],
            abstract=[self.name, *more.pop("abstract", ())],
            tcp=[*((each, self._tcp) for each in addresses), *more.pop("tcp", ())],
            udp=[(each, self._udp) for each in addresses],
            ipc_key=self.ipc_key,
            queue=self.name,
            key=self.name,
            inside="/tmp/canary",
            starter=self.uid,
            **more,
        )

    @property
    def pid(self) -> int:
        """The process that notes signals."""
        return self._process.pid

    def harm(self) -> list[str]:
        """Return the harm done to the host, as seen from there."""
        found = [
            f"{name} was {self._before.get(name)!r}, is {now!r}"
            for name, now in self._state().items()
            if self._before.get(name) != now
        ]
        found += [f"somebody came to {each}" for each in sorted(set(self.visited))]
        for path, fd in self.fifos.items():
            with contextlib.suppress(BlockingIOError):
                found.append(f"{path} got {os.read(fd, 100)!r}")
        assert self._process.stdout is not None
        if self._process.poll() is not None or self._process.stdout.read():
            found.append("a process was signalled")
        return found


def _addresses() -> Iterator[str]:
    """Yield the IPv4 addresses of this machine, without loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(asker, _SIOCGIFADDR, struct.pack("256s", name.encode()))
                if answer[20] != 127:
                    yield socket.inet_ntoa(answer[20:24])
