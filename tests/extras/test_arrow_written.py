"""Parquet and Arrow are written as other readers read them."""

import json
import os
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
from transcripts import Shell

RUN = ("run", "--columns", "temperature,humidity", "--scale", "20,60")
FORMS = pytest.mark.parametrize("form", ["parquet", "arrow"])


def opened(path: Any, form: str) -> Any:
    return pq.read_table(path) if form == "parquet" else pa.ipc.open_file(path).read_all()


def read_by_all(path: Path, form: str) -> dict[str, list[tuple[Any, ...]]]:
    """The rows as each of three readers has them."""
    frame = pd.read_parquet(path) if form == "parquet" else pd.read_feather(path)
    polars = pl.read_parquet(path) if form == "parquet" else pl.read_ipc(path)
    with duckdb.connect() as connection:
        connection.register("states", opened(path, form))
        table = f"read_parquet('{path}')" if form == "parquet" else "states"
        of_duckdb = connection.sql(f"from {table}").fetchall()
    of_pandas = list(frame.itertuples(index=False, name=None))
    return {"pandas": of_pandas, "polars": list(polars.iter_rows()), "duckdb": of_duckdb}


OPTIONS = {
    "float64": ("--hidden", "3", "--precision", "float64"),
    "two keys": ("--hidden", "2", "--group-by", "sensor,time"),
    "all layers": ("--hidden", "3,2", "--cell", "lstm", "--states", "--all-layers"),
    "some of the steps": ("--hidden", "2", "--tail", "2", "--group-by", "sensor"),
}


@FORMS
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_readers_find_the_columns_of_csv(
    run_rnn: Rnn, tmp_path: Path, options: tuple[str, ...], form: str
) -> None:
    path, run = tmp_path / "states", (*RUN, SAMPLES / "sensors.csv", *options)
    header, *lines = run_rnn(*run, "--format", "csv").stdout.splitlines()
    assert run_rnn(*run, "--format", form, "-o", path).exit_code == 0
    kind = np.float64 if "float64" in options else np.float32
    keys = header.split(",").index("t")
    for found in read_by_all(path, form).values():
        for row, line in zip(found, lines, strict=True):
            cells = line.split(",")
            assert (*row[:keys], str(row[keys])) == tuple(cells[: keys + 1])
            assert [kind(each) for each in row[keys + 1 :]] == [kind(c) for c in cells[keys + 1 :]]
    schema = opened(path, form).schema
    assert schema.names == header.split(",")
    floats = [pa.from_numpy_dtype(kind)] * (len(schema) - keys - 1)
    assert schema.types == [*[pa.string()] * keys, pa.int64(), *floats]
    document = json.loads(run_rnn(*run, "--json").stdout)
    assert json.loads(schema.metadata[b"model"]) == document["model"]


@FORMS
def test_dictionaries_may_change_from_batch_to_batch_and_block_to_block(
    run_rnn: Rnn, tmp_path: Path, form: str
) -> None:
    """The values fill two row groups of Parquet."""
    path, to = tmp_path / "x.feather", tmp_path / f"y.{form}"
    texts = [each for two in ("ab", "ca", "bd") for each in [two[0]] * 30_000 + [two[1]] * 10_000]
    parts = [pa.array(texts[at : at + 40_000]) for at in (0, 40_000, 80_000)]
    tables = [pa.table({"k": each.dictionary_encode(), "v": np.ones(40_000)}) for each in parts]
    with pa.ipc.new_stream(path, tables[0].schema) as file:
        for each in tables:
            file.write_table(each)
    run_rnn("run", path, "--columns", "v", "--hidden", "16", "--passthrough", "-o", to)
    assert opened(to, form)["k"].to_pylist() == texts
    if form == "parquet":
        assert pq.ParquetFile(to).num_row_groups == 2


def test_json_has_strings_and_numbers_as_they_were(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["12"], "number": [12], "v": [0.5]}), path)
    options = ("--columns", "v", "--hidden", "1", "--passthrough", "--format", "jsonl")
    text = run_rnn("run", path, *options).stdout
    assert '"row": {"text": "12", "number": 12, "v": 0.5}' in text


@FORMS
def test_no_steps_are_a_whole_file_with_all_columns(
    run_rnn: Rnn, tmp_path: Path, form: str
) -> None:
    path, to = tmp_path / "x.parquet", tmp_path / "y"
    time, v = pa.array([], pa.timestamp("s", "UTC")), pa.array([], pa.float32())
    pq.write_table(pa.table({"time": time, "v": v}), path)
    for options, names in (((), ["t"]), (("--passthrough",), ["time", "v"])):
        run = run_rnn(
            "run", path, "--columns", "v", "--hidden", "1", *options, "--format", form, "-o", to
        )
        assert run.exit_code == 0
        schema = opened(to, form).schema
        assert schema.names == [*names, "h_0"]
        assert [*read_by_all(to, form).values()] == [[], [], []]
    assert schema.field("time").type.tz == "UTC"


@FORMS
def test_a_run_that_fails_leaves_the_old_file(run_rnn: Rnn, tmp_path: Path, form: str) -> None:
    """Into a pipe it writes the rows before the fault."""
    to = tmp_path / "old"
    to.write_text("old")
    run = ("run", "--hidden", "1", "--format", form)
    result = run_rnn(*run, "-o", to, stdin="1\n2\nx\n")
    assert (result.exit_code, to.read_text(), os.listdir(tmp_path)) == (2, "old", ["old"])
    result = run_rnn(*run, stdin="1\n2\nx\n")
    assert result.exit_code == 2
    content = pa.BufferReader(result.stdout_bytes)
    read = pq.read_table if form == "parquet" else lambda file: pa.ipc.open_stream(file).read_all()
    assert read(content)["t"].to_pylist() == [1, 2]
    if form == "arrow":  # a reader of the pipe does not take it for all there is
        again = run_rnn("run", "--hidden", "1", "--format", "csv", stdin=result.stdout_bytes)
        assert again.exit_code == 2


@FORMS
def test_a_pipe_takes_it_and_gives_it(form: str, tmp_path: Path) -> None:
    """Also one that is closed early, with exit code 0; a file of the shell is Arrow's file."""
    (tmp_path / "work").mkdir()
    first = f"rnn run {SAMPLES / 'sunspots.csv'} --columns 2 --scale 100 --hidden 2 --format {form}"
    # A process of its own: a fork of the server has not found out that its input is a pipe.
    second = "python -m rnncli run --columns h_1 --hidden 1 --last --format csv --no-header"
    with Shell(tmp_path, ROOT) as shell:
        piped = shell.run(f"{first} | {second}", tmp_path / "work")
        saved = shell.run(f"{first} > x && {second} < x", tmp_path / "work")
        closed = shell.run(f"set -o pipefail; {first} | head -c 9 | wc -c", tmp_path / "work")
    assert piped == saved
    assert piped[0].startswith("309,")
    assert closed == ("9\n", 0)
    start = {"parquet": b"PAR1", "arrow": b"ARROW1"}[form]
    assert (tmp_path / "work" / "x").read_bytes().startswith(start)
