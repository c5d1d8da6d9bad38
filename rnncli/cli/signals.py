"""Signals that end a command, as exceptions: what is half written is then cleaned up."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

# Windows has no SIGHUP.
SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]


@contextmanager
def signals_raised() -> Iterator[None]:
    """Turn signals that would end the process at once into exceptions."""
    taken = [each for each in SIGNALS if signal.getsignal(each) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _end)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)
