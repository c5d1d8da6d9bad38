"""Empty cells and nan: masked rows, zeros."""

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st
from networks import Case, cases

from rnncli.cli import rnn
from rnncli.engine.rows import Rows
from rnncli.engine.run import run
from rnncli.engine.stream import Carried, stream

NETWORK = ("--hidden", "3", "--unroll", "stepwise", "--format", "csv")


def states(text: str) -> list[list[str]]:
    return [row[1:] for row in csv.reader(io.StringIO(text))][1:]


@pytest.mark.slow
@given(case=cases(N=1), data=st.data())
def test_masked_rows_are_steps_that_change_nothing(case: Case, data: st.DataObject) -> None:
    network, x, h0 = case.network, case.x[0], case.h0[0]
    n = len(x)
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    held = np.array(data.draw(flags), bool)
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    parts = map(Rows, *(np.split(array, cuts) for array in (x, key, held)))
    carried = Carried(h0, 0)
    blocks = list(
        stream(network, parts, precision=case.precision, unroll="stepwise", carried=carried)
    )
    h = np.concatenate([np.empty((0, len(h0)), x.dtype), *(block.h for block in blocks)])
    t = np.concatenate([np.empty(0, np.intp), *(block.t for block in blocks)])
    for number in range(3):
        rows = np.flatnonzero(key == number)
        assert t[rows].tolist() == list(range(1, len(rows) + 1))
        state = h0
        for row in rows:
            if not held[row]:
                step = run(
                    network, x[row : row + 1], state, precision=case.precision, unroll="stepwise"
                )
                state = step.h_n
            assert h[row].tobytes() == state.tobytes()


@pytest.mark.parametrize("gap", ["", "nan", "NaN", " ", '""'])
def test_hold_and_zero(run_rnn: Rnn, gap: str) -> None:
    text = f"a,b\n1,2\n3,{gap}\n4,5\n"
    held = states(run_rnn("run", *NETWORK, "--missing", "hold", stdin=text).stdout)
    without = states(run_rnn("run", *NETWORK, stdin="a,b\n1,2\n4,5\n").stdout)
    assert held == [without[0], without[0], without[1]]
    zero = run_rnn("run", *NETWORK, "--missing", "zero", stdin=text).stdout
    assert zero == run_rnn("run", *NETWORK, stdin="a,b\n1,2\n3,0\n4,5\n").stdout


@pytest.mark.parametrize("rows", [3, 300])
def test_what_a_masked_row_lacks_is_shown_as_lacking(run_rnn: Rnn, rows: int) -> None:
    options = ("run", "--hidden", "1", "--missing", "hold")
    text = "a,b\n1,2\n,3\n" + "4,5\n" * (rows - 2)
    lines = run_rnn(*options, "--format", "jsonl", stdin=text).stdout.splitlines()
    assert [json.loads(line)["x"] for line in lines[:3]] == [[1, 2], [None, 3], [4, 5]]
    assert len(lines) == rows
    table = run_rnn(*options, "--digits", "0", stdin=text).stdout.splitlines()
    (held,) = (line.split() for line in table if line.split()[:1] == ["2"])
    assert held[:2] == ["2", "3"]
    zero = run_rnn("run", *NETWORK[:2], "--missing", "zero", "--format", "jsonl", stdin=text).stdout
    assert json.loads(zero.splitlines()[1])["x"] == [0, 3]


@pytest.mark.parametrize("missing", ["error", "hold", "zero"])
def test_blank_lines_of_a_column_are_skipped(run_rnn: Rnn, missing: str) -> None:
    command = ("run", *NETWORK, "--missing", missing)
    blank = run_rnn(*command, stdin="\n \nv\n1\n\n  \r\n\t\n2\r\r\n\n")
    assert blank.stdout == run_rnn(*command, stdin="v\n1\n2\n").stdout
    assert blank.exit_code == 0


def test_an_empty_quoted_cell_of_a_column_is_a_missing_step(run_rnn: Rnn) -> None:
    """As pandas writes it."""
    quoted, spelled = (
        run_rnn("run", *NETWORK, "--missing", "hold", stdin=f"{cell}\n1\n{cell}\n2\n{cell}\n")
        for cell in ('""', "nan")
    )
    assert quoted.stdout == spelled.stdout


