"""The program of the bundled proxy: bind, serve, follow changes of the intent, drain, return."""

import gc
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sidelab.lab.errors import InputError
from sidelab.sidecar.config.contract import intent_path
from sidelab.sidecar.config.intent import Intent
from sidelab.sidecar.proxy.io.destination import original_destination
from sidelab.sidecar.proxy.io.proxy_loop import ProxyLoop
from sidelab.sidecar.proxy.io.sockets import ListeningSockets
from sidelab.sidecar.proxy.proxy import Proxy
from sidelab.sidecar.proxy.routing.routes import check


def run(argv: Sequence[str]) -> None:
    """Serve the intent in the file that `argv` names by `--intent PATH`, as docs/proxy-contract.md says.

    SIGHUP reads the file again. SIGTERM or SIGINT drain the proxy, and then this returns. Raises `InputError` for an
    intent that is invalid or asks for more than one worker, `PodError` for a port that is taken.
    """
    path = Path(intent_path(argv))
    intent = _read(path)
    if intent.concurrency != 1:
        raise InputError(f"intent: concurrency: {intent.concurrency}: the bundled proxy has one worker: give 1")
    check(intent)
    _allow_descriptors()
    sockets = ListeningSockets.open(intent)
    loop = ProxyLoop()
    proxy = Proxy(loop, intent, sockets, original_destination)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: loop.call_threadsafe(proxy.drain))
    signal.signal(signal.SIGHUP, lambda _number, _frame: loop.call_threadsafe(lambda: _reload(proxy, path)))
    # The objects that exist now stay: the collector need not examine them again while requests wait.
    gc.collect()
    gc.freeze()
    loop.run()
    proxy.close()


def _allow_descriptors() -> None:
    """Raise the limit of open descriptors to its maximum, like Go programs, pilot-agent among them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _reload(proxy: Proxy, path: Path) -> None:
    """Update `proxy` from the file at `path`; on an error it goes on as before, and standard error gets the reason."""
    try:
        proxy.update(_read(path))
    except InputError as error:
        sys.stderr.write(f"sidelab-proxy: the intent before stays in force: {error}\n")
        sys.stderr.flush()


def _read(path: Path) -> Intent:
    try:
        return Intent.from_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"intent: {path}: {error.strerror}: give a file that can be read") from error
