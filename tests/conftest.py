"""What every test may rely on, however pytest was started."""

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# How long a machine takes to think of an example says nothing about us: it may have others to serve.
settings.register_profile("sidelab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sidelab")


def pytest_configure() -> None:
    """Give signals back their effect: programs started by nohup or in a shell's background ignore some of them."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Have what a file's tests left open fail in that file, not in whichever test the collector happens to run in.

    A fixture, and no hook: pytest asks what was left open after the fixtures have ended, and before a hook's turn.
    """
    yield
    gc.collect()
