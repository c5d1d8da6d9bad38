"""Everything that is written reads back to the same bits; tables lose nothing unsaid."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.engine.stream import Block
from rnncli.writers import WRITERS, Style, Trajectory
from rnncli.writers.digits import Part, joined, rows_of_text, texts
from rnncli.writers.labels import Labelled, Labels
from rnncli.writers.table import LONG, SHOWN_AT_ENDS
from rnncli.writers.trajectory import Columns, SequenceStates
from rnncli.writers.weights import write_weights_table

# .ci/run asks for more.
CASES = int(os.environ.get("RNN_FUZZ_CASES", "300"))
MODEL = {
    "activation": "tanh",
    "direction": "forward",
    "input_size": 1,
    "hidden_sizes": [3],
    "precision": "float32",
    "source": {"init": "tensorflow", "seed": 1},
}


def trajectory(h: np.ndarray, block: int = 7) -> Trajectory:
    """States from h[0], the initial one, in blocks of a few steps."""
    initial = SequenceStates(np.zeros(1, np.intp), [{"h": h[:1]}])
    final = SequenceStates(np.full(1, len(h) - 1), [{"h": h[-1:]}])

    def blocks() -> Iterator[Block]:
        for start in range(1, len(h), block):
            rows = h[start : start + block]
            yield Block(np.arange(start, start + len(rows)), rows[:, :1], rows)

    columns = [Columns("h", "h", h.shape[1])]
    return Trajectory(MODEL, ["x"], columns, blocks(), lambda: initial, lambda: final)


def written(
    form: str,
    h: np.ndarray,
    style: Style | None = None,
    out: type[io.TextIOWrapper] = io.TextIOWrapper,
) -> bytes:
    content = io.BytesIO()
    stream = out(content, "utf-8", newline="")
    WRITERS[form](stream, trajectory(h), style or Style())
    stream.flush()
    return content.getvalue()


def read_csv(content: bytes) -> list[list[str]]:
    header, *rows = csv.reader(io.StringIO(content.decode()))
    assert header == ["t", *(f"h_{j}" for j in range(len(header) - 1))]
    assert [row[0] for row in rows] == [str(t + 1) for t in range(len(rows))]
    return [row[1:] for row in rows]


def read_jsonl(content: bytes) -> list[list[str]]:
    items = [json.loads(line, parse_float=str) for line in content.splitlines()]
    assert [item["t"] for item in items] == list(range(1, len(items) + 1))
    assert all(item["x"] == item["h"][:1] for item in items)
    return [item["h"] for item in items]


def read_json(content: bytes) -> list[list[str]]:
    document = json.loads(content, parse_float=str)
    assert document["model"] == MODEL
    steps = document["steps"]
    last = steps[-1] if steps else {"t": 0, "h": document["initial"][0]["h"]}
    assert document["final"] == [{"t": last["t"], "h": last["h"]}]
    return [step["h"] for step in steps]


def read_npy(content: bytes) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(content))
    return array


READ_BACK = {"csv": read_csv, "jsonl": read_jsonl, "json": read_json, "npy": read_npy}


@pytest.mark.slow
@pytest.mark.parametrize("form", READ_BACK)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden_size", [1, 4, 32, 300])
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(0, 20))
def test_states_read_back(
    form: str, dtype: type[np.floating], hidden_size: int, seed: int, steps: int
) -> None:
    h = floats_of_all_magnitudes(seed, (steps + 1, hidden_size), dtype)
    back = np.array(READ_BACK[form](written(form, h)), dtype).reshape(steps, hidden_size)
    assert back.tobytes() == h[1:].tobytes()


def floats_of_all_magnitudes(
    seed: int, shape: tuple[int, int], dtype: type[np.floating]
) -> np.ndarray:
    """Floats of random bits, those that are not finite replaced."""
    size = np.dtype(dtype).itemsize * shape[0] * shape[1]
    values = np.frombuffer(np.random.RandomState(seed).bytes(size), dtype).reshape(shape).copy()
    values[~np.isfinite(values)] = -0.0
    return values


@pytest.mark.slow
def test_text_of_any_bits_is_what_numpy_gives() -> None:
    random = np.random.RandomState(11)
    ordinary = random.uniform(-13, 21, size=CASES * 500)  # exponents of 1e-4 to over 1e6
    anything = np.frombuffer(random.bytes(CASES * 100), np.float32)
    values: list[np.ndarray] = [
        (random.choice([-1, 1], ordinary.shape) * 2.0**ordinary).astype(np.float32),
        anything[np.isfinite(anything)],
        (np.arange(1, 2048, 2)[:, None] * 2.0 ** np.arange(-23, 10)).astype(np.float32).reshape(-1),
        _neighbours(10.0 ** np.arange(-6, 9)),
        _neighbours(2.0 ** np.arange(-20, 26)),
        np.array([0.0, -0.0, 3.4028235e38, 1e-45], np.float32),
    ]
    column: np.ndarray = np.concatenate(values)[:, None]
    assert joined(column, ",") == column[:, 0].astype("U").tolist()


@pytest.mark.parametrize("value", [9.999999, 10.0, 10.5, 999999.94, 1e6, 1e-4, 9.9999e-05, 0.0])
def test_the_largest_and_the_smallest(value: float) -> None:
    column = np.full((300, 1), value, np.float32)
    assert joined(column, ",") == column[:, 0].astype("U").tolist()


@pytest.mark.parametrize("cell", ["a,b", 'a"b', "a\nb", '"', "ü", ""])
@pytest.mark.parametrize("place", [0, 1])
def test_cells_that_are_passed_on_read_back(run_rnn: Rnn, cell: str, place: int) -> None:
    text = io.StringIO(newline="")
    row = ["a", "b", "0.5"]
    row[place] = cell
    csv.writer(text).writerow(row)
    options = ("--columns", "3", "--first-row", "data", "--hidden", "1", "--passthrough")
    result = run_rnn("run", *options, "--format", "csv", stdin=text.getvalue())
    (back,) = csv.reader(io.StringIO(result.stdout_bytes.decode().split("\n", 1)[1], newline=""))
    assert back[:3] == row


def _neighbours(values: np.ndarray) -> np.ndarray:
    bits = values.astype(np.float32).view(np.int32)[:, None] + np.arange(-40, 41, dtype=np.int32)
    return bits.view(np.float32).reshape(-1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_doubles_and_few_values_have_the_text_that_numpy_gives_each(
    dtype: type[np.floating],
) -> None:
    for seed in range(30):
        values = floats_of_all_magnitudes(seed, (7, 5), dtype)
        assert texts(values) == values.astype("U").tolist()


PARTS: list[Part] = [
    "{",
    np.array([0, 7, 9999, 10_000, 12_345_678, 2**40, 10**8] * 50),
    "; ",
    ["", "a", "\x1f", "ü\0", "\n", ",", "x" * 99] * 50,
    "",
    np.clip(floats_of_all_magnitudes(3, (350, 3), np.float32), -9e10, 9e10),
    ["}"] * 350,
    (np.arange(-175, 175)[:, None] / 100).astype(np.float32),
    "\n",
]
# A separator before floats, and floats with more characters.
MORE: list[Part] = [
    np.arange(350),
    ",",
    np.linspace(-12, 12, 700, dtype=np.float32).reshape(350, 2),
    ", ",
    floats_of_all_magnitudes(4, (350, 2), np.float32),
]


def firsts(keys: Sequence[tuple[str, ...]]) -> list[str]:
    return [key[0] for key in keys]


# Labels that come as they are needed, longer ones later; some are too long for a cell, or cells.
NAMES = ["a", "bc\x1f", "ü" * 9, "\udc80", "x" * 16, "y" * 17, "z" * 128, "z" * 129]
LABELS = [
    Labelled(Labels([(name,) for name in NAMES[:count]], firsts), np.arange(350) % count)
    for count in (1, 3, 5, 7, 8)
]


@pytest.mark.parametrize("separator", [",", ", ", " -- - "])
@pytest.mark.parametrize(
    "parts",
    [
        PARTS,
        PARTS[1:3],
        PARTS[5:6],
        PARTS[3:4],
        PARTS[3:5],
        MORE,
        MORE[:3],
        *([labels, *MORE[:3], *more] for labels in LABELS for more in ([], ["", ["}"] * 350])),
    ],
)
def test_rows_are_the_same_in_pieces_and_one_by_one(
    monkeypatch: pytest.MonkeyPatch, separator: str, parts: list[Part]
) -> None:
    whole = "".join(rows_of_text(parts, separator))
    monkeypatch.setattr("rnncli.writers.digits._CACHED", 700)
    assert "".join(rows_of_text(parts, separator)) == whole
    monkeypatch.setattr("rnncli.writers.digits._FEW", 10**6)
    assert "".join(rows_of_text(parts, separator)) == whole


def test_labels_of_keys_that_come_later() -> None:
    keys: list[tuple[str, ...]] = []
    labels = Labels(keys, firsts)
    for count in range(1, len(NAMES) + 1):
        keys[:] = [(name,) for name in NAMES[:count]]
        numbers = np.arange(400) * 7 % count
        text = "".join(rows_of_text([Labelled(labels, numbers), "\n"], ","))
        assert text.split("\n") == [*(NAMES[number] for number in numbers), ""]


@pytest.mark.parametrize("odd", [",", '"', "\r", "\n", '"a", b\r\n'])
def test_one_cell_in_quotes_among_others_without(odd: str) -> None:
    """Of a key, and of the rows of input."""
    cells, keys = [["a", "b"], [odd, "b"], ["", odd]], [("a",), (odd,), ("",)]
    for given_cells in (None, cells):
        h = np.ones((3, 1), np.float32)
        block = Block(np.arange(3), h, h, np.arange(3), given_cells)
        run = trajectory(h)._replace(key_columns=["k"], keys=keys, blocks=[block])
        out = io.StringIO()
        WRITERS["csv"](out, run, Style(header=False))
        rows = [row[:-1] for row in csv.reader(io.StringIO(out.getvalue(), newline=""))]
        of_input = given_cells or [["0"], ["1"], ["2"]]
        assert rows == [[*key, *row] for key, row in zip(keys, of_input, strict=True)]


@pytest.mark.slow
@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_text_is_the_shortest(value: float) -> None:
    single = np.float32(value)
    text = written("csv", np.array([[0], [single]], np.float32)).decode().split(",")[-1].strip()
    digits = re.sub(r"e.*|[-.]", "", text).strip("0")
    fewer = f"{single:.{max(len(digits) - 2, 0)}e}"
    assert len(digits) <= 1 or np.float32(fewer) != single


@pytest.mark.parametrize("form", ["csv", "jsonl", "json", "table"])
def test_digits_round(form: str) -> None:
    h = np.array([[0, 0], [0.12345, -2 / 3], [1, -1e-9]], np.float32)
    text = written(form, h, Style(digits=3)).decode()
    assert "0.123" in text
    assert "-0.667" in text
    assert "0.000" in text
    assert "-0.000" not in text
    assert "0.1234" not in text


def test_csv_without_header() -> None:
    h = np.zeros((3, 2), np.float32)
    assert written("csv", h, Style(header=False)) == b"1,0.0,0.0\n2,0.0,0.0\n"


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv", "npy"])
def test_last_is_the_final_state(run_rnn: Rnn, form: str) -> None:
    steps = ("run", "--hidden", "2", "--format", form, "--seq")
    result = run_rnn(*steps, "1,2,3", "--last")
    assert result.exit_code == 0
    if form == "json":
        document = json.loads(result.stdout)
        assert "steps" not in document
        assert [item["t"] for item in document["final"]] == [3]
    elif form == "npy":
        whole = run_rnn(*steps, "1,2,3").stdout_bytes
        np.testing.assert_array_equal(read_npy(result.stdout_bytes), read_npy(whole)[-1:])
    else:
        (line,) = (line for line in result.stdout.splitlines() if re.match(r'3|.*"t": 3', line))
        assert re.findall(r"-?0\.\d+", line) == re.findall(
            r"-?0\.\d+", run_rnn(*steps, "1,2,3").stdout.splitlines()[-1]
        )


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_the_final_state_of_no_steps_is_the_initial_one(run_rnn: Rnn, form: str) -> None:
    options = ("run", "--hidden", "2", "--h0", "0.25,0.5", "--format", form)
    result = run_rnn(*options, "--last", stdin="value\n")
    assert re.findall(r"0\.25|0\.5", result.stdout)[-2:] == ["0.25", "0.5"]
    assert run_rnn(*options, stdin="value\n").exit_code == 0


NUMBER = re.compile(r"-?\d+\.\d+(?:e[-+]\d+)?")


@pytest.mark.parametrize("columns", ["1", "20", "40", "80", "213"])
@pytest.mark.parametrize("term", ["dumb", "xterm-256color"])
@pytest.mark.parametrize("hidden_size", [1, 4, 32, 100])
def test_a_table_shows_every_digit(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, columns: str, term: str, hidden_size: int
) -> None:
    command = ("run", "--seq", "1,2,3", "--hidden", str(hidden_size))
    steps = json.loads(run_rnn(*command, "--json").stdout, parse_float=str)["steps"]
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", term)
    lines = run_rnn(*command).stdout.splitlines()
    for step in steps:
        rows = [line for line in lines if line.startswith(f"{step['t']} ")]
        assert NUMBER.findall(" ".join(rows)) == [*step["x"], *step["h"]]
    widest = max(len(line.rstrip()) for line in lines)
    assert widest <= max(int(columns), 21)  # t and one number of 15 characters always fit


def test_points_stand_in_line() -> None:
    h = np.array([[0], [-10.5], [3.25], [1e-10]], np.float32)
    rows = written("table", h).decode().splitlines()[-4:]
    assert len({row.rindex(".") for row in rows[:3]}) == 1


class Terminal(io.TextIOWrapper):
    """A stream that is a terminal, by its own account."""

    def isatty(self) -> bool:
        return True


def shown_steps(text: str) -> list[int]:
    return [int(row.split()[0]) for row in text.splitlines() if re.match(r" *\d", row)]


@pytest.mark.slow
@pytest.mark.parametrize("steps", [LONG, LONG + 1, 500, 1200])
def test_a_long_table_on_a_terminal_says_what_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    h = np.arange(2 * (steps + 1), dtype=np.float32).reshape(-1, 2)
    text = written("table", h, out=Terminal).decode()
    if steps <= LONG:
        assert shown_steps(text) == list(range(steps + 1))
        assert "not shown" not in text
    else:
        first, last = SHOWN_AT_ENDS, steps - SHOWN_AT_ENDS + 1
        assert shown_steps(text) == [*range(first + 1), *range(last, steps + 1)]
        assert (
            f"Rows {first + 1} to {last - 1} are not shown ({last - first - 1} steps): "
            "`output` FILE.csv has all." in text
        )
    whole = written("table", h).decode()
    assert shown_steps(whole) == list(range(steps + 1))
    rows = [row.split() for row in whole.splitlines() if re.match(r" *\d", row)]
    assert all(row[-1] == f"{h[t, 1]}" for t, row in enumerate(rows))


LONGER = 100_000


@pytest.mark.slow
@pytest.mark.parametrize("way", ["pipe", "file", "last lines of a pipe"])
def test_a_table_for_no_terminal_is_whole(run_rnn: Rnn, tmp_path: Path, way: str) -> None:
    path = tmp_path / "states.txt"
    text = "".join(f"{t % 7}\n" for t in range(LONGER)) + ("x\n" if "last" in way else "")
    options = ("--hidden", "2", *(("-o", str(path)) if way == "file" else ()))
    result = run_rnn("run", *options, stdin=text)
    assert result.exit_code == (2 if "last" in way else 0)
    table = path.read_text() if way == "file" else result.stdout
    assert shown_steps(table) == list(range(LONGER + 1))
    states = run_rnn("run", "--hidden", "2", "--format", "csv", stdin=text).stdout.splitlines()
    rows = [row.split() for row in table.splitlines() if re.match(r" *[1-9]", row)]
    assert [[row[0], *row[2:]] for row in rows] == [line.split(",") for line in states[1:]]
    assert "not shown" not in table


@pytest.mark.slow
def test_a_wide_long_table_is_whole(run_rnn: Rnn) -> None:
    """Cut into pages of rows, and each into blocks of columns."""
    text = "".join(f"a{t % 3},{t % 5}\n" for t in range(2500))
    options = ("--group-by", "1", "--hidden", "150", "--digits", "2")
    table = run_rnn("run", *options, stdin=text).stdout
    lines = run_rnn("run", *options, "--format", "csv", stdin=text).stdout.splitlines()[1:]
    read: dict[tuple[str, str], list[str]] = {}
    for row in (line.split() for line in table.splitlines() if re.match(r"a\d", line)):
        read.setdefault((row[0], row[1]), []).extend(row[2:])
    assert [[*key, *values[1:]] for key, values in read.items()] == [
        line.split(",") for line in lines
    ]
    assert table.count("Rounded to 2 digits") == 1


def test_lines_of_a_table_end_without_blanks(run_rnn: Rnn) -> None:
    for command in (("run", "--seq", "1,2"), ("weights",)):
        lines = run_rnn(*command, "--hidden", "3").stdout.splitlines()
        assert lines == [line.rstrip() for line in lines]


def test_weights_as_json_read_back(run_rnn: Rnn) -> None:
    from rnncli import seeded

    result = run_rnn("weights", "--hidden", "5", "--inputs", "3", "--seed", "9", "--json")
    (item,) = json.loads(result.stdout)["weights"]
    for name, array in seeded(3, 5, 9).layers[0].cells[0].weights.arrays.items():
        assert np.array(item[name], np.float32).tobytes() == array.tobytes()


@pytest.mark.parametrize("columns", ["40", "80"])
def test_weights_as_tables_show_every_digit(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    from rnncli import seeded

    monkeypatch.setenv("COLUMNS", columns)
    text = run_rnn("weights", "--hidden", "6", "--inputs", "2").stdout
    drawn = sorted(np.float32(number) for number in NUMBER.findall(text))
    weights = seeded(2, 6).layers[0].cells[0].weights[:3]
    assert drawn == sorted(np.concatenate([array.ravel() for array in weights]))


def test_large_weights_on_a_terminal_say_what_they_leave_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from rnncli import seeded

    monkeypatch.setenv("TERM", "dumb")
    content = io.BytesIO()
    terminal = Terminal(content, "utf-8")
    write_weights_table(terminal, seeded(1, 70), MODEL, "--json has all")
    terminal.flush()
    text = content.getvalue().decode()
    assert text.count("Only the first and last 8 are shown: --json has all.") == 3
    assert len(NUMBER.findall(text)) == 16 + 16 * 16 + 16


def test_large_weights_are_whole_where_there_is_no_terminal(run_rnn: Rnn) -> None:
    text = run_rnn("weights", "--hidden", "70").stdout
    assert "shown" not in text
    assert len(NUMBER.findall(text)) == 70 + 70 * 70 + 70
