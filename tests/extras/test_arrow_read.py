"""Parquet and Arrow are read as the same rows in CSV are, to the bit."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.cli import rnn
from rnncli.readers import read_file
from rnncli.readers.input import Keys, Layout

FORMS = ("x.parquet", "x.arrow", "stream.feather")
NETWORK = ("--hidden", "3", "--format", "csv")


def saved(path: Path, table: Any, rows: int) -> Path:
    """Save as the name says, in row groups or batches of so many rows."""
    if path.name == "x.parquet":
        pq.write_table(table, path, row_group_size=rows)
        return path
    new = pa.ipc.new_file if path.name == "x.arrow" else pa.ipc.new_stream
    with new(path, table.schema) as file:
        file.write_table(table, max_chunksize=rows)
    return path


def saved_as_csv(path: Path, table: Any) -> Path:
    """Save by Python alone."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(table.column_names)
        writer.writerows([row.values() for row in table.to_pylist()])
    return path


SENSORS = ("s0", "s1", "", "a,b", 'a"b', "\u00e9\n\u4e16")
ROWS = st.lists(
    st.tuples(
        st.floats(-1e9, 1e9), st.none() | st.floats(-9, 9), st.sampled_from(SENSORS), st.booleans()
    ),
    min_size=1,
    max_size=40,
)
OPTIONS = (
    *(
        ("--columns", "2-3", "--missing", "hold"),
        ("--columns", "2-5,!sensor,!site", "--missing", "zero"),
    ),
    *(("--columns", "gap,value", "--missing", "zero"), ("--columns", "value", "--passthrough")),
    ("--columns", "value", "--group-by", "time", "--last"),
    ("--columns", "value", "--group-by", "site,sensor", "--passthrough"),
    ("--columns", "value", "--center", "auto", "--scale", "auto"),
    ("--columns", "value", "--passthrough", "--tail", "3"),
    ("--columns", "value", "--group-by", "sensor", "--direction", "backward"),
    ("--columns", "gap", "--missing", "hold", "--group-by", "sensor", "--last"),
)


def as_table(rows: list[Any]) -> Any:
    value, gap, sensor, site = zip(*rows, strict=True)
    return pa.table(
        {
            "time": pa.array([f"2024-05-06T06:{n:02}:00" for n in range(len(rows))]),
            "value": value,
            "gap": pa.array(gap, pa.float64()),
            "sensor": sensor,
            "site": pa.array([int(each) for each in site], pa.int8()).dictionary_encode(),
        }
    )


@given(
    rows=ROWS, options=st.sampled_from(OPTIONS), form=st.sampled_from(FORMS), size=st.integers(1, 9)
)
def test_any_table_gives_the_states_of_csv(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    options: tuple[str, ...],
    form: str,
    size: int,
) -> None:
    folder, table = tmp_path_factory.mktemp("any"), as_table(rows)
    paths = saved(folder / form, table, size), saved_as_csv(folder / "x.csv", table)
    command = ("run", *options, *NETWORK)
    ours, expected = (CliRunner().invoke(rnn, [*command, str(path)]) for path in paths)
    assert (expected.exit_code, ours.exit_code) == (0, 0)
    assert ours.output == expected.output


# A block has at most 65,536 rows; the third is read in a thread.
BLOCKS = {"x.parquet": 10_000, "x.arrow": 65_536, "stream.feather": 140_000}
OF_BLOCKS = {
    "keys": ("gap,value", "--missing", "hold", "--group-by", "site,sensor", "--center", "auto"),
    "cells": ("value", "--passthrough"),
}


