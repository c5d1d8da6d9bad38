"""Results to text: the shortest digits that read back the same, the same rows in every format."""

import csv
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import NIGHTLY, Rnn
from hypothesis import given
from hypothesis import strategies as st

import rnncli
from rnncli.cli import rnn
from rnncli.engine.rows import Rows
from rnncli.model.arrays import Floats, Integers
from rnncli.writers.formats import FORMATS
from rnncli.writers.grid import Column, draw
from rnncli.writers.result import Result as Described
from rnncli.writers.result import Style

NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?")


class Result(NamedTuple):
    """The rows of a run."""

    t: Integers
    x: Floats
    h: Floats
    key: Integers | None
    keys: Sequence[tuple[str, ...]]
    cells: list[list[str]] | None


def written(form: str, result: Result, style: Style | None = None, block: int = 150) -> bytes:
    """Write rows, in blocks; their states are also the initial and the final ones."""
    t, x, h, key, keys, cells = result
    cuts = [slice(*ends) for ends in pairwise([*range(0, len(t), block), len(t)])]
    blocks = [
        Rows(x[s], None if key is None else key[s], None, cells and cells[s], t[s], {"h": h[s]})
        for s in cuts
    ]
    state = np.zeros_like(h[:1], shape=(1, h.shape[1]))
    zeros = Rows(state[:, :0], t=np.zeros(1, np.intp), values={"h": state})
    described = Described(
        {"activation": "tanh", "input_size": 1, "hidden_sizes": [3], "precision": "float32"}
        | {"direction": "forward", "source": {"init": "tensorflow", "seed": 1}},
        [f"x_{i}" for i in range(x.shape[1])],
        {"h": h.shape[1]},
        lambda: zeros,
        lambda: zeros,
        key_columns=["k", "l"] if keys else (),
        keys=keys,
        header=["c", "d"] if cells else (),
    )
    content = io.BytesIO()
    out = io.TextIOWrapper(content, "utf-8", newline="", errors="surrogatepass")
    writer = FORMATS[form].writer(out, described, style or Style())
    for rows in blocks:
        writer.rows(rows)
    writer.end(None)
    out.flush()
    return content.getvalue()


def text(value: Any, digits: int | None = None) -> str:
    """Write a float as Python and NumPy do."""
    if digits is not None:
        return f"{float(value):z.{digits}f}"
    return repr(float(value)) if value.dtype == np.float64 else str(value)


def texts(values: Floats, digits: int | None = None) -> list[list[str]]:
    return [[text(value, digits) for value in row] for row in values]


