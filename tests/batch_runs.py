"""Batches of three small inputs, and what they say of themselves."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from conftest import Rnn

Batch = Callable[..., Result]
NETWORK = ("--columns", "value", "--hidden", "4")


@pytest.fixture(name="batch")
def in_folder(run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Batch:
    """Run a batch in this process, in a folder with three inputs: in/a.csv, b and c."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("in")
    for place, name in enumerate("abc"):
        rows = "".join(f"{t},{(t * 7 + place) % 5 / 4}\n" for t in range(5 + place))
        Path(f"in/{name}.csv").write_text(f"time,value\n{rows}")

    def run(*arguments: str, stdin: str | bytes | None = None) -> Result:
        return run_rnn("batch", "-j", "1", *arguments, stdin=stdin)

    return run


def counted(result: Result) -> tuple[int, ...]:
    """Read the last line that a batch writes: done, skipped, failed and not run."""
    line = result.stderr.splitlines()[-1]
    found = re.match(
        r"(\d+) done, (\d+) skipped, (\d+) failed, (?:(\d+) not run, )?[\d,]+ rows, ", line
    )
    assert found, result.output
    return tuple(int(number or 0) for number in found.groups())


def files(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}
