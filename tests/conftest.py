"""Settings that every test can rely on, however pytest was started."""

import gc
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The time to make an example has no deadline: the machine may be busy with other work.
settings.register_profile("sidelab", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("sidelab")


def pytest_configure() -> None:
    """Reset signals to their default: programs started by nohup or in a shell's background ignore some of them."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """Make what a file's tests left open fail in that file, not in the test that the collector happens to run in.

    A fixture and not a hook: pytest checks what was left open after fixtures have ended, and before hooks run.
    """
    yield
    gc.collect()