WORDS = st.text(max_size=9) | st.sampled_from(
    ["", '"', "a,b", "\r", "\x1f", "ü\0", *("x" * n for n in (16, 17, 128, 129))]
)


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Rows of any floats, few or many; with keys that come as they are needed, and cells."""
    width: Literal[32, 64] = draw(st.sampled_from([32, 64]))
    dtype = np.dtype(f"f{width // 8}")
    some = st.floats(width=width, allow_nan=False, allow_infinity=False)
    some |= st.floats(-1, 1, width=width) | st.sampled_from([0.0, -0.0, 1e-4, 999999.94, 1e6, 1e11])
    floats = np.array(draw(st.lists(some, min_size=1, max_size=20)), dtype)
    count = draw(st.sampled_from([0, 1, 2, 7, 400]))
    random = np.random.RandomState(draw(st.integers(0, 99)))
    x, h = (random.choice(floats, (count, draw(st.integers(1, 4)))) for _ in range(2))
    if draw(st.booleans()):
        x[random.uniform(size=x.shape) < 0.1] = np.nan
    t = draw(st.sampled_from([1, 9990, 10**8 - 3, 2**40])) + np.arange(count)
    key, keys, cells = None, [], None
    if draw(st.booleans()):
        keys = draw(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=9, unique=True))
        key = np.minimum(random.randint(0, 9, count), np.arange(count) // 50) % len(keys)
    if draw(st.booleans()):
        words = draw(st.lists(WORDS, min_size=1, max_size=5))
        cells = [[words[(i + j) % len(words)] for j in range(2)] for i in range(count)]
    return Result(t, x, h, key, keys, cells)


def parsed(content: str | bytes) -> Any:
    """Parse JSON, and leave numbers as they are written."""
    return json.loads(content, parse_float=str, parse_int=str)


@given(results(), st.none() | st.integers(0, 9))
def test_every_format_carries_the_same_rows(result: Result, digits: int | None) -> None:
    t, x, h, key, keys, cells = result
    names: list[Any] = [["", ""]] * len(t) if key is None else [[*keys[n]] for n in key]
    style = Style(digits)
    found = csv.reader(
        io.StringIO(written("csv", result, style).decode(errors="surrogatepass"), newline="")
    )
    assert next(found) == [*"kl"] * bool(keys) + ([*"cd"] if cells else ["t"]) + [
        f"h_{j}" for j in range(h.shape[1])
    ]
    front = cells or [[str(step)] for step in t]
    assert list(found) == [
        [*(name if keys else []), *before, *values]
        for name, before, values in zip(names, front, texts(h, digits), strict=True)
    ]
    features = [
        [None if value in ("nan", "NaN") else value for value in row] for row in texts(x, digits)
    ]
    steps = [
        ({"key": dict(zip("kl", name, strict=True))} if keys else {})
        | {"t": str(step)}
        | ({"row": dict(zip("cd", before, strict=True))} if cells else {"x": row})
        | {"h": values}
        for name, step, before, row, values in zip(
            names, t, front, features, texts(h, digits), strict=True
        )
    ]
    lines = written("jsonl", result, style).decode().splitlines()
    assert [parsed(line) for line in lines] == steps
    assert parsed(written("json", result, style))["steps"] == steps
    if not keys:
        array = np.load(io.BytesIO(written("npy", result, style)))
        assert array.dtype == h.dtype
        assert array.tobytes() == h.tobytes()
        if not np.isnan(x).any():
            table = rows_of_table(written("table", result, style).decode())
            expected = [[*a, *b] for a, b in zip(texts(x, digits), texts(h, digits), strict=True)]
            assert [table[str(step)] for step in t] == expected
            assert set(table) == {"0", *map(str, t)}


def rows_of_table(table: str) -> dict[str, list[str]]:
    """The cells of each row, by their first: wide rows stand in several parts below each other."""
    rows: dict[str, list[str]] = {}
    for first, *others in (line.split() for line in table.splitlines() if re.match(r" *\d", line)):
        rows.setdefault(first, []).extend(others)
    return rows


@pytest.mark.parametrize("seed", range(100 if NIGHTLY else 1))
def test_floats_of_any_bits_are_written_as_numpy_does(seed: int) -> None:
    """Many at once: of all magnitudes, short ones, and neighbours of powers of 2 and 10."""
    random = np.random.RandomState(seed)
    powers = np.concatenate([10.0 ** np.arange(-6, 9), 2.0 ** np.arange(-20, 26)])
    bits = powers.astype(np.float32).view(np.int32)[:, None] + np.arange(-40, 41, dtype=np.int32)
    short = np.arange(1, 2048, 2)[:, None] * 2.0 ** np.arange(-23, 10)
    anything = np.frombuffer(random.bytes(200_000), np.float32)
    ordinary = 2.0 ** random.uniform(-14, 21, 60_000)
    parts = [bits.view(np.float32), short, anything[np.isfinite(anything)], ordinary]
    values = np.concatenate([part.astype(np.float32).ravel() for part in parts])
    values = (values * random.choice(np.array([-1, 1], np.float32), len(values)))[:, None]
    t = 10**8 - 80_000 + np.arange(len(values))
    result = Result(t, values, values, None, [], None)
    lines = written("csv", result, Style(header=False), 50_000).decode().splitlines()
    assert [line.split(",")[1] for line in lines] == values[:, 0].astype("U").tolist()
    assert [line.split(",")[0] for line in lines] == [*map(str, t.tolist())]


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_json_has_numbers_and_letters_of_the_input_as_they_are(form: str) -> None:
    numbers, h = ["19.16", "-3", "1e5", "0", "-0.0"], np.zeros((6, 1))
    words = ["007", "1_000", "nan", "", "+1", "ü", "\ud800", "\x9b", "\u0661", " 1"]
    cells = [[number, word] for number, word in zip(numbers, words[:5], strict=True)]
    cells += [[words[5], "".join(words[5:])]]
    content = written(form, Result(np.arange(6), h, h, None, [], cells)).decode()
    for number, word in cells[:5]:
        assert f'"row": {{"c": {number}, "d": "{word}"}}' in content
    assert '"row": {"c": "ü", "d": "ü\\ud800\\u009b\u0661 1"}' in content


def test_final_states_with_fields_are_the_last_rows(run_rnn: Rnn) -> None:
    network = ("--group-by", "k", "--hidden", "2", "--cell", "lstm", "--states", "--passthrough")
    one, same = (
        run_rnn("run", *network, "--format", "csv", *last, stdin="k,v\na,1\nb,2\na,3\nc,1\nb,1\n")
        for last in (["--last"], ["--tail", "1"])
    )
    assert (one.exit_code, one.stdout) == (0, same.stdout)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_final_state_is_h_and_c_of_every_cell(run_rnn: Rnn, direction: str) -> None:
    words = ("--cell", "lstm", "--hidden", "2", "--direction", direction, "--unroll", "stepwise")
    (final,) = json.loads(run_rnn("run", "--seq", "1,2,3", *words, "--json").stdout)["final"]
    network = rnncli.seeded(1, 2, cell="lstm", direction=direction)
    states = rnncli.run(network, [[1], [2], [3]], unroll="stepwise")
    assert np.array(final["h"] + final["c"], np.float32).tobytes() == states.h_n.tobytes()


def test_tabs_separate_cells_in_tsv() -> None:
    cells = [["a\tb", "a,b"], ['"', ""]]
    h = np.zeros((2, 2), np.float32)
    lines = written(
        "tsv", Result(np.arange(2), h, h, None, [], cells), Style(delimiter="\t")
    ).decode()
    assert lines == 'c\td\th_0\th_1\n"a\tb"\ta,b\t0.0\t0.0\n""""\t\t0.0\t0.0\n'


