"""Every type of Arrow: a feature or refused by name, a key, and kept as it is."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Rnn

from extras.arrow_types import CASES, NOT_MADE, NUMBERS, OTHERS, Case
from rnncli.readers import Keys, Layout, read_file

ALONE = ("--hidden", "1", "--columns", "v")


def saved(path: Path, case: Case) -> Path:
    table = pa.table({"x": case.column, "v": pa.array([1.0, 2.0])})
    with pa.ipc.new_file(path, table.schema) as file:
        file.write_table(table)
    return path


def opened(path: Path) -> Any:
    return pq.read_table(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).read_all()


def read_as(kind: Any) -> str:
    """The type as which columns are read: a dictionary's values, and no views."""
    plain = str(getattr(kind, "value_type", kind) if pa.types.is_dictionary(kind) else kind)
    views = {"string_view": "large_string", "binary_view": "large_binary"}
    return views.get(plain, plain)


def test_every_type_is_here() -> None:
    """Those that PyArrow has, by their numbers: one that is new is to be decided on."""
    known = {name.removeprefix("Type_") for name in dir(pa.lib) if name.startswith("Type_")}
    here = {
        getattr(case.column.type, "storage_type", case.column.type).id for case in CASES.values()
    }
    assert {name for name in known if getattr(pa.lib, f"Type_{name}") not in here} == NOT_MADE


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_are_features(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    layout = Layout(np.dtype(np.float64), columns=("x",), missing="hold")
    source = read_file(str(saved(tmp_path / "x.arrow", case)), layout, Keys())
    (rows,) = source.blocks
    np.testing.assert_array_equal(rows.x, case.numbers)
    missing = np.isnan(np.array(case.numbers)).any(axis=1)
    masked = np.zeros(2, bool) if rows.masked is None else rows.masked
    assert masked.tolist() == missing.tolist()
    assert source.columns == ["x"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_types_are_refused_by_name(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "x.arrow", OTHERS[name])
    kind = read_as(OTHERS[name].column.type)
    refused = f"Error: {path}: column 'x': expected numbers, got {kind}"
    result = run_rnn("run", path, "--hidden", "1", "--columns", "x")
    assert (result.exit_code, result.stderr) == (2, f"{refused}{OTHERS[name].numbers}\n")
    result = run_rnn("run", path, "--hidden", "1")
    assert result.stderr == f"{refused}; --columns chooses those to read\n"


TEXTS = [name for name, case in CASES.items() if case.texts]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.texts])
def test_what_has_no_text_is_refused(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "x.arrow", CASES[name])
    for options in (("--group-by", "x"), ("--passthrough",)):
        result = run_rnn("run", path, *ALONE, *options, "--format", "csv")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert "column 'x': " in result.stderr


@pytest.mark.parametrize("name", TEXTS)
def test_any_type_is_a_key(tmp_path: Path, name: str) -> None:
    path = str(saved(tmp_path / "x.arrow", CASES[name]))
    keys = Keys()
    layout = Layout(np.dtype(np.float64), columns=("v",), group_by=("x",))
    (rows,) = read_file(path, layout, keys).blocks
    assert rows.key is not None
    assert [keys.names[n] for n in rows.key] == [(text,) for text in CASES[name].texts or ()]


def test_a_missing_key_is_empty_whatever_lies_there(tmp_path: Path) -> None:
    bits = np.packbits([False, True], bitorder="little")
    buffers = [bits.tobytes(), np.array([0, 1, 2], np.int32).tobytes(), b"ab"]
    column = pa.Array.from_buffers(pa.string(), 2, [*map(pa.py_buffer, buffers)])
    path = saved(tmp_path / "x.arrow", Case(column, "", ("", "b")))
    keys = Keys()
    layout = Layout(np.dtype(np.float64), columns=("v",), group_by=("x",))
    assert [*read_file(str(path), layout, keys).blocks]
    assert keys.names == [("",), ("b",)]


def test_a_time_that_has_no_date_is_told_from_others(run_rnn: Rnn, tmp_path: Path) -> None:
    """DuckDB writes infinity as the largest of all."""
    column = pa.array([2**63 - 1, -(2**63) + 1], pa.timestamp("us"))
    path = saved(tmp_path / "x.arrow", Case(column, "", ("", "")))
    lines = run_rnn("run", path, *ALONE, "--passthrough", "--format", "csv").stdout.splitlines()
    texts = [f"<value out of range: {number}>" for number in column.cast("int64").to_pylist()]
    assert [line.split(",")[0] for line in lines[1:]] == texts


@pytest.mark.parametrize("name", TEXTS)
def test_any_type_is_text_beside_text(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path / "x.arrow", CASES[name])
    lines = run_rnn("run", path, *ALONE, "--passthrough", "--format", "jsonl").stdout.splitlines()
    for line, text in zip(lines, CASES[name].texts or (), strict=True):
        quoted = text.replace("\\", r"\\").replace('"', r"\"")
        assert f'"row": {{"x": "{quoted}", "v": ' in line


@pytest.mark.parametrize("form", ["arrow", "parquet"])
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("some", [0, 1])
def test_any_type_is_kept(run_rnn: Rnn, tmp_path: Path, name: str, form: str, some: int) -> None:
    """All of its rows, or some."""
    case, to = CASES[name], tmp_path / f"out.{form}"
    path = saved(tmp_path / "x.arrow", case)
    result = run_rnn("run", path, *ALONE, "--passthrough", *["--tail", "1"] * some, "-o", to)
    if result.exit_code and (some or name == "runs"):  # Arrow cannot choose among such rows
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        return
    if form == "parquet" and not case.in_parquet:
        assert result.exit_code == 2
        assert result.stderr.startswith("Error: Parquet does not hold a column of the input: ")
        assert result.stderr.endswith("; --format arrow does\n")
        return
    assert result.exit_code == 0
    found = opened(to)
    assert repr(found["x"].to_pylist()) == repr(case.column.slice(some).to_pylist())
    if form == "arrow":
        assert str(found.schema.field("x").type) == read_as(case.column.type)
    assert found.column_names == ["x", "v", "h_0"]
