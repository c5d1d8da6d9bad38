"""`rnncli.score` on tables in memory: what the command makes of the same rows in a file."""

import io
import re
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import Rnn

import rnncli

OPTIONS: dict[str, dict[str, Any]] = {
    "": {},
    "--passthrough": {"passthrough": True},
    "--last": {"last": True},
    "--last --passthrough --states": {"last": True, "passthrough": True, "states": True},
    "--tail 2": {"tail": 2},
    "--states --all-layers --center 0.5": {"states": True, "all_layers": True, "center": 0.5},
}
WRONG: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("head", "tail"), (0, 1.5)),
    **dict.fromkeys(("precision", "unroll", "format", "encoding", "delimiter"), ("no",)),
    "digits": (25,),
    "null_values": (3.5,),
    "state": (3, ""),
    "center": (float("nan"),),
    "scale": (0, [1, float("inf")]),
}
KEYED: dict[str, Any] = {"columns": "v", "group_by": "k", "missing": "hold"}


def frame(rows: int = 200) -> pd.DataFrame:
    """Rows of keys in turn, with gaps, and an index of their own."""
    random = np.random.default_rng(0)
    v = np.where(random.uniform(size=rows) < 0.1, np.nan, random.normal(size=rows))
    keys = random.integers(0, 5, rows).astype(str)
    return pd.DataFrame({"time": np.arange(rows), "k": keys, "v": v}, index=np.arange(rows) + 7)


@pytest.mark.parametrize(("words", "options"), OPTIONS.items(), ids=OPTIONS)
def test_a_table_gives_what_a_file_does(
    run_rnn: Rnn, tmp_path: Path, words: str, options: dict[str, Any]
) -> None:
    table, network = frame(), rnncli.seeded(1, 3, cell="lstm", init="keras")
    table.to_csv(tmp_path / "x.csv", index=False)
    rnncli.save(network, tmp_path / "net.npz")
    given = ("--columns", "v", "--group-by", "k", "--missing", "hold", "--format", "csv")
    run = run_rnn(
        "run", tmp_path / "x.csv", "--weights", tmp_path / "net.npz", *given, *words.split()
    )
    assert run.exit_code == 0, run.stderr
    expected = pd.read_csv(io.StringIO(run.stdout), dtype={"k": str})
    ours = rnncli.score(table, network, **KEYED, **options)
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    theirs = rnncli.score(arrow, network, **KEYED, **options).to_pandas()
    for found in (ours, theirs):
        assert list(found.columns) == list(expected.columns)
        for name, column in expected.items():
            if name == "k":
                assert found[name].tolist() == column.tolist()
            else:
                np.testing.assert_allclose(found[name], column, rtol=1e-6, atol=1e-7)
    steps = table.reset_index()
    assert set(ours.index) <= set(steps["index"])


def test_files_are_written_and_states_left(tmp_path: Path) -> None:
    """By paths; a table goes on from the state of another run."""
    table, network, state = frame(), rnncli.seeded(1, 3), tmp_path / "s"
    table.to_csv(tmp_path / "x.csv", index=False)
    whole = rnncli.score(table, network, **KEYED, unroll="stepwise")
    first = rnncli.score(table[:90], network, **KEYED, state=state, unroll="stepwise")
    rest = rnncli.score(table[90:], network, **KEYED, state=state, unroll="stepwise")
    pd.testing.assert_frame_equal(pd.concat([first, rest]), whole)
    sink = tmp_path / "out.csv.gz"
    assert rnncli.score([tmp_path / "x.csv"], network, sink, **KEYED, unroll="stepwise") == 200
    assert pd.read_csv(sink)["h_2"].astype("f").tolist() == whole["h_2"].tolist()


@pytest.mark.filterwarnings("ignore:columns read by name")
@pytest.mark.parametrize(
    ("labels", "columns", "read"),
    [
        ([0, 1], 0, 0),
        ([0, 1], np.int64(1), 1),
        ([0, 1], "1", 1),
        (["2", "x"], "2", 0),
        (["2", "x"], 2, 1),
        (["2", "x"], "1", 0),
    ],
)
def test_a_text_is_a_name_and_an_integer_a_number(
    tmp_path: Path, labels: list[Any], columns: Any, read: int
) -> None:
    """An integer is a label where labels are integers."""
    table, network = pd.DataFrame([[0.1, 0.5], [0.2, 0.6]], columns=labels), rnncli.seeded(1, 1)
    expected = rnncli.run(network, table.iloc[:, [read]].to_numpy()).h[:, 0]
    ours = rnncli.score(table, network, columns=columns, unroll="stepwise")
    np.testing.assert_allclose(ours["h_0"], expected, rtol=1e-6)
    if labels == [0, 1]:
        keyed = rnncli.score(table, network, columns=[1], group_by=[0])
        assert list(keyed.columns) == [0, "t", "h_0"]
    else:
        table.to_csv(tmp_path / "x.csv", index=False)
        files = (tmp_path / "x.csv", network, tmp_path / "y.csv")
        rnncli.score(*files, columns=columns, first_row="header")
        assert pd.read_csv(tmp_path / "y.csv")["h_0"].tolist() == pytest.approx(expected, rel=1e-6)