@pytest.mark.parametrize("options", [(), ("--delimiter", "tab"), ("--delimiter", "comma")])
def test_a_first_row_of_empty_cells_counts_as_any_other(
    run_rnn: Rnn, tmp_path: Path, options: tuple[str, ...]
) -> None:
    cut = "," if "comma" in options else "\t"
    first, second = f"1{cut}2\n", f"{cut}\n3{cut}4\n"
    command = ("run", *NETWORK, "--missing", "hold", *options, "--last")
    whole = run_rnn(*command, stdin=first + second).stdout
    states = ("--state", str(tmp_path / "s.npz"))
    for text in (first, second):
        after = run_rnn(*command, *states, stdin=text).stdout
    assert after.splitlines()[1].startswith("3,")
    assert after == whole


def test_a_missing_first_row_keeps_the_initial_state(run_rnn: Rnn) -> None:
    options = (*NETWORK, "--missing", "hold", "--h0", "0.5,0.25,0.125", "--first-row", "data")
    assert states(run_rnn("run", *options, stdin="nan\n1\n").stdout)[0] == ["0.5", "0.25", "0.125"]


def test_arrays(run_rnn: Rnn, tmp_path: Path) -> None:
    x = np.array([[1.0, 2], [3, np.nan], [4, 5]])
    np.save(tmp_path / "x.npy", x)
    text = "1,2\n3,nan\n4,5\n"
    for way in ("hold", "zero"):
        options = (*NETWORK, "--missing", way)
        from_array = run_rnn("run", str(tmp_path / "x.npy"), *options)
        assert from_array.stdout == run_rnn("run", *options, stdin=text).stdout


CELLS = ("1", "-2.5", "", " ", "   ", "\t", '""', '" "', "nan", "NaN", ' "nan"', "\tNAN ")
BAD = ("-", "--", "+", "+-nan", "-nan", "+nan", "NA", "nan.", "-inf", "1_0")


def steps(rows: list[list[str]], missing: str) -> list[list[float | None]]:
    """What is read of rows of cells, up to the first that is neither a number nor missing."""
    lines = [row for row in rows if "".join(row).strip() or len(row) > 1]  # not blank
    texts = [[cell.strip().strip('"').strip() for cell in row] for row in lines]
    read: list[list[float | None]] = []
    for row in texts:
        absent = [cell.lower() in ("", "nan") for cell in row]
        if any(cell in BAD for cell in row) or (missing == "error" and any(absent)):
            return read
        number = 0.0 if missing == "zero" else None
        read.append([number if a else float(cell) for a, cell in zip(absent, row, strict=True)])
    return read


@pytest.mark.slow
@given(
    width=st.integers(1, 2),
    data=st.data(),
    missing=st.sampled_from(["error", "hold", "zero"]),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
)
def test_however_a_cell_is_read_it_counts_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    width: int,
    data: st.DataObject,
    missing: str,
    end: str,
    last: bool,
) -> None:
    """Many rows at once, one by one, compressed, with a quote somewhere, as they come."""
    cells = st.sampled_from(CELLS * 3 + BAD if missing != "error" else (*CELLS[:2] * 9, *CELLS))
    row = st.lists(cells, min_size=width, max_size=width)
    rows = data.draw(st.lists(row, min_size=1, max_size=8))
    plain, quoted = ([first, *rows] for first in (["7"] * width, ['"7"'] * width))
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    command = ["run", "--hidden", "1", "--missing", missing, "--format", "jsonl"]
    command += ["--first-row", "data", "--delimiter", ","]
    outcomes = set()
    for way in ("plain", "quoted", "compressed", "follow"):
        lines = [",".join(row) for row in (quoted if way == "quoted" else plain)]
        content = (end.join(lines) + (end if last else "")).encode()
        name = f"{path}.gz" if way == "compressed" else str(path)
        Path(name).write_bytes(gzip.compress(content) if way == "compressed" else content)
        follow = ["--follow"] if way == "follow" else []
        result = CliRunner().invoke(rnn, [*command, name, *follow])
        read = [json.loads(line)["x"] for line in result.stdout.splitlines()]
        assert read == steps(plain, missing)
        outcomes.add((result.stdout, result.stderr.replace(name, "")))
    assert len(outcomes) == 1
