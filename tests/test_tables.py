"""Without an optional package: what is missing is an error before anything is computed."""

import os
import sys
from pathlib import Path

import pytest
from conftest import Rnn

ARROW = "Parquet and Arrow need PyArrow: pip install 'rnncli[arrow]'"
PLOT = "figures need matplotlib: pip install 'rnncli[plot]'"
# A state that would overflow.
GROWING = ("run", "--seq", "3e38", "--hidden", "2", "--activation", "linear")


@pytest.fixture(autouse=True)
def without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["x.parquet", "X.FEATHER", "x.svg"])
def test_an_output_needs_its_package(run_rnn: Rnn, name: str) -> None:
    result = run_rnn(*GROWING, "-o", name)
    message = PLOT if name[-3:] in ("svg", "png", "pdf") else ARROW
    assert (result.exit_code, result.stderr) == (1, f"Error: {message}\n")
    assert os.listdir() == []


def test_an_input_needs_its_package(run_rnn: Rnn) -> None:
    for name in ("x.parquet", "x.arrow", "X.FEATHER"):
        Path(name).write_bytes(b"PAR1\x15\x00")
        result = run_rnn("run", name, "--hidden", "2", "-o", "y.csv")
        assert (result.exit_code, result.stderr) == (1, f"Error: {name}: {ARROW}\n")
    for start in (b"PAR1\x15\x00", b"ARROW1\0\0", b"\xff\xff\xff\xff\x10\0"):
        result = run_rnn("run", "--hidden", "2", stdin=start)
        assert (result.exit_code, result.stderr) == (1, f"Error: standard input: {ARROW}\n")