@given(
    st.lists(st.sampled_from("abcd"), max_size=30),
    st.sampled_from(["--head", "--tail"]),
    st.integers(1, 5),
    st.booleans(),
)
def test_head_and_tail_are_rows_of_the_whole(
    keys: list[str], option: str, limit: int, one: bool
) -> None:
    check_limits("".join(f"{key},{t}\n" for t, key in enumerate(keys)), option, limit, one)


def check_limits(rows: str, option: str, limit: int, one: bool) -> None:
    group = ["--columns", "v"] if one else ["--group-by", "k"]
    command = ["run", *group, "--hidden", "1", "--format", "csv", "--digits", "3"]
    runner = CliRunner()
    header, *whole = runner.invoke(rnn, command, input=f"k,v\n{rows}").stdout.splitlines()
    shown = runner.invoke(rnn, [*command, option, str(limit)], input=f"k,v\n{rows}")
    by_key: dict[str, list[str]] = {}
    for line in whole:
        by_key.setdefault("" if one else line[0], []).append(line)
    ends = slice(limit) if option == "--head" else slice(-limit, None)
    kept = {line for lines in by_key.values() for line in lines[ends]}
    first, *lines = shown.stdout.splitlines()
    assert (first, lines, shown.stderr) == (header, [each for each in whole if each in kept], "")


def test_the_tail_of_many_blocks() -> None:
    rows = "".join(f"{'abcde'[n % 7 % 5]},{n % 11}\n" for n in range(70_000))
    check_limits(rows, "--tail", 8_000, one=False)


