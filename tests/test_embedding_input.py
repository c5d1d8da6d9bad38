"""Indices that an embedding has no row for, in every kind of input: the place, in one line."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from conftest import Rnn

from rnncli import Embedding, Network, save, seeded
from rnncli.engine.rows import BLOCK_STEPS

NETWORK = Network(Embedding(np.eye(10, 3)), seeded(3, 2).layers[0])
OUTSIDE = "is outside the embedding (whole numbers 0 to 9)"
WEIGHTS = ("--weights", "w.npz", "--format", "csv")


@pytest.fixture(autouse=True)
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(NETWORK, "w.npz")


def check(result: Result, place: str, written: str, rows: int = 0) -> None:
    assert result.exit_code == 2
    assert result.stderr == f"Error: {place}: {written} {OUTSIDE}\n"
    assert len(result.stdout.splitlines()) == (rows + 1 if rows else 0)


@pytest.mark.parametrize("written", ["12", "10", "-1", "2.5", "1e9"])
@pytest.mark.parametrize("quoted", ["", '"'])
def test_text(run_rnn: Rnn, tmp_path: Path, written: str, quoted: str) -> None:
    """Plain rows are read by words of digits, quoted ones by Python's reader of CSV."""
    path = tmp_path / "data.csv"
    path.write_text(f"token\n0\n{quoted}9{quoted}\n1.0\n{written}\n3\n")
    result = run_rnn("run", path, "--columns", "token", *WEIGHTS)
    check(result, f"{path}:5: column 'token'", written, rows=3)


def test_compressed_text_and_a_later_block(run_rnn: Rnn, tmp_path: Path) -> None:
    path, rows = tmp_path / "data.csv.gz", BLOCK_STEPS + 7
    with gzip.open(path, "wt") as file:
        file.write("9\n" * rows + "11\n")
    check(run_rnn("run", path, *WEIGHTS), f"{path}:{rows + 1}: column 1", "11", rows)


def test_standard_input(run_rnn: Rnn) -> None:
    check(run_rnn("run", *WEIGHTS, stdin="1\n2\n11\n"), "standard input:3: column 1", "11", 2)


@pytest.mark.parametrize("text", ["1,2,11", "[1, 2, 11]"])
def test_numbers_on_the_command_line(run_rnn: Rnn, text: str) -> None:
    check(run_rnn("run", "--seq", text, *WEIGHTS), "--seq: step 3", "11")


@pytest.mark.parametrize("missing", ["error", "hold", "zero"])
def test_groups(run_rnn: Rnn, tmp_path: Path, missing: str) -> None:
    path = tmp_path / "data.csv"
    gap = "0" if missing == "error" else ""
    path.write_text(f"who,token\na,1\nb,{gap}\na,11\n")
    result = run_rnn("run", path, "--group-by", "who", "--missing", missing, *WEIGHTS)
    check(result, f"{path}:4: column 'token'", "11", rows=2)


def test_an_array(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.array([1, 2, 11, 3]))
    check(run_rnn("run", path, *WEIGHTS), f"{path}: row 3, column 1", "11.0", 2)


def test_verify(run_rnn: Rnn) -> None:
    result = run_rnn("verify", "--seq", "1,11", "--weights", "w.npz")
    check(result, "--seq: step 2", "11")


def test_more_than_one_column(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("a,b\n1,2\n")
    result = run_rnn("run", path, *WEIGHTS)
    assert result.exit_code == 2
    what = "expected I = 1, as an embedding has 1 feature, got I = 2"
    hint = "--columns chooses those to read: there are 'a', 'b'"
    assert result.stderr == f"Error: {what}; {hint}\n"