@pytest.mark.parametrize("options", OF_BLOCKS.values(), ids=OF_BLOCKS)
def test_a_table_of_many_blocks_gives_the_states_of_csv(
    run_rnn: Rnn, tmp_path: Path, options: tuple[str, ...]
) -> None:
    draws, T = np.random.RandomState(1), 140_000
    number, value = draws.randint(0, 9, T), draws.randint(-99, 99, T) / 8
    gap = pa.array(value / 2, mask=number == 3)
    texts = pa.array(number % 4, pa.int8()).dictionary_encode()
    table = pa.table({"value": value, "gap": gap, "sensor": number.astype(str), "site": texts})
    command = ("run", "--columns", *options, *NETWORK)
    expected = run_rnn(*command, saved_as_csv(tmp_path / "x.csv", table))
    assert expected.stdout.count("\n") == T + 1
    for form, rows in BLOCKS.items():
        assert run_rnn(*command, saved(tmp_path / form, table, rows)).stdout == expected.stdout


@given(sizes=st.lists(st.integers(0, 9), max_size=8), steps=st.integers(2, 12))
def test_blocks_are_cut_by_row_whatever_the_batches(
    sizes: list[int], steps: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path, keys, total = tmp_path_factory.mktemp("cut") / "x.arrow", Keys(), sum(sizes)
    schema = pa.schema({"value": pa.float64(), "sensor": pa.string()})
    ends = np.cumsum(sizes, dtype=int).tolist()
    with pa.ipc.new_stream(path, schema) as file:
        for size, end in zip(sizes, ends, strict=True):
            rows = [{"value": n, "sensor": f"s{n}"} for n in range(end - size, end)]
            file.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    layout = Layout(np.dtype(np.float64), ("value",), group_by=("sensor",), block_steps=steps)
    blocks = [*read_file(str(path), layout._replace(passthrough=True), keys).blocks]
    lengths = [len(rows.x) for rows in blocks]
    assert lengths == [min(steps, total - at) for at in range(0, total, steps)]
    assert [n for rows in blocks for n in rows.x[:, 0]] == [*range(total)]
    assert keys.names == [(f"s{n}",) for n in range(total)]
    cells = [row[1] for rows in blocks for row in rows.cells or ()]
    assert cells == [f"s{n}" for n in range(total)]


@pytest.mark.parametrize("form", FORMS)
def test_the_first_bytes_tell_the_kind(run_rnn: Rnn, tmp_path: Path, form: str) -> None:
    """Under any name, and from a pipe."""
    path = saved(tmp_path / form, pa.table({"v": [1.0, 2.0]}), 1)
    path.rename(tmp_path / "x.csv")
    expected = run_rnn("run", "--seq", "1,2", *NETWORK).stdout
    assert run_rnn("run", tmp_path / "x.csv", *NETWORK).stdout == expected
    for named in ((), ("-",)):
        piped = run_rnn("run", *named, *NETWORK, stdin=(tmp_path / "x.csv").read_bytes())
        assert piped.stdout == expected


def test_only_the_columns_that_are_needed_are_read(run_rnn: Rnn, tmp_path: Path) -> None:
    """A column whose bytes are damaged does no harm where it is not read."""
    each = pa.table({"broken": np.arange(1000.0), "v": np.arange(1000.0)})
    content = io.BytesIO()
    pq.write_table(each, content, compression="zstd", use_dictionary=False)
    path = tmp_path / "x.parquet"
    path.write_bytes(content.getvalue()[:60] + bytes(200) + content.getvalue()[260:])
    assert run_rnn("run", path, "--columns", "v", *NETWORK).exit_code == 0
    assert run_rnn("run", path, "--columns", "broken", *NETWORK).exit_code == 2


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("index", "name"), [(["a", "b", "a"], "key"), ([0, 1, 2], None)])
def test_states_to_compare_with_may_have_keys(
    run_rnn: Rnn, tmp_path: Path, form: str, index: list[Any], name: str | None
) -> None:
    """A column of text beside `h_0`, ..., and the index of a frame, are not compared."""
    command = ("--seq", "1,2,3", "--hidden", "2")
    run = run_rnn("run", *command, "--format", "jsonl")
    states = [json.loads(line)["h"] for line in run.stdout.splitlines()]
    columns = ["h_0", "h_1"] if name else ["0", "1"]
    each = pa.table([index, *zip(*states, strict=True)], [name or "__index_level_0__", *columns])
    path = saved(tmp_path / form, each, 2)
    result = run_rnn("verify", *command, "--expected", path)
    assert result.stdout.startswith(f"EQUAL: {path}, 6 values"), result.stderr


