"""Cells that a program wrote where it had no number are missing where they are named."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.readers import Keys, Layout, read_file

OPTIONS = ("--hidden", "1", "--format", "jsonl")
# Words, numbers, and those that only look like another.
NULLS = (
    "NA",
    "n/a",
    "-",
    "null",
    "#N/A",
    "-999",
    "-999.0",
    "0",
    "1e3",
    "?",
    "a,b",
    "é",
    "inf",
    "-0",
)
LIKE_THEM = ("-999", "-999.0", "-999.00", "-0999", "0", "-0", "0.0", "1e3", "1000", "1E3", "inf")


def values_of(path: Path, block_steps: int, **layout: Any) -> tuple[list[list[float]], list[bool]]:
    """The values of all rows before an error, NaN where they are missing, and which are masked."""
    x: list[list[float]] = []
    masked: list[bool] = []
    source = read_file(
        str(path), Layout(np.dtype(np.float64), block_steps=block_steps, **layout), Keys()
    )
    try:
        for block in source.blocks:
            x += block.x.tolist()
            held = np.zeros(len(block.x), bool) if block.masked is None else block.masked
            masked += held.tolist()
    except ValueError:
        pass
    return x, masked


@pytest.mark.slow
@given(data=st.data())
def test_rows_are_those_of_python(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of csv and float, with a comparison of text; quoted or not, many rows at once or one."""
    nulls = data.draw(st.lists(st.sampled_from(NULLS), max_size=4, unique=True))
    width = data.draw(st.integers(1, 3))
    number = st.floats(-1e6, 1e6).map(repr) | st.integers(-2000, 2000).map(str)
    cell = number | st.sampled_from(nulls or ["1"]) | st.sampled_from(LIKE_THEM)
    spaced = st.tuples(st.sampled_from(["", " "]), cell, st.sampled_from(["", " "])).map("".join)
    rows = data.draw(st.lists(st.lists(spaced, min_size=width, max_size=width), min_size=1))
    text = io.StringIO()
    csv.writer(text, data.draw(st.sampled_from(["unix", "excel"]))).writerows(
        [["v"] * width, *rows]
    )
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text(text.getvalue(), encoding="utf-8")
    expected = [[np.nan if each.strip() in nulls else float(each) for each in row] for row in rows]
    finite = [not np.isinf(row).any() for row in expected]
    until = finite.index(False) if False in finite else len(finite)
    missing = [bool(np.isnan(row).any()) for row in expected[:until]]
    layout = {"first_row": "header", "null_values": nulls}
    for block_steps in (1, 3, 1000):
        x, masked = values_of(path, block_steps, missing="hold", **layout)
        np.testing.assert_array_equal(
            np.array(x).reshape(-1, width), np.reshape(expected[:until], (-1, width))
        )
        assert masked == missing
        x, masked = values_of(path, block_steps, missing="zero", **layout)
        zeros = np.nan_to_num(np.reshape(expected[:until], (-1, width)))
        np.testing.assert_array_equal(np.array(x).reshape(-1, width), zeros)
        assert not any(masked)
        x, _ = values_of(path, block_steps, **layout)
        assert len(x) == (missing.index(True) if True in missing else until)


@pytest.mark.parametrize(
    "options",
    [
        ("--null-value", "NA,-,-999"),
        ("--null-value", "NA", "--null-value", "-,-999"),
        ("--null-value", "NA", "--null-value", "-", "--null-value", "-999"),
        ("--null-value", '"NA", "-"," -999 "'),
    ],
)
def test_lists_add_up(run_rnn: Rnn, options: tuple[str, ...]) -> None:
    text = "k,v\na,1\nb,NA\nc,-\nd,-999\ne,2\n"
    without = "k,v\na,1\nb,\nc,\nd,nan\ne,2\n"
    command = ("run", "--columns", "v", "--missing", "hold", *OPTIONS)
    result = run_rnn(*command, *options, stdin=text)
    assert result.stdout == run_rnn(*command, stdin=without).stdout
    assert result.stdout.count("null") == 3


def test_cells_that_are_kept_stay_as_they_are(run_rnn: Rnn) -> None:
    command = ("run", "--missing", "hold", "--passthrough", *OPTIONS, "--null-value", "NA,7")
    lines = run_rnn(*command, "--columns", "v", stdin="k,v\nNA,NA\n7,7\n").stdout.splitlines()
    assert '"row": {"k": "NA", "v": "NA"}' in lines[0]
    assert '"row": {"k": "7", "v": "7"}' in lines[1]


def test_a_first_row_with_one_is_no_header(run_rnn: Rnn) -> None:
    command = ("run", "--missing", "hold", *OPTIONS)
    assert len(run_rnn(*command, stdin="NA,1\n2,3\n").stdout.splitlines()) == 1
    given = run_rnn(*command, "--null-value", "NA", stdin="NA,1\n2,3\n")
    assert len(given.stdout.splitlines()) == 2
