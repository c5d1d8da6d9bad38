"""Parquet and Arrow in: the same rows as the same numbers in CSV, to the bit."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.readers import Keys, Layout, read_file

T = 150_000
NETWORK = ("--hidden", "3", "--format", "csv")


def table(rows: int = T) -> Any:
    """Two features, in one of which values are missing, two keys, and a time."""
    draws = np.random.RandomState(1)
    value = draws.normal(size=rows).round(4)
    number = draws.randint(0, 9, rows)
    missing = number == 3
    return pa.table(
        {
            "time": pa.array(np.arange(rows) + 1_715_000_000, pa.timestamp("s")),
            "value": value,
            "gap": pa.array(value / 2, mask=missing),
            "sensor": [f"s{i}" for i in number],
            "site": pa.array(number % 4, pa.int8()).dictionary_encode(),
        }
    )


def as_csv(each: Any) -> str:
    """What the table is as CSV, by Python alone."""
    names = each.column_names
    lines = [",".join(names)]
    for row in each.to_pylist():
        time = row.pop("time").isoformat()
        cells = ["" if cell is None else str(cell) for cell in row.values()]
        lines.append(",".join([time, *cells]))
    return "\n".join(lines) + "\n"


def saved(folder: Path, each: Any, rows: int) -> dict[str, Path]:
    """A Parquet file with row groups of so many rows, an Arrow file and a stream with batches."""
    paths = {name: folder / name for name in ("x.parquet", "x.arrow", "stream.feather")}
    pq.write_table(each, paths["x.parquet"], row_group_size=rows)
    for name, new in (("x.arrow", pa.ipc.new_file), ("stream.feather", pa.ipc.new_stream)):
        with new(paths[name], each.schema) as file:
            file.write_table(each, max_chunksize=rows)
    return paths


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table as CSV, Parquet and Arrow, in batches of three sizes."""
    folder, each = tmp_path_factory.mktemp("whole"), table()
    (folder / "x.csv").write_text(as_csv(each))
    for rows in (10_000, 65_536, T):
        (folder / str(rows)).mkdir()
        saved(folder / str(rows), each, rows)
    return folder


OPTIONS = {
    "a column": ("--columns", "value"),
    "by number": ("--columns", "2"),
    "a range without one": ("--columns", "2-5,!sensor,!site", "--missing", "hold"),
    "missing, held": ("--columns", "gap,value", "--missing", "hold"),
    "missing, zero": ("--columns", "value,gap", "--missing", "zero"),
    "a key": ("--columns", "value", "--group-by", "sensor"),
    "two keys": ("--columns", "value", "--group-by", "site,sensor"),
    "keys of which each is new": ("--columns", "value", "--group-by", "time", "--tail", "1"),
    "scaled": ("--columns", "value", "--center", "auto", "--scale", "auto"),
    "passed through": ("--columns", "value", "--passthrough"),
    "some of them": ("--columns", "value", "--passthrough", "--head", "7", "--tail", "300"),
    "whole sequences": ("--columns", "value", "--group-by", "sensor", "--direction", "backward"),
    "the final state": ("--columns", "gap", "--missing", "hold", "--group-by", "site", "--last"),
}


@pytest.mark.slow
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_states_are_those_of_csv(run_rnn: Rnn, whole: Path, options: tuple[str, ...]) -> None:
    expected = run_rnn("run", whole / "x.csv", *options, *NETWORK)
    assert (expected.exit_code, expected.stdout.count("\n") > 2) == (0, True)
    for rows in (10_000, 65_536, T):
        for path in sorted((whole / str(rows)).iterdir()):
            result = run_rnn("run", path, *options, *NETWORK)
            assert (result.stdout, result.exit_code) == (expected.stdout, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "stream.feather"])
def test_a_table_under_another_name(run_rnn: Rnn, tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, pa.table({"v": [1.0, 2.0]}), 2)[name]
    command = ("--hidden", "2", "--format", "csv")
    expected = run_rnn("run", str(path), *command)
    result = run_rnn("run", str(path.rename(tmp_path / "x.csv")), *command)
    assert (result.exit_code, result.stdout) == (0, expected.stdout)


@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "stream.feather"])
def test_what_is_piped_in_is_told_by_its_first_bytes(run_rnn: Rnn, whole: Path, name: str) -> None:
    options = ("--columns", "value", "--group-by", "sensor", *NETWORK)
    expected = run_rnn("run", whole / "x.csv", *options)
    content = (whole / "10000" / name).read_bytes()
    for given_files in ((), ("-",)):
        assert run_rnn("run", *given_files, *options, stdin=content).stdout == expected.stdout


