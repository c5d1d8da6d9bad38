"""How signals such as Ctrl-C end a command.

While modules load, `rnncli.__main__` lets them end the process at once;
`rnncli.cli.delivery` has them wait for rows that are under way with ``--follow``;
`rnncli.cli.errors` turns Ctrl-C into exit code 130.
"""

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
    """Turn signals into exceptions, so that what is half written is cleaned up.

    Otherwise they end the process at once. A signal that is ignored stays so.
    """
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
