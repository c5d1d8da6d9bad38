"""JSON lines are read as the same cells in CSV are, and as `rnn run` writes them."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st

from readers.test_csv import piped, read
from rnncli.cli import rnn
from rnncli.readers.input import STDIN, Layout
from rnncli.readers.text import MOST_CELLS

DOUBLE = np.dtype(np.float64)
SCALAR = (
    st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(10**20), 10**20)
    | st.booleans()
    | st.none()
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\n"), max_size=5)


def as_text(value: Any) -> str:
    """The cell of CSV for a value."""
    return {"None": "", "True": "true", "False": "false"}.get(str(value), str(value))


@given(
    rows=st.lists(st.tuples(TEXT, SCALAR, st.lists(SCALAR, min_size=2, max_size=2)), min_size=1),
    absent=st.lists(st.booleans(), min_size=20, max_size=20),
    missing=st.sampled_from(["error", "hold", "zero"]),
    piece=st.sampled_from([1, 7, 1 << 20]),
    passthrough=st.booleans(),
)
def test_objects_are_the_rows_of_csv(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    absent: list[bool],
    missing: str,
    piece: int,
    passthrough: bool,
) -> None:
    """Whatever the numbers, gaps and keys, however they come, and up to the first error."""
    folder = tmp_path_factory.mktemp("rows")
    table, lines = io.StringIO(), []
    writer = csv.writer(table, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["k", "a.v", "l_0", "l_1"])
    for number, (key, value, values) in enumerate(rows):
        gone = number > 0 and absent[number % 20]
        lines.append({"key": {"k": key}, "a": {} if gone else {"v": value}, "l": values})
        cells = [key, None if gone else value, *values]
        writer.writerow([cell if isinstance(cell, str) else as_text(cell) for cell in cells])
    text = "\n".join(
        json.dumps(line, ensure_ascii=number % 2 == 0) for number, line in enumerate(lines)
    )
    (folder / "x.csv").write_text(table.getvalue(), encoding="utf-8")
    (folder / "x.txt").write_text(text, encoding="utf-8")
    layout = Layout(
        DOUBLE, ["l_1", "a.v"], group_by=["k"], missing=missing, passthrough=passthrough
    )
    expected, fault = read(str(folder / "x.csv"), layout._replace(first_row="header"))
    for path, steps in ((str(folder / "x.txt"), 1000), (STDIN, 1000), (STDIN, 1)):
        with piped(text.encode(), piece):
            found, place = read(path, layout._replace(block_steps=steps))
        assert str(found) == str(expected)
        assert bool(place) == bool(fault)
        if fault:  # the header of CSV is a line of its own
            line, column = fault.removeprefix(f"{folder / 'x.csv'}:").split(": ")
            assert place.endswith(f":{int(line) - 1}: {column}")


OPTIONS = (
    ("--cell", "lstm", "--states", "--last"),
    ("--group-by", "k", "--precision", "float64"),
    ("--group-by", "k", "--passthrough"),
)


@given(
    rows=st.lists(st.tuples(st.sampled_from(["a", "b,", 'ü"']), st.floats(-5, 5)), min_size=1),
    options=st.sampled_from(OPTIONS),
)
def test_what_rnn_writes_is_read_as_its_csv(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], options: tuple[str, ...]
) -> None:
    folder = tmp_path_factory.mktemp("states")
    with (folder / "x.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("k", "v"), *rows])
    run = ("run", str(folder / "x.csv"), "--columns", "v", "--hidden", "3", *options)
    for form in ("csv", "jsonl"):
        assert CliRunner().invoke(rnn, [*run, "-o", str(folder / f"y.{form}")]).exit_code == 0
    layout = Layout(DOUBLE, ["h_2", "h_0-h_1"], group_by=["k"] * ("--group-by" in options))
    expected, found = (read(str(folder / f"y.{form}"), layout) for form in ("csv", "jsonl"))
    assert found == expected
    assert found[0]


@pytest.mark.parametrize("depth", [1000, 1300, 5000, 100_000])
def test_lines_nested_too_deep_are_refused(run_rnn: Rnn, tmp_path: Path, depth: int) -> None:
    """From Python 3.12 on, the decoder goes deeper than other functions can."""
    lines = '{"a":' * depth + "1" + "}" * depth
    result = run_rnn("run", "--hidden", "1", stdin=lines)
    assert result.exit_code == 2
    assert result.stderr.endswith(":1: not JSON: nested too deep\n")
    path = tmp_path / "deep.json"
    for item in ("%s", '{"h": %s}'):
        path.write_text('{"steps": [' + item % ("[" * depth + "]" * depth) + "]}")
        result = run_rnn("verify", "--seq", "1", "--hidden", "1", "--expected", path)
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert result.stderr.startswith("Error: ")


@pytest.mark.parametrize(
    "text",
    [
        ",".join(["1"] * MOST_CELLS + ["1"]),
        '"\n",' * MOST_CELLS,
        "1,2\n" + "1," * MOST_CELLS,
        "[" + "1," * MOST_CELLS + "1]",
        '{"a": [' + "1," * MOST_CELLS + "1]}",
    ],
    ids=["row", "lines of a row", "later row", "array", "object"],
)
def test_the_cells_of_a_row_are_limited(run_rnn: Rnn, text: str) -> None:
    """They take memory, hundreds of bytes each."""
    result = run_rnn("run", "--hidden", "1", "--format", "csv", stdin=text + "\n")
    assert result.exit_code == 2
    assert ": a row of more than 1,048,576 cells; expected a step a row\n" in result.stderr
