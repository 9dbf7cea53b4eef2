"""The package `sidelab` where it is not installed, and its program; a wheel has this file as `sidelab/__init__.py`.

The rooms stand beside this file, in a checkout as in a wheel, so one line finds `sidelab.lab` and the others in both.
"""

import os
import signal

__path__ = [os.path.dirname(os.path.abspath(__file__))]  # noqa: PTH100, PTH120  # every process of a lab runs this: no pathlib


def main() -> None:
    """Run the command line. Until it handles Ctrl-C, that ends us at once and without a message."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from sidelab.cli.main import main as run  # noqa: PLC0415  # only the command line needs it

    run()


if __name__ == "__main__":
    main()