@pytest.mark.parametrize("limits", [("--head", "3"), ("--tail", "2")], ids=" ".join)
def test_an_array_has_the_rows_that_csv_has(
    run_rnn: Rnn, tmp_path: Path, limits: tuple[str, ...]
) -> None:
    """One sequence or several, with lengths that are known beforehand or not."""
    x = np.random.RandomState(1).normal(size=(3, 20, 1)).round(3)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "one.npy", x[0])
    keyed = "".join(f"{n},{x[n, t, 0]}\n" for t in range(20) for n in range(3))
    (tmp_path / "keyed.csv").write_text(keyed)
    for words in (["x.npy"], ["one.npy"], ["keyed.csv", "--group-by", "1"]):
        command = ("run", str(tmp_path / words[0]), *words[1:], "--hidden", "2", *limits)
        assert run_rnn(*command, "-o", str(tmp_path / "h.npy")).exit_code == 0
        lines = run_rnn(*command, "--format", "csv").stdout.splitlines()[1:]
        rows = sorted(lines, key=lambda line: line.split(",")[0]) if words[1:] else lines
        listed = [line.split(",")[-2:] for line in rows]
        found = np.load(tmp_path / "h.npy")
        assert found.shape[:-1] == ((len(rows),) if words == ["one.npy"] else (3, len(rows) // 3))
        np.testing.assert_array_equal(found.reshape(-1, 2), np.array(listed, np.float32))


@pytest.mark.parametrize("columns", ["21", "40", "213"])
@pytest.mark.parametrize("hidden", ["1", "32"])
def test_a_table_keeps_to_the_width_with_every_digit(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, columns: str, hidden: str
) -> None:
    command = ("run", "--seq", "1,2,3", "--hidden", hidden)
    steps = parsed(run_rnn(*command, "--json").stdout)["steps"]
    for term in ("dumb", "xterm-256color"):
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("TERM", term)
        table = run_rnn(*command).stdout
        rows = rows_of_table(table)
        assert [rows[step["t"]] for step in steps] == [[*step["x"], *step["h"]] for step in steps]
        lines = table.splitlines()
        assert max(map(len, lines)) <= int(columns)
        assert lines == [line.rstrip() for line in lines]


def test_points_of_numbers_stand_below_each_other() -> None:
    out = io.StringIO()
    draw(out, "", [Column("t", ["1", "10"])], [Column("h", ["0.5", "-12.25"])])
    assert out.getvalue().splitlines()[-2:] == [" 1    0.5", "10  -12.25"]
    draw(out, "", [Column("", ["6 ways of rnn", "keras 3.15.1"])], [Column("h", ["1", "2"])])
    assert out.getvalue().splitlines()[-2:] == ["6 ways of rnn  1", "keras 3.15.1   2"]


def test_weights_have_every_digit(run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    command = ("weights", "--hidden", "70", "--inputs", "2", "--seed", "9")
    arrays = rnncli.seeded(2, 70, 9).layers[0].cells[0].weights.arrays
    (item,) = json.loads(run_rnn(*command, "--json").stdout)["weights"]
    for name, array in arrays.items():
        assert np.array(item[name], np.float32).tobytes() == array.tobytes()
    drawn = sorted(np.float32(found) for found in NUMBER.findall(run_rnn(*command).stdout))
    assert drawn == sorted(np.concatenate([array.ravel() for array in arrays.values()]))


PIPED = """
import sys
from rnncli.__main__ import main
sys.argv[1:] = ["run", "--seq", "1,2", "--hidden", "2"]
try:
    main()
finally:
    print({name.partition(".")[0] for name in sys.modules} & {"rich"}, file=sys.stderr)
"""


def test_a_table_in_a_pipe_is_the_same_without_rich() -> None:
    """Rich is loaded where a variable may make a terminal of the pipe."""
    variables = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    command, results = [sys.executable, "-c", PIPED], list[tuple[str, str]]()
    for more in ({"TTY_COMPATIBLE": "0"}, {}):
        environment = variables | more
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        results.append((done.stdout, done.stderr))
    (with_rich, loaded), (without, missing) = results
    assert with_rich == without != ""
    assert (loaded, missing) == ("{'rich'}\n", "set()\n")
