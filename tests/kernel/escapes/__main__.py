"""Make every attempt, and send a line of JSON for each to the collecting victim: its name, its verdict, the reason.

python3 -m escapes NAME TARGETS ADDRESS PORT   as JSON, to a victim that collects; then listen, as a sign of being done
python3 -m escapes NAME TARGETS                print them
python3 -m escapes end                         end all that may be ended: what that was is seen outside
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time

from escapes.attempt import ATTEMPTS, Targets, carried_out, syscall

DONE_PORT = 7777
_RESTART = 0x01234567


def main(arguments: list[str]) -> None:
    """Run as the arguments say."""
    if arguments == ["end"]:
        _end_everything()
        return
    name, targets = arguments[0], Targets(**json.loads(arguments[1]))
    lines = []
    for attempt, function in ATTEMPTS.items():
        verdict, reason = carried_out(function, targets)
        lines.append(json.dumps({"by": name, "attempt": attempt, "verdict": verdict, "reason": reason}) + "\n")
    if len(arguments) == 2:
        sys.stdout.writelines(lines)
        return
    with _connected(arguments[2], int(arguments[3])) as link:
        link.sendall("".join(lines).encode())
        link.shutdown(socket.SHUT_WR)
        link.recv(1)  # it has been taken
    with socket.create_server(("", DONE_PORT)):
        signal.pause()


def _connected(address: str, port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection((address, port))
        except OSError:
            time.sleep(0.05)  # it is about to start


def _end_everything() -> None:
    """End the first process, low pids, and all that it may; at last restart the machine that it seems to be on."""
    for number in (1, *range(2, 64), -1):
        for how in (signal.SIGTERM, signal.SIGKILL):
            if number != os.getpid():
                with contextlib.suppress(OSError):
                    os.kill(number, how)
    with contextlib.suppress(OSError):
        syscall("reboot", 0xFEE1DEAD, 672274793, _RESTART, 0)


main(sys.argv[1:])
