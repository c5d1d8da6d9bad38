"""Parquet and Arrow out: what other readers make of it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT, SAMPLES, Rnn

RAW = ("run", str(SAMPLES / "sensors.csv"), "--columns", "temperature,humidity")
SCALED = (*RAW, "--scale", "20,60")
Rows = list[tuple[Any, ...]]


def of_pandas(path: Path) -> Rows:
    read = pd.read_parquet if path.suffix == ".parquet" else pd.read_feather
    return list(read(path).itertuples(index=False, name=None))


def of_polars(path: Path) -> Rows:
    read = pl.read_parquet if path.suffix == ".parquet" else pl.read_ipc
    return list(read(path).iter_rows())


def of_duckdb(path: Path) -> Rows:
    if path.suffix == ".parquet":
        return list(duckdb.sql(f"from '{path}'").fetchall())
    with duckdb.connect() as connection:
        connection.register("states", pa.ipc.open_file(path).read_all())
        return list(connection.sql("from states").fetchall())


READ = {"pandas": of_pandas, "polars": of_polars, "duckdb": of_duckdb}
OPTIONS = {
    "units": ("--hidden", "3"),
    "float64": ("--hidden", "3", "--precision", "float64"),
    "keys": ("--hidden", "2", "--group-by", "sensor"),
    "two keys": ("--hidden", "2", "--group-by", "sensor,time"),
    "all layers": ("--hidden", "3,2", "--cell", "lstm", "--states", "--all-layers"),
    "the final state": ("--hidden", "2", "--group-by", "sensor", "--last"),
    "one final state": ("--hidden", "2", "--last"),
    "some of the steps": ("--hidden", "2", "--head", "2", "--tail", "1", "--group-by", "sensor"),
}


@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_others_read_what_csv_has(
    run_rnn: Rnn, tmp_path: Path, read: Callable[[Path], Rows], options: tuple[str, ...], form: str
) -> None:
    path = tmp_path / f"x.{form}"
    header, *lines = run_rnn(*SCALED, *options, "--format", "csv").stdout.splitlines()
    assert run_rnn(*SCALED, *options, "-o", path).exit_code == 0
    found = read(path)
    kind = np.float64 if "float64" in options else np.float32
    keys = header.split(",").index("t")
    for row, line in zip(found, lines, strict=True):
        cells = line.split(",")
        assert (*row[:keys], str(row[keys])) == tuple(cells[: keys + 1])
        assert [kind(cell) for cell in row[keys + 1 :]] == [kind(c) for c in cells[keys + 1 :]]
    schema = _schema(path)
    assert schema.names == header.split(",")
    assert schema.field("t").type == pa.int64()
    assert schema.types[-1] == pa.from_numpy_dtype(kind)
    assert all(schema.field(name).type == pa.string() for name in schema.names[:keys])


def _schema(path: Path) -> Any:
    return pq.read_schema(path) if path.suffix == ".parquet" else pa.ipc.open_file(path).schema


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_the_schema_says_what_was_run(run_rnn: Rnn, tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x.{form}"
    run_rnn(*SCALED, "--hidden", "2", "-o", path)
    document = json.loads(run_rnn(*SCALED, "--hidden", "2", "--json").stdout)
    assert json.loads(_schema(path).metadata[b"model"]) == document["model"]


def test_text_is_passed_through_as_text(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    run_rnn(*SCALED, "--hidden", "1", "--passthrough", "--group-by", "sensor", "-o", path)
    found = pd.read_parquet(path)
    expected = pd.read_csv(SAMPLES / "sensors.csv", dtype=str, keep_default_na=False)
    assert list(found) == ["time", "sensor", "temperature", "humidity", "h_0"]
    assert found.iloc[:, :4].to_numpy().tolist() == expected.to_numpy().tolist()


def test_columns_of_a_table_keep_their_types(run_rnn: Rnn, tmp_path: Path) -> None:
    """So a table comes back with the states beside it, whatever wrote it."""
    path, to = tmp_path / "x.parquet", tmp_path / "y.parquet"
    frame = pd.read_csv(SAMPLES / "sensors.csv", parse_dates=["time"])
    frame["sensor"] = frame["sensor"].astype("category")
    frame.to_parquet(path)
    run_rnn("run", path, "--columns", "3", "--hidden", "1", "--passthrough", "-o", to)
    found = pd.read_parquet(to)
    frame["sensor"] = frame["sensor"].astype(found["sensor"].dtype)  # a dictionary's values
    pd.testing.assert_frame_equal(found.drop(columns="h_0"), frame)
    only = ("--columns", "temperature", "--hidden", "1", "--format", "csv")
    states = run_rnn("run", SAMPLES / "sensors.csv", *only).stdout.splitlines()[1:]
    assert found["h_0"].tolist() == [np.float32(line.split(",")[1]) for line in states]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_dictionaries_may_change(run_rnn: Rnn, tmp_path: Path, form: str) -> None:
    """From batch to batch, and from block to block: their values are written."""
    path, to = tmp_path / "x.feather", tmp_path / f"y.{form}"
    texts = [each for two in ("ab", "ca", "bd") for each in [two[0]] * 30_000 + [two[1]] * 10_000]
    parts = [pa.array(texts[at : at + 40_000]) for at in (0, 40_000, 80_000)]
    tables = [pa.table({"k": each.dictionary_encode(), "v": np.ones(40_000)}) for each in parts]
    with pa.ipc.new_stream(path, tables[0].schema) as file:
        for each in tables:
            file.write_table(each)
    run_rnn("run", path, "--columns", "v", "--hidden", "1", "--passthrough", "-o", to)
    read = pq.read_table if form == "parquet" else lambda path: pa.ipc.open_file(path).read_all()
    assert read(to)["k"].to_pylist() == texts


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("options", [(), ("--passthrough",)])
def test_no_steps(run_rnn: Rnn, tmp_path: Path, form: str, options: tuple[str, ...]) -> None:
    """A whole file with all of its columns, and no rows."""
    path, to = tmp_path / "x.parquet", tmp_path / f"y.{form}"
    pq.write_table(
        pa.table({"time": pa.array([], pa.timestamp("s", "UTC")), "v": pa.array([], pa.float32())}),
        path,
    )
    assert (
        run_rnn("run", path, "--columns", "v", "--hidden", "2", "-o", to, *options).exit_code == 0
    )
    schema = _schema(to)
    before = ["time", "v"] if options == ("--passthrough",) else ["t"]
    assert schema.names == [*before, "h_0", "h_1"]
    if before[0] == "time":
        assert schema.field("time").type.tz == "UTC"
    assert (
        of_pandas(to.rename(to.with_suffix(".parquet" if form == "parquet" else ".feather"))) == []
    )


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_an_error_leaves_the_old_file(run_rnn: Rnn, tmp_path: Path, form: str) -> None:
    """A pipe has the rows before it."""
    to = tmp_path / f"x.{form}"
    to.write_text("old")
    options = ("run", "--hidden", "1", "--format", form)
    result = run_rnn(*options, "-o", to, stdin="1\n2\nx\n")
    assert (result.exit_code, to.read_text(), os.listdir(tmp_path)) == (2, "old", [to.name])
    result = run_rnn(*options, stdin="1\n2\nx\n")
    assert result.exit_code == 2
    content = pa.BufferReader(result.stdout_bytes)
    read = pq.read_table if form == "parquet" else lambda file: pa.ipc.open_stream(file).read_all()
    assert read(content)["t"].to_pylist() == [1, 2]


def test_a_stream_of_a_run_that_fails_has_no_end(run_rnn: Rnn) -> None:
    """What reads it from a pipe does not take it for all there is."""
    options = ("run", "--hidden", "1", "--format")
    stream = run_rnn(*options, "arrow", stdin="1\n2\nx\n").stdout_bytes
    result = run_rnn(*options, "csv", stdin=stream)
    assert (result.exit_code, result.stdout.count("\n")) == (2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_pipe_takes_it_and_gives_it(form: str, tmp_path: Path) -> None:
    """Also one that is closed early, with exit code 0; a file of the shell is Arrow's file."""
    rnn = f"{sys.executable} -m rnncli run"
    first = f"{rnn} {SAMPLES / 'sunspots.csv'} --columns 2 --scale 100 --hidden 2 --format {form}"
    commands = {
        f"{first} | {rnn} --columns h_1 --hidden 1 --last --format csv": "309,",
        f"{first} > x && {rnn} x --columns h_1 --hidden 1 --last --format csv": "309,",
        f"set -o pipefail; {first} | head -c 9 | wc -c": "9",
    }
    for command, expected in commands.items():
        result = subprocess.run(
            ["bash", "-c", command],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert expected in result.stdout + result.stderr
    start = {"parquet": b"PAR1\x15", "arrow": b"ARROW1"}[form]
    assert (tmp_path / "x").read_bytes().startswith(start)
