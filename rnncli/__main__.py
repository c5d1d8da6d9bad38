"""The command ``rnn``, also as ``python -m rnncli``."""

import os
import signal
import sys
from typing import NoReturn

from rnncli.processors import leave_processors_to_lanes


def main() -> None:
    """Run the command line."""
    # While modules load, Ctrl-C ends the process at once: as an exception it
    # could be lost within the import system.
    interactive = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if interactive:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    leave_processors_to_lanes(os.environ)
    from rnncli.cli import rnn

    if interactive:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    rnn()


def _end(number: int, _frame: object) -> NoReturn:
    """Leave, and let what is half written be cleaned up."""
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
