"""Numbers with a decimal comma are read where they are said to be, and never as others."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from hypothesis import assume, given
from hypothesis import strategies as st

from rnncli.cli.values import encoding as read_name
from rnncli.model.errors import InputError
from rnncli.readers import Keys, Layout, read_file

OPTIONS = ("--hidden", "1", "--format", "jsonl")
ENCODINGS = ("utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-be", "utf-32", "gb18030")


def read(path: Path, **layout: Any) -> tuple[list[list[float]], list[tuple[str, ...]]]:
    source = read_file(str(path), Layout(np.dtype(np.float64), **layout), Keys())
    blocks = list(source.blocks)
    keys = [source.keys[n] for block in blocks for n in np.array(block.key).tolist()]
    return [row for block in blocks for row in block.x.tolist()], keys


@pytest.mark.slow
@given(data=st.data())
def test_tables_are_those_of_python(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of csv and float, whatever the encoding, the delimiter, the decimals and what is missing."""
    encoding = data.draw(st.sampled_from(ENCODINGS))
    decimal = data.draw(st.sampled_from(".,·"))
    delimiter = data.draw(st.sampled_from(",;\t|"))
    nulls = data.draw(st.lists(st.sampled_from(["NA", "-", "-999", "-9.5", "1e3"]), unique=True))
    assume(decimal != "·" or "utf" in encoding or encoding in ("latin-1", "cp1252"))
    number = st.floats(allow_nan=False, allow_infinity=False).map(repr)
    number |= st.decimals(-1000, 1000, places=3).map(str) | st.integers().map(str)
    cell = number | st.sampled_from(nulls or ["0"])
    key = st.text("aÖé ,;.", min_size=1).map(str.strip).filter(bool)
    width = data.draw(st.integers(1, 3))
    rows = data.draw(st.lists(st.tuples(key, *[cell] * width), min_size=1, max_size=6))
    text = io.StringIO()
    dialect = data.draw(st.sampled_from(["excel", "unix"]))  # quoted as needed, or always
    writer = csv.writer(text, dialect, delimiter=delimiter)
    writer.writerow(["key", *(f"x{n}" for n in range(width))])
    writer.writerows((each, *(one.replace(".", decimal) for one in cells)) for each, *cells in rows)
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    expected = [[np.nan if one in nulls else float(one) for one in cells] for _, *cells in rows]
    layout = {
        "encoding": read_name(encoding),
        "decimal": decimal,
        "null_values": [null.replace(".", decimal) for null in nulls],
        "missing": "hold",
        "group_by": ("key",),
        "delimiter": delimiter if delimiter == "|" else None,
    }
    for block_steps in (1, 1000):
        x, keys = read(path, block_steps=block_steps, **layout)
        np.testing.assert_array_equal(x, expected)
        assert keys == [(each,) for each, *_ in rows]


@pytest.mark.slow
@given(st.lists(st.text("0123456789.,-+e ", min_size=1), min_size=1, max_size=5))
def test_a_cell_is_a_number_with_one_mark_at_most_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    """Never a number that the text is not: 1.234,5 is not 1.2345."""
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("".join(f"{cell};0\n" for cell in cells), encoding="utf-8")
    for decimal in ",.":
        expected = []
        for cell in cells:
            usual = cell.replace(decimal, "point").replace(".", "?").replace("point", ".")
            try:
                expected.append([float(usual)])
            except ValueError:
                break
        layout = {"decimal": decimal, "delimiter": ";", "first_row": "data", "columns": ("1",)}
        for block_steps in (1, 1000):
            source = read_file(
                str(path),
                Layout(np.dtype(np.float64), block_steps=block_steps, **layout),  # type: ignore[arg-type]
                Keys(),
            )
            found: list[list[float]] = []
            try:
                for block in source.blocks:
                    found += block.x.tolist()
            except InputError:
                assert len(expected) < len(cells) or not np.isfinite(expected).all()
            finite = np.isfinite(np.array(expected).ravel()).tolist()
            assert found == expected[: finite.index(False) if False in finite else None]


# Text, and what is read of it with a decimal comma; None: it is refused.
COMMAS: dict[str, tuple[str, list[list[float]] | None]] = {
    "semicolons": ("a;b\n1,5;2\n-,25;3,\n", [[1.5, 2], [-0.25, 3]]),
    "tabs": ("1,5\t2\n3\t4,5\n", [[1.5, 2], [3, 4.5]]),
    "a column": ("v\n1,5\n2\n", [[1.5], [2]]),
    "a column without a header": ("1,5\n2,5\n", [[1.5], [2.5]]),
    "whole numbers first": ("1\n2,5\n", [[1], [2.5]]),
    "in quotes": ('a,b\n"1,5",2\n3,"4,5"\n', [[1.5, 2], [3, 4.5]]),
    "in quotes without a header": ('"1,5","2"\n3,4\n', [[1.5, 2], [3, 4]]),
    "a column in quotes": ('v\n"1,5"\n2,5\n', [[1.5], [2.5]]),
    "exponents": ("1,5e3;2E-1\n", [[1500, 0.2]]),
    "commas alone": ("1,5,2,5\n", None),
    "commas behind a word": ("x;1,5;2\nk,1,5\n", None),
    "cells or decimals": ("a,b\n1,5,2\n", None),
    "three": ("1,5,2\n", None),
    "quotes and not": ('"1,5",2,5\n', None),
    "a point": ("a;b\n1.5;2\n", None),
    "thousands": ("a;b\n1.234,5;2\n", None),
    "thousands alone": ("a;b\n1.234;2\n", None),
    "two commas": ("a;b\n1,234,5;2\n", None),
    **{
        f"thousands by {mark!a}": (f"1{mark}234,5;2\n999,5;2\n", None)
        for mark in "'\u2019\xa0\u202f"
    },
}


@pytest.mark.parametrize(("text", "rows"), COMMAS.values(), ids=COMMAS)
@pytest.mark.parametrize("follow", [(), ("--follow",)])
def test_decimal_commas(
    run_rnn: Rnn, text: str, rows: list[list[float]] | None, follow: tuple[str, ...]
) -> None:
    result = run_rnn("run", *OPTIONS, "--decimal", ",", *follow, stdin=text)
    if rows is None:
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("Error: standard input:")
    else:
        found = [line.split('"x": [')[1].split("]")[0] for line in result.stdout.splitlines()]
        assert [list(map(float, cells.split(","))) for cells in found] == rows


@pytest.mark.parametrize("mark", ["", ",,", "1", "e", "-", '"', " ", "tab", ";", "_", "½"])
def test_marks_that_are_none(run_rnn: Rnn, mark: str) -> None:
    result = run_rnn("run", *OPTIONS, "--decimal", mark, stdin="1\n")
    what = f"{mark!r} is not one character such as ',' or '.'"
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: Invalid value for '--decimal': {what} (see ")


def test_a_result_to_compare_with_is_not_read_so(run_rnn: Rnn, tmp_path: Path) -> None:
    """The hint to an option would be of the input."""
    (tmp_path / "theirs.csv").write_text("h_0;h_1\n0,5;1\n")
    options = ("--seq", "1", "--hidden", "2", "--expected", str(tmp_path / "theirs.csv"))
    result = run_rnn("verify", *options)
    assert result.exit_code == 2
    assert result.stderr.endswith("not a number: '0,5'\n")