NO_SOURCES: tuple[Any, ...] = (5, None, {"v": [1]}, np.ones((3, 1, 1)), [[1], [2, 3]], [{"v": 1}])


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (frame(), {"columns": "w"}, "DataFrame: no column 'w'"),
        (frame().set_index("k"), {"columns": "v", "group_by": "k"}, "'k' is a level of the index"),
        (pd.DataFrame([[1.0, 5.0]]), {"columns": 2}, "DataFrame: no column 2; there are 0, 1"),
        (frame(), {"columns": 1.5}, "columns: expected names of columns or their numbers"),
        (frame(), {"columns": "k"}, "column 'k': expected numbers, got "),
        (frame(), {"columns": "v"}, "column 'v': not a finite number: nan; `missing` hold"),
        (frame(), {"columns": "v", "missing": "no"}, "missing: expected one of error, hold"),
        (frame(), {"columns": "v", "h0": [1, 2]}, r"h0: expected shape \(3,\), got \(2,\)"),
        (frame().rename(columns={"time": "h_0"}), KEYED | {"passthrough": True}, "'h_0' would"),
        (frame(), {"columns": "v,time"}, "no column 'v,time'; there are 'time', 'k', 'v'"),
        *(
            (frame(), {"columns": "v", name: wrong}, f"{name}: .*{re.escape(repr(wrong))}")
            for name, values in WRONG.items()
            for wrong in values
        ),
        *((source, {"sink": "y.csv"}, "source: expected files") for source in NO_SOURCES),
        *(
            (frame(), {"columns": "v", **given}, f"{next(iter(given))}.* is for ")
            for given in ({"delimiter": ";"}, {"encoding": "cp1252"})
        ),
        ([], {"sink": "y.csv"}, "source: no files"),
        (frame(), {"columns": "v", "sink": "x.csv"}, "sink: the result of a DataFrame is returned"),
        ({1, 2}, {}, "source: expected files, a table, an array or a list, got set"),
        ("x.csv", {}, "sink: give the file that the result goes to"),
        ("x.csv", {"sink": "y.csv", "last": True, "no_last": True}, "`last` and `no_last`"),
    ],
)
def test_wrong_parameters(source: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rnncli.score(source, rnncli.seeded(1, 3), **options)


def same_rows(found: Any, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        pa.table(found).to_pandas(), expected.reset_index(drop=True), check_dtype=False
    )


@pytest.mark.parametrize("options", [{}, {"passthrough": True}, {"last": True}], ids=str)
def test_tables_of_other_libraries_give_their_kind(options: dict[str, Any]) -> None:
    """Whatever has Arrow's interface: polars, DuckDB, and PyArrow's other kinds."""
    table, network = frame(), rnncli.seeded(1, 3)
    options = KEYED | options
    expected = rnncli.score(table, network, **options)
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    kinds = [arrow.combine_chunks().to_batches()[0], arrow.to_reader()]
    kinds += [pl.from_arrow(arrow), duckdb.from_arrow(arrow)]
    for source in kinds:
        found = rnncli.score(source, network, **options)
        assert type(found) is type(source)
        same_rows(found, expected)


class Stream:
    """A table of a library that rnncli does not know."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, schema: object = None) -> object:
        return self.table.__arrow_c_stream__(schema)


def test_an_unknown_library_gets_a_pyarrow_table() -> None:
    table, network = frame(), rnncli.seeded(1, 3)
    source = Stream(pa.Table.from_pandas(table, preserve_index=False))
    found = rnncli.score(source, network, **KEYED)
    assert isinstance(found, pa.Table)
    same_rows(found, rnncli.score(table, network, **KEYED))


def test_arrays_and_lists_give_their_kind() -> None:
    x, network = np.random.default_rng(0).normal(size=(9, 2)), rnncli.seeded(2, 3)
    expected = rnncli.run(network, x).h
    np.testing.assert_array_equal(rnncli.score(x, network), expected)
    assert rnncli.score(x.tolist(), network) == expected.tolist()
    copied = rnncli.score(x, network, passthrough=True)
    np.testing.assert_array_equal(copied, np.hstack([x, expected]))
    one = rnncli.seeded(1, 3)
    found = rnncli.score(x, one, columns=2, group_by=1)  # each key has one row
    np.testing.assert_allclose(found, [rnncli.run(one, row[1:]).h[0] for row in x], rtol=1e-6)
    for series in (pd.Series([1.0, 2], name="v"), [1, 2], np.array([1, 2])):
        result = rnncli.score(series, one)
        assert len(result) == 2
    assert isinstance(rnncli.score(pd.Series([1.0, 2], name="v"), one), pd.DataFrame)


def test_a_lazy_table_is_collected_by_its_owner() -> None:
    class LazyFrame:
        def collect(self) -> None:
            """Make the table."""

    with pytest.raises(ValueError, match=r"of a LazyFrame give source.collect\(\)"):
        rnncli.score(LazyFrame(), rnncli.seeded(1, 1))
