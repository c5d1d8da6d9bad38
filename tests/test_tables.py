"""Parquet and Arrow without PyArrow: what is missing, and what is refused before it is needed."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, Rnn

from rnncli.engine.rows import Rows, in_blocks
from rnncli.readers.foreign import is_table

INSTALL = "Parquet and Arrow need PyArrow: pip install 'rnncli[arrow]'"
PARQUET, ARROW, STREAM = b"PAR1\x15\x00", b"ARROW1\0\0", b"\xff\xff\xff\xff\x10\0"


@pytest.fixture
def without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)


@pytest.mark.usefixtures("without_pyarrow")
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "X.FEATHER"])
def test_a_file_needs_pyarrow(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(PARQUET)
    result = run_rnn("run", path, "--hidden", "2", "-o", tmp_path / "y.csv")
    assert (result.exit_code, result.stderr) == (1, f"Error: {path}: {INSTALL}\n")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.usefixtures("without_pyarrow")
@pytest.mark.parametrize("start", [PARQUET, ARROW, STREAM])
def test_what_is_piped_in_needs_pyarrow(run_rnn: Rnn, start: bytes) -> None:
    result = run_rnn("run", "--hidden", "2", stdin=start)
    assert (result.exit_code, result.stderr) == (1, f"Error: standard input: {INSTALL}\n")


@pytest.mark.usefixtures("without_pyarrow")
@pytest.mark.parametrize("options", [("-o", "x.parquet"), ("-o", "x.arrow"), ("--format", "arrow")])
def test_a_result_needs_pyarrow(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    """That is told before anything is computed: here the state would overflow."""
    monkeypatch.chdir(tmp_path)
    options = ("--seq", "3e38", "--hidden", "2", "--activation", "linear", *options)
    result = run_rnn("run", *options)
    assert (result.exit_code, result.stderr) == (1, f"Error: {INSTALL}\n")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (PARQUET, True),
        (ARROW, True),
        (STREAM, True),
        (b"PAR1", True),  # as a pipe may have it
        (b"ARROW1", True),
        (b"PAR1,x\n", False),
        (b"PAR1\n1\n", False),
        (b"PAR", False),
        (b"ARROW1,x", False),
        (b"\xff\xfe1\0", False),
        (b"", False),
    ],
)
def test_first_bytes(start: bytes, expected: bool) -> None:
    assert is_table(start, few=True) is expected


def test_csv_that_begins_as_parquet_does(run_rnn: Rnn) -> None:
    result = run_rnn("run", "--hidden", "1", "--format", "csv", stdin="PAR1\n1\n")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 2)


USAGE = {
    "digits": (("--digits", "3", "-o", "x.parquet"), "--digits is for text, the format is parquet"),
    "follow": (
        ("--follow", "-o", "x.arrow"),
        "--follow is for CSV and JSONL, the format is arrow: give --format csv",
    ),
    "passthrough to a table": (
        ("--passthrough",),
        "--passthrough is for CSV, JSONL, Parquet and Arrow, the format is table: "
        "give --format csv",
    ),
    "no header": (
        ("--no-header", "-o", "x.parquet"),
        "--no-header is for CSV, the format is parquet",
    ),
}


@pytest.mark.parametrize(("options", "message"), USAGE.values(), ids=USAGE)
def test_usage(run_rnn: Rnn, options: tuple[str, ...], message: str) -> None:
    result = run_rnn("run", "--hidden", "2", *options, stdin="1\n")
    assert result.exit_code == 2
    assert result.stderr == f"Error: {message} (see 'rnn run --help')\n"


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_nothing_is_written_to_a_terminal(form: str) -> None:
    main, side = pty.openpty()
    command = [sys.executable, "-m", "rnncli", "run", "--seq", "1", "--hidden", "1"]
    result = subprocess.run(
        [*command, "--format", form],
        stdout=side,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=False,
    )
    for end in (main, side):
        os.close(end)
    assert result.returncode == 2
    assert f"{form} is not text: give -o FILE, or pipe it on" in result.stderr


class Columns:
    """Cells that are no list, as a table has them."""

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def __getitem__(self, rows: slice) -> "Columns":
        return Columns(self.values[rows])

    @staticmethod
    def of(parts: "list[Columns]") -> "Columns":
        return Columns([value for part in parts for value in part.values])


def test_cells_of_any_kind_are_cut_and_joined() -> None:
    parts = [
        Rows(np.zeros((size, 1)), cells=Columns([*range(size)]))  # type: ignore[arg-type]
        for size in (1, 4, 2)
    ]
    blocks = [rows.cells.values for rows in in_blocks(parts, 3)]  # type: ignore[union-attr]
    assert blocks == [[0, 0, 1], [2, 3, 0], [1]]
