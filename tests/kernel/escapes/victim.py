"""A program in a pod that has something to lose: python3 -c SOURCE SECRET IPC-KEY QUEUE KEY ABSTRACT-NAME PEER PORT...

It has its secret in its variables, files, shared memory, messages, keys and log, sends it to another pod all the time,
serves it at the given ports, and writes what attackers report at port 7000 to /tmp/reports, and signals to
/tmp/signals.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import sys

secret, ipc_key, queue, key, name, peer, *ports = sys.argv[1:]
text = secret.encode()
libc = ctypes.CDLL(None, use_errno=True)
numbers = {"mq_open": 240, "mq_send": 242, "add_key": 248}
if os.uname().machine != "x86_64":
    numbers = {"mq_open": 180, "mq_send": 182, "add_key": 217}

signals = os.open("/tmp/signals", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
signal.signal(signal.SIGURG, lambda *_: os.write(signals, b"signalled\n"))
for path in ("/tmp/canary", "/dev/shm/canary"):
    with open(path, "w") as file:
        file.write(secret)
    os.chmod(path, 0o644)
libc.shmat.restype = ctypes.c_void_p
shared = libc.shmat(libc.shmget(int(ipc_key), ctypes.c_size_t(64), 0o1666), None, 0)
if shared:
    ctypes.memmove(shared, text, len(text))
messages = libc.msgget(int(ipc_key), 0o1666)
libc.msgsnd(messages, ctypes.create_string_buffer(b"\1" + bytes(7) + text), ctypes.c_size_t(len(text)), 0)
libc.semget(int(ipc_key), 1, 0o1666)
libc.syscall(numbers["mq_open"], queue.encode(), os.O_CREAT | os.O_RDWR, 0o666, None)
for keyring in (-3, -4):
    libc.syscall(numbers["add_key"], b"user", key.encode(), text, ctypes.c_size_t(len(text)), keyring)
os.write(1, text + b"\n")

chosen = selectors.DefaultSelector()
abstract = socket.socket(socket.AF_UNIX)
abstract.bind(f"\0{name}")
abstract.listen()
chosen.register(abstract, selectors.EVENT_READ, "abstract")
for port in ("7000", *ports):
    chosen.register(socket.create_server(("", int(port)), backlog=128), selectors.EVENT_READ, port)
with open("/tmp/formatted", "wb") as file:
    file.write(b"ESCAPED" + bytes(100))
os.chmod("/tmp/formatted", 0o700)
turns = 0
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    with contextlib.suppress(OSError):  # the error that the last one caused
        sender.sendto(text, (peer, 9))
    turns += 1
    if turns % 8 == 0:
        try:
            os.waitpid(os.posix_spawn("/tmp/formatted", ["formatted"], {}), 0)
            os.write(signals, b"a program ran that is none\n")
        except OSError:
            pass  # the kernel does not know the format
    for ready, _ in chosen.select(0.05):
        link, _ = ready.fileobj.accept()
        with link:
            if ready.data == "7000":
                with open("/tmp/reports", "ab") as reports, link.makefile("rb") as reader:
                    reports.write(reader.read())
                link.send(b"1")
            else:
                link.send(text)
