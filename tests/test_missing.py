"""Empty cells and nan: held states, zeros."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, cases

from rnncli.forward import prepare, run
from rnncli.stream import Carried, Rows, stream

NETWORK = ("--hidden", "3", "--unroll", "stepwise", "--format", "csv")


def states(text: str) -> list[list[str]]:
    return [row[1:] for row in csv.reader(io.StringIO(text))][1:]


@given(case=cases(N=1), data=st.data())
def test_held_rows_are_steps_that_change_nothing(case: Case, data: st.DataObject) -> None:
    network, x, h0 = case.network, case.x[0], case.h0[0]
    n = len(x)
    flags = st.lists(st.booleans(), min_size=n, max_size=n)
    held = np.array(data.draw(flags), bool)
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    parts = map(Rows, *(np.split(array, cuts) for array in (x, key, held)))
    carried = Carried(h0, 0)
    blocks = list(stream(prepare(network, case.precision, "stepwise"), parts, carried))
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
def test_what_a_held_row_lacks_is_shown_as_lacking(run_rnn: Rnn, rows: int) -> None:
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


def test_a_blank_line_in_a_column_is_a_missing_step(run_rnn: Rnn) -> None:
    blank = run_rnn("run", *NETWORK, "--missing", "hold", stdin="v\n1\n\n\n2\n\n").stdout
    spelled = run_rnn("run", *NETWORK, "--missing", "hold", stdin="v\n1\nnan\nnan\n2\n").stdout
    assert blank == spelled
    assert len(blank.splitlines()) == 5


def test_a_missing_first_row_holds_the_initial_state(run_rnn: Rnn) -> None:
    options = (*NETWORK, "--missing", "hold", "--h0", "0.5,0.25,0.125", "--first-row", "data")
    assert states(run_rnn("run", *options, stdin="nan\n1\n").stdout)[0] == ["0.5", "0.25", "0.125"]


def test_infinities_and_words_stay_faults(run_rnn: Rnn) -> None:
    for bad in ("inf", "x", "N/A"):
        result = run_rnn("run", *NETWORK, "--missing", "hold", stdin=f"v\n1\n{bad}\n")
        assert result.exit_code == 2
        assert ":3: column 'v': not a" in result.stderr


def test_arrays(run_rnn: Rnn, tmp_path: Path) -> None:
    x = np.array([[1.0, 2], [3, np.nan], [4, 5]])
    np.save(tmp_path / "x.npy", x)
    text = "1,2\n3,nan\n4,5\n"
    for way in ("hold", "zero"):
        options = (*NETWORK, "--missing", way)
        from_array = run_rnn("run", str(tmp_path / "x.npy"), *options)
        assert from_array.stdout == run_rnn("run", *options, stdin=text).stdout