@given(data=st.data())
@pytest.mark.slow
def test_blocks_do_not_depend_on_batches(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Batches of any sizes, empty ones among them, cut into blocks of any size."""
    sizes = data.draw(st.lists(st.integers(0, 9), max_size=8))
    steps = data.draw(st.integers(2, 12))
    each = table(sum(sizes))
    path = tmp_path_factory.mktemp("cut") / "x.arrow"
    with pa.ipc.new_stream(path, each.schema) as file:
        for start, size in zip(np.cumsum([0, *sizes]).tolist(), sizes, strict=False):
            for batch in each.slice(start, size).combine_chunks().to_batches() or [
                pa.RecordBatch.from_pylist([], schema=each.schema)
            ]:
                file.write_batch(batch)
    layout = Layout(np.dtype(np.float64), ("value",), group_by=("sensor",), block_steps=steps)
    keys = Keys()
    blocks = [*read_file(str(path), layout._replace(passthrough=True), keys).blocks]
    lengths = [len(rows.x) for rows in blocks]
    assert lengths == [min(steps, sum(sizes) - at) for at in range(0, sum(sizes), steps)]
    joined = np.concatenate([np.empty((0, 1)), *(rows.x for rows in blocks)])
    np.testing.assert_array_equal(joined[:, 0], each["value"].to_numpy())
    numbers = [number for rows in blocks for number in rows.key]  # type: ignore[union-attr]
    assert [keys.names[number][0] for number in numbers] == each["sensor"].to_pylist()
    cells = [row for rows in blocks for row in rows.cells or ()]
    assert [row[3] for row in cells] == each["sensor"].to_pylist()


def test_only_the_columns_that_are_needed_are_read(run_rnn: Rnn, tmp_path: Path) -> None:
    """A column whose bytes are damaged does no harm where it is not read."""
    each = pa.table({"broken": np.arange(1000.0), "v": np.arange(1000.0)})
    content = io.BytesIO()
    pq.write_table(each, content, compression="zstd", use_dictionary=False)
    path = tmp_path / "x.parquet"
    path.write_bytes(content.getvalue()[:60] + bytes(200) + content.getvalue()[260:])
    assert run_rnn("run", path, "--columns", "v", *NETWORK).exit_code == 0
    result = run_rnn("run", path, "--columns", "broken", *NETWORK)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {path}: not a whole Parquet file: ")


NAMES = {
    "twice": (["a", "a"], ("--columns", "2"), [[3.0], [4.0]]),
    "with a point": (["a", "a.b"], ("--columns", "a.b"), [[3.0], [4.0]]),
    "of a range": (["a", "1-2"], ("--columns", "1-2"), [[3.0], [4.0]]),
    "with a comma": (["a", "b,c"], ("--columns", '"b,c"'), [[3.0], [4.0]]),
    "of nothing": (["a", ""], ("--columns", "2"), [[3.0], [4.0]]),
    "in another order": (["a", "b"], ("--columns", "b,a"), [[3.0, 1.0], [4.0, 2.0]]),
}


@pytest.mark.parametrize(("names", "options", "expected"), NAMES.values(), ids=NAMES)
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow", "stream.feather"])
def test_columns_of_any_name(
    run_rnn: Rnn,
    tmp_path: Path,
    names: list[str],
    options: tuple[str, ...],
    expected: list[list[float]],
    name: str,
) -> None:
    path = saved(tmp_path, pa.table([[1.0, 2.0], [3.0, 4.0]], names=names), 1)[name]
    document = json.loads(run_rnn("run", path, *options, "--hidden", "1", "--json").stdout)
    assert [step["x"] for step in document["steps"]] == expected


def test_several_files(run_rnn: Rnn, tmp_path: Path) -> None:
    """A sequence each, beside CSV too; or one stream whose keys go on."""
    each = table(40)
    (tmp_path / "all.csv").write_text(as_csv(each))
    (tmp_path / "a.csv").write_text(as_csv(each.slice(0, 15)))
    pq.write_table(each.slice(0, 15), tmp_path / "a.parquet")
    pq.write_table(each.slice(15), tmp_path / "b.parquet")
    two = (tmp_path / "a.parquet", tmp_path / "b.parquet")
    key = ("--columns", "value", "--group-by", "sensor", *NETWORK)
    assert run_rnn("run", *two, *key).stdout == run_rnn("run", tmp_path / "all.csv", *key).stdout
    result = run_rnn("run", two[1], tmp_path / "a.csv", "--columns", "value", *NETWORK)
    assert result.stdout.splitlines()[26] == (
        f"{tmp_path / 'a.csv'},1,"
        + run_rnn("run", two[0], "--columns", "value", *NETWORK).stdout.splitlines()[1][2:]
    )


LATER = {
    "a feature": (
        pa.table({"v": ["1"], "k": ["b"]}),
        ("--columns", "v"),
        "column 'v': expected numbers, got string; make numbers of text where the file is written",
    ),
    "a cell that is kept": (
        pa.table({"v": [1.0], "k": pa.array([1], pa.int8())}),
        ("--columns", "v", "--passthrough"),
        "column 'k' holds int8, that of {first} string; with --passthrough the types have to agree",
    ),
}


@pytest.mark.parametrize(("second", "options", "message"), LATER.values(), ids=LATER)
def test_another_type_in_a_later_file(
    run_rnn: Rnn, tmp_path: Path, second: Any, options: tuple[str, ...], message: str
) -> None:
    first, path = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"v": [1.0], "k": ["a"]}), first)
    pq.write_table(second, path)
    result = run_rnn("run", first, path, *options, *NETWORK)
    assert result.exit_code == 2
    assert result.stderr == f"Error: {path}: {message.format(first=first)}\n"


def test_passthrough_of_tables_and_text_together(run_rnn: Rnn, tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1.0]}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("v\n1\n")
    paths = (tmp_path / "a.parquet", tmp_path / "b.csv")
    result = run_rnn("run", *paths, "--columns", "v", "--passthrough", *NETWORK)
    assert result.stderr == (
        f"Error: {paths[1]}: is not of the kind of {paths[0]}; "
        "with --passthrough give CSV, or Parquet and Arrow\n"
    )


REFUSED = {
    "delimiter": (("--delimiter", "tab"), "has no lines of cells; --delimiter and --first-row are"),
    "first row": (
        ("--first-row", "data"),
        "has no lines of cells; --delimiter and --first-row are",
    ),
    "decimal": (("--decimal", ","), "has no cells of text; --null-value and --decimal are"),
    "null value": (("--null-value", "-1"), "has no cells of text; --null-value and --decimal are"),
    "encoding": (("--encoding", "latin-1"), "is no text; --encoding is"),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("name", ["x.parquet", "x.arrow"])
def test_what_is_for_text_is_refused(
    run_rnn: Rnn, tmp_path: Path, options: tuple[str, ...], message: str, name: str
) -> None:
    path = saved(tmp_path, pa.table({"v": [1.0]}), 1)[name]
    result = run_rnn("run", path, *options, *NETWORK)
    kind = "Parquet" if name == "x.parquet" else "Arrow"
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: {path}: {kind} {message} for CSV text\n",
    )


ROWS = {
    "a null": (
        pa.array([1.0, None]),
        "row 2, column 'v': not a finite number: nan; --missing hold or zero passes it",
    ),
    "NaN": (
        pa.array([1.0, float("nan")]),
        "row 2, column 'v': not a finite number: nan; --missing hold or zero passes it",
    ),
    "infinity": (pa.array([1.0, float("inf")]), "row 2, column 'v': not a finite number: inf"),
    "too large": (
        pa.array([1.0, 1e39]),
        "row 2, column 'v': too large for float32: 1e+39 (--precision float64 holds more)",
    ),
}


@pytest.mark.parametrize(("column", "message"), ROWS.values(), ids=ROWS)
def test_errors_in_rows(run_rnn: Rnn, tmp_path: Path, column: Any, message: str) -> None:
    """The rows before them are written."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"v": column}), path)
    result = run_rnn("run", path, *NETWORK)
    assert (result.exit_code, result.stderr) == (2, f"Error: {path}: {message}\n")
    assert [line[:2] for line in result.stdout.splitlines()] == ["t,", "1,"]


def test_no_rows(run_rnn: Rnn, tmp_path: Path) -> None:
    for path in saved(tmp_path, table(0), 1).values():
        result = run_rnn("run", path, "--columns", "value", *NETWORK)
        assert (result.exit_code, result.stdout) == (0, "t,h_0,h_1,h_2\n")
