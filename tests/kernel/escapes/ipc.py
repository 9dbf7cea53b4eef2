"""Attempts at what processes share besides files: shared memory, message queues, keys of the kernel.

The host and a victim pod have each made one under the same name, with their own secret in it.
"""

import ctypes
import os

from escapes.attempt import NotHereError, Targets, attempt, check, first, libc, secret_in, syscall

_SESSION, _USER, _USER_SESSION, _PROCESS, _THREAD = -3, -4, -5, -2, -1
_READ, _SEARCH, _GET_ID = 11, 10, 0


@attempt
def read_shared_memory(targets: Targets) -> str | None:
    """Attach shared memory of the host or of another pod by its key (shmat(2))."""
    number = check(libc.shmget(targets.ipc_key, ctypes.c_size_t(64), 0))
    libc.shmat.restype = ctypes.c_void_p
    address = libc.shmat(number, None, 0o10000)
    return secret_in(ctypes.string_at(address, 64), "shared memory")


@attempt
def list_shared_memory(_: Targets) -> str | None:
    """List all shared memory there is."""
    with open("/proc/sysvipc/shm", encoding="ascii") as file:
        lines = file.readlines()[1:]
    return "there is some" if lines else None


@attempt
def take_messages(targets: Targets) -> str | None:
    """Look at a message in a queue of the host or of another pod (msgrcv(2)); it stays there."""
    number = check(libc.msgget(targets.ipc_key, 0))
    buffer = ctypes.create_string_buffer(128)
    check(libc.msgrcv(number, buffer, ctypes.c_size_t(100), ctypes.c_long(0), 0o4000 | 0o40000))  # NOWAIT, COPY
    return secret_in(buffer.raw, "message queue")


@attempt
def use_semaphores(targets: Targets) -> str | None:
    """Open semaphores of the host or of another pod by their key."""
    return f"semaphores {check(libc.semget(targets.ipc_key, 1, 0))}"


@attempt
def open_message_queues(targets: Targets) -> str | None:
    """Open a POSIX message queue of the host or of another pod by its name."""
    return f"queue {syscall('mq_open', targets.queue.encode(), os.O_RDONLY | os.O_NONBLOCK, 0, 0)}"


@attempt
def read_files_in_shared_memory(_: Targets) -> str | None:
    """Read what others keep in /dev/shm."""

    def read(name: object) -> str | None:
        with open(f"/dev/shm/{name}", "rb") as file:
            return secret_in(file.read(100), f"/dev/shm/{name}")

    return first(read, os.listdir("/dev/shm"))


def _value(number: int) -> bytes:
    buffer = ctypes.create_string_buffer(100)
    syscall("keyctl", _READ, number, buffer, 100, 0)
    return buffer.raw


@attempt
def request_keys(targets: Targets) -> str | None:
    """Request a key of the kernel by its description, wherever it is searched for."""
    return secret_in(_value(syscall("request_key", b"user", targets.key.encode(), 0, 0)), "key")


@attempt
def search_keyrings(targets: Targets) -> str | None:
    """Search the keyring of its session and those of its user for a key of somebody else's."""

    def searched(keyring: object) -> str | None:
        number = syscall("keyctl", _SEARCH, keyring, b"user", targets.key.encode(), 0)
        return secret_in(_value(number), f"keyring {keyring}")

    return first(searched, (_SESSION, _USER, _USER_SESSION, _PROCESS, _THREAD))


@attempt
def inherit_a_session_keyring(targets: Targets) -> str | None:
    """Read the keyring of the session in which the lab was started."""
    keyring = syscall("keyctl", _GET_ID, _SESSION, 0, 0, 0)
    buffer = (ctypes.c_int32 * 64)()
    size = syscall("keyctl", _READ, keyring, buffer, 256, 0)
    return first(lambda number: secret_in(_value(int(str(number))), "session keyring"), list(buffer)[: size // 4])


@attempt
def list_keys(targets: Targets) -> str | None:
    """Look for keys of somebody else's among those that it sees, and reads them by their numbers."""
    try:
        with open("/proc/keys", encoding="utf-8") as file:
            lines = [line.split() for line in file]
    except FileNotFoundError as error:
        raise NotHereError("the kernel does not list keys") from error
    numbers = [int(line[0], 16) for line in lines if targets.key and targets.key in " ".join(line)]
    return first(lambda number: secret_in(_value(int(str(number))), "listed key"), numbers)
