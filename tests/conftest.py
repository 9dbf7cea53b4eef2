"""What every test may rely on, however pytest was started."""

import signal


def pytest_configure() -> None:
    """Give signals back their effect: programs started by nohup or in a shell's background ignore some of them."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