NAMES = {
    "2": (["a", "a"], [[3.0], [4.0]]),
    "a.b": (["a", "a.b"], [[3.0], [4.0]]),
    "1-2": (["a", "1-2"], [[3.0], [4.0]]),
    '"b,c"': (["a", "b,c"], [[3.0], [4.0]]),
    "b": (["", "b"], [[3.0], [4.0]]),
    "b,a": (["a", "b"], [[3.0, 1.0], [4.0, 2.0]]),
}


@pytest.mark.parametrize("columns", NAMES)
@pytest.mark.parametrize("form", FORMS)
def test_columns_have_any_name(run_rnn: Rnn, tmp_path: Path, columns: str, form: str) -> None:
    names, expected = NAMES[columns]
    path = saved(tmp_path / form, pa.table([[1.0, 2.0], [3.0, 4.0]], names=names), 1)
    run = run_rnn("run", path, "--columns", columns, "--hidden", "1", "--json")
    assert [step["x"] for step in json.loads(run.stdout)["steps"]] == expected


def test_several_files_are_a_sequence_each_or_one_stream_of_keys(
    run_rnn: Rnn, tmp_path: Path
) -> None:
    table = pa.table({"value": np.arange(40.0) % 7, "sensor": [f"s{n % 3}" for n in range(40)]})
    whole = saved_as_csv(tmp_path / "whole.csv", table)
    text = saved_as_csv(tmp_path / "a.csv", table.slice(0, 15))
    pq.write_table(table.slice(0, 15), tmp_path / "a.parquet")
    pq.write_table(table.slice(15), tmp_path / "b.parquet")
    two = (tmp_path / "a.parquet", tmp_path / "b.parquet")
    key = ("--columns", "value", "--group-by", "sensor", *NETWORK)
    assert run_rnn("run", *two, *key).stdout == run_rnn("run", whole, *key).stdout
    run = run_rnn("run", two[1], text, "--columns", "value", *NETWORK)
    alone = run_rnn("run", two[0], "--columns", "value", *NETWORK).stdout.splitlines()
    assert run.stdout.splitlines()[26:] == [f"{text},{line}" for line in alone[1:]]


TABLES = {
    "a": {"v": [1.0], "k": ["a"]},
    "text": {"v": ["1"], "k": ["b"]},
    "int8": {"v": [1.0], "k": pa.array([1], pa.int8())},
    "null": {"v": [1.0, None]},
    "large": {"v": [1.0, 1e39]},
}
REFUSED = {
    "a.parquet": "a.parquet: column 'k': expected numbers, got string",
    "a.parquet text.parquet --columns v": "text.parquet: column 'v': expected numbers, got string",
    "a.parquet int8.parquet --columns v --passthrough": "int8.parquet: expected the columns ",
    "a.parquet a.csv --columns v --passthrough": "a.csv: expected the columns v",
    "a.parquet --delimiter tab": "a.parquet: is a table; --delimiter is for CSV text",
    "null.parquet": "null.parquet: row 2, column 'v': not a finite number",
    "large.parquet": "large.parquet: row 2, column 'v': ",
}


@pytest.mark.parametrize("command", REFUSED)
def test_a_table_is_refused_in_one_line(
    run_rnn: Rnn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("v,k\n1,a\n")
    for name, columns in TABLES.items():
        pq.write_table(pa.table(columns), f"{name}.parquet")
    result = run_rnn("run", *command.split(), *NETWORK)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"Error: {REFUSED[command]}")
    if "row 2" in result.stderr:  # the rows before it are written
        assert [line[:2] for line in result.stdout.splitlines()] == ["t,", "1,"]
