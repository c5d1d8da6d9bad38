"""Parquet and Arrow without PyArrow: what is missing, and what is refused before it is needed."""

import os
import sys
from pathlib import Path

import pytest
from conftest import Rnn

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


def test_csv_that_begins_as_parquet_does(run_rnn: Rnn) -> None:
    result = run_rnn("run", "--hidden", "1", "--format", "csv", stdin="PAR1\n1\n")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 2)
