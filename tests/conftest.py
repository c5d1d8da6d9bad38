import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

from rnncli.cli import rnn
from rnncli.engine.unroll import UNROLLS, why_unavailable

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "sample_data"
TOPICS = ROOT / "rnncli" / "cli" / "topics"
# What a reader is told: the README, then the topics of `rnn help`.
GUIDE = {
    path.stem: path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted(TOPICS.glob("*.md")))
}
# Strategies that run here: `compiled` does with the extra `fast`.
RUNNABLE = [name for name in UNROLLS if not why_unavailable(name)]


def runnable(precision: str) -> list[str]:
    """Strategies that run here in a precision: `compiled` rounds no operands."""
    return [name for name in UNROLLS if not why_unavailable(name, precision)]


# By default the same cases are drawn each time. `RNN_NIGHTLY=1` draws new and more ones, prints how
# to repeat one that fails, and runs the tests marked `nightly`. A slow case is no failure.
NIGHTLY = bool(os.environ.get("RNN_NIGHTLY"))
settings.register_profile(
    "default", deadline=None, derandomize=True, database=None, max_examples=45
)
settings.register_profile("nightly", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("nightly" if NIGHTLY else "default")

# Under nohup, or in the background of a script, these are ignored; commands of tests inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for name in ("SIGQUIT", "SIGHUP"):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, name), signal.SIG_DFL)

# Marks of tests that are left out on other systems, and whether this is one of theirs.
WINDOWS = sys.platform == "win32"
MARKS = {"posix": not WINDOWS, "windows": WINDOWS, "linux": sys.platform == "linux"}
# Files of tests that are left out on Windows, and what they need that it lacks.
POSIX = {
    "batches/test_executors.py": "an alarm",
    "cli/test_control_characters.py": "a terminal of Unix",
    "cli/test_exits.py": "signals, and sockets of Unix",
    "cli/test_help.py": "a pager for a terminal of Unix",
    "cli/test_start.py": "forks and limits of memory",
    "cli/test_terminal.py": "a terminal of Unix",
    "storage/test_killed.py": "forks and signals",
    "storage/test_replacement.py": "owners, permissions and folders that are synced",
    "writers/test_log.py": "signals and names of pipes",
}
collect_ignore = [] if MARKS["posix"] else [*POSIX]

Rnn = Callable[..., Result]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="rewrite outputs of transcripts")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `nightly`, but for the nightly run, and those of other systems."""
    absent = [name for name, here in {**MARKS, "nightly": NIGHTLY}.items() if not here]
    left = [item for item in items if any(map(item.get_closest_marker, absent))]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)


@pytest.fixture
def run_rnn(monkeypatch: pytest.MonkeyPatch) -> Rnn:
    """Run a command line in this process, 80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return CliRunner().invoke(rnn, [str(argument) for argument in arguments], input=stdin)

    return run


@pytest.fixture(scope="session")
def notebook() -> dict[str, Any]:
    """Numbers that the notebook printed."""
    return load("notebook")


def load(name: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((ROOT / "tests" / "data" / f"{name}.json").read_text())
    return data
