"""What ``--states`` and networks with a head write, in every format."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from test_all_states import drawn, lstm_loop

import rnncli
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, RNN, Weights
from rnncli.model.layers import Dense, Embedding, Recurrent
from rnncli.model.network import Network

X = np.array([0.5, -1, 2, 0.25])
SEQ = ("--seq", ",".join(map(str, X)))


def dense(I: int, O: int, seed: int) -> Dense:
    random = np.random.RandomState(seed)
    return Dense(random.normal(size=(I, O)), random.normal(size=O), "tanh")


def by(layer: Any, x: Floats) -> Floats:
    """What `dense` gives, written out."""
    return np.asarray(np.tanh(x @ layer.W + layer.b))


LSTM_CELL, BACKWARD = drawn(1, 3, 1), drawn(1, 3, 2)
HEAD, TOP = dense(3, 4, 3), dense(4, 2, 4)
WITH_HEAD = Network(Recurrent(LSTM_CELL), HEAD, TOP)


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Write a network to a file, and return the options that take it from there, in float64."""

    def save(network: Network) -> tuple[str, ...]:
        rnncli.save(network, tmp_path / "net.npz")
        return ("--weights", str(tmp_path / "net.npz"), "--precision", "float64")

    return save


def loops(x: Floats = X) -> dict[str, Floats]:
    h, c = lstm_loop(LSTM_CELL, x[:, None], np.zeros(3), np.zeros(3))
    return {"h": h, "c": c, "y": by(TOP, by(HEAD, h))}


def near(values: Any, right: Any) -> None:
    """In float64, a few steps of which the loop rounds otherwise."""
    np.testing.assert_allclose(np.array(values, float), right, rtol=0, atol=1e-14)


def columns(text: str) -> dict[str, Floats]:
    """Arrays of CSV by the names of their columns."""
    header, *rows = csv.reader(io.StringIO(text))
    values = np.array(rows, float).reshape(len(rows), len(header))
    names = dict.fromkeys(name.rpartition("_")[0] or name for name in header)
    for name in names:
        own = [each for each in header if (each.rpartition("_")[0] or each) == name]
        assert own == ([name] if name == "t" else [f"{name}_{j}" for j in range(len(own))])
    return {
        name: values[:, [(each.rpartition("_")[0] or each) == name for each in header]]
        for name in names
    }


@pytest.mark.parametrize("states", [False, True])
def test_csv_has_y_and_with_states_h_and_c_too(run_rnn: Rnn, saved: Any, states: bool) -> None:
    asked = ("--states",) if states else ()
    result = run_rnn("run", *SEQ, *saved(WITH_HEAD), "--format", "csv", *asked)
    found = columns(result.stdout)
    assert list(found) == (["t", "h", "c", "y"] if states else ["t", "y"])
    right = loops() | {"t": np.arange(1.0, 5)[:, None]}
    for name, values in found.items():
        near(values, right[name])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("states", [False, True])
def test_json_has_h_and_y_and_with_states_c(
    run_rnn: Rnn, saved: Any, states: bool, last: bool
) -> None:
    asked = [name for name, given in (("--states", states), ("--last", last)) if given]
    document = json.loads(run_rnn("run", *SEQ, *saved(WITH_HEAD), "--json", *asked).stdout)
    right = loops()
    assert document["initial"] == [{"h": [0, 0, 0], "c": [0, 0, 0]}]
    (final,) = document["final"]
    assert list(final) == ["t", "h", "c", "y"]
    assert final.pop("t") == 4
    for name, values in final.items():
        near(values, right[name][-1])
    if last:
        assert "steps" not in document
        return
    for t, step in enumerate(document["steps"]):
        assert list(step) == ["t", "x", "h", *(["c"] if states else []), "y"]
        for name in list(step)[2:]:
            near(step[name], right[name][t])


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("width", ["40", "80"])
def test_a_table_has_the_columns_of_csv(
    run_rnn: Rnn, saved: Any, monkeypatch: pytest.MonkeyPatch, width: str, last: bool
) -> None:
    options = (*SEQ, *saved(WITH_HEAD), "--states", *(("--last",) if last else ()))
    monkeypatch.setenv("COLUMNS", width)
    lines = run_rnn("run", *options).stdout.splitlines()
    header, *rows = csv.reader(io.StringIO(run_rnn("run", *options, "--format", "csv").stdout))
    assert re.findall(r"\b[hcy]_\d", " ".join(lines)) == header[1:]
    for t, *values in rows:
        shown = " ".join(line[1:] for line in lines if line.startswith(f"{t} "))
        assert re.findall(r"-?\d\S*", shown)[0 if last else 1 :] == values
    initial = " ".join(line[1:] for line in lines if line.startswith("0")).split()
    assert initial == ([] if last else ["0.0"] * 6)  # y comes with the first step


@pytest.mark.parametrize(
    ("asked", "names"),
    [((), "y"), (("--states",), "hcy"), (("--last",), "y"), (("--last", "--states"), "hcy")],
)
def test_npy_has_the_columns_of_csv(
    run_rnn: Rnn, saved: Any, asked: tuple[str, ...], names: str
) -> None:
    content = run_rnn("run", *SEQ, *saved(WITH_HEAD), "--format", "npy", *asked).stdout_bytes
    right = np.hstack([loops()[name] for name in names])
    near(np.load(io.BytesIO(content)), right[-1:] if "--last" in asked else right)


@pytest.mark.parametrize("extension", ["csv", "json", "jsonl", "npy"])
@pytest.mark.parametrize("asked", [(), ("--states",), ("--all-layers",)])
def test_what_is_written_is_what_verify_expects(
    run_rnn: Rnn, saved: Any, tmp_path: Path, extension: str, asked: tuple[str, ...]
) -> None:
    """y, of all that there is; an array does not say which columns are y."""
    path, options = str(tmp_path / f"results.{extension}"), (*SEQ, *saved(WITH_HEAD))
    assert run_rnn("run", *options, *asked, "-o", path).exit_code == 0
    result = run_rnn("verify", *options, "--expected", path)
    assert result.exit_code == (2 if extension == "npy" and asked else 0)
    assert "expected shape (4, 2)" in result.stderr or result.exit_code == 0


def test_the_layers_of_a_head_among_all(run_rnn: Rnn, saved: Any) -> None:
    """A layer without state gives y; layers below the top ones stand under their numbers."""
    random = np.random.RandomState(5)
    table = Embedding(random.normal(size=(4, 2)))
    lower, upper = drawn(2, 3, 6), drawn(3, 2, 7)
    options = saved(Network(table, lower, upper, dense(2, 3, 8), dense(3, 1, 9)))
    x = np.array([3, 0, 1])
    below = table.W[x]
    h_1, c_1 = lstm_loop(lower, below, np.zeros(3), np.zeros(3))
    h, c = lstm_loop(upper, h_1, np.zeros(2), np.zeros(2))
    y_4 = by(dense(2, 3, 8), h)
    right = {
        "layer_1_y": below,
        "layer_2_h": h_1,
        "h": h,
        "layer_2_c": c_1,
        "c": c,
        "layer_4_y": y_4,
        "y": by(dense(3, 1, 9), y_4),
    }
    run = ("run", "--seq", "3,0,1", *options, "--all-layers", "--states", "--format")
    found = columns(run_rnn(*run, "csv").stdout)
    assert list(found) == ["t", *right]
    for name, values in right.items():
        near(found[name], values)
    step = json.loads(run_rnn(*run, "jsonl").stdout.splitlines()[-1])
    assert list(step) == ["t", "x", "h", "c", "y", "layers", "layers_c"]
    for got, values in zip(step["layers"], [below, h_1, h, y_4, right["y"]], strict=True):
        near(got, values[-1])
    for got, values in zip(step["layers_c"], [c[:, :0], c_1, c], strict=True):
        near(got, values[-1])
    text = run_rnn(*run, "table").stdout
    assert re.findall(r"\w+_[hcy]_\d|\b[hcy]_\d", text) == [
        f"{name}_{j}" for name, values in right.items() for j in range(values.shape[1])
    ]
    final = json.loads(run_rnn(*run, "json", "--last").stdout)["final"][0]
    assert [len(layer) for layer in final["layers"]] == [3, 2]
    assert list(columns(run_rnn(*run, "csv", "--last").stdout)) == [
        *("t", "layer_2_h", "h", "layer_2_c", "c", "y")
    ]


@pytest.mark.parametrize("merge", ["concat", "sum"])
def test_the_prediction_of_both_directions_is_of_both_final_states(
    run_rnn: Rnn, saved: Any, merge: str
) -> None:
    """As in Keras where the layer below returns no sequences."""
    layer = Recurrent(LSTM_CELL, BACKWARD, direction="bidirectional", merge=merge)
    head = dense(layer.output_size, 2, 8)
    result = run_rnn("run", *SEQ, *saved(Network(layer, head)), "--last", "--format", "csv")
    zeros = np.zeros(3)
    forward = lstm_loop(LSTM_CELL, X[:, None], zeros, zeros)[0][-1]
    backward = lstm_loop(BACKWARD, X[::-1, None], zeros, zeros)[0][-1]
    h = np.hstack([forward, backward]) if merge == "concat" else forward + backward
    near(columns(result.stdout)["y"][0], by(head, h))


def test_one_prediction_a_sequence(run_rnn: Rnn, saved: Any) -> None:
    text = "k,v\n" + "".join(f"{'ab'[t % 2]},{x}\n" for t, x in enumerate(X))
    options = ("--group-by", "k", "--last", "--format", "csv")
    result = run_rnn("run", *saved(WITH_HEAD), *options, stdin=text)
    header, *rows = csv.reader(io.StringIO(result.stdout))
    assert header == ["k", "t", "y_0", "y_1"]
    for (key, t, *y), begin in zip(rows, (0, 1), strict=True):
        assert (key, t) == ("ab"[begin], "2")
        near(y, loops(X[begin::2])["y"][-1])


def test_a_sequence_without_steps(run_rnn: Rnn, saved: Any) -> None:
    """The prediction is that of the initial state."""
    options = ("run", *saved(WITH_HEAD), "--format", "csv")
    assert run_rnn(*options, stdin="v\n").stdout == "t,y_0,y_1\n"
    last = columns(run_rnn(*options, "--last", stdin="v\n").stdout)
    assert last["t"] == 0
    near(last["y"][0], by(TOP, by(HEAD, np.zeros(3))))


def test_a_masked_row_gives_its_results_once_more(run_rnn: Rnn, saved: Any) -> None:
    text = "".join(f"{x}\nnan\n" for x in X)
    options = ("--missing", "hold", "--states", "--format", "csv")
    found = columns(run_rnn("run", *saved(WITH_HEAD), *options, stdin=text).stdout)
    for name, values in loops().items():
        near(found[name], values.repeat(2, axis=0)[: len(found[name])])


@pytest.mark.parametrize("form", ["csv", "jsonl", "table"])
def test_a_state_that_is_h_alone_has_nothing_beside_it(run_rnn: Rnn, saved: Any, form: str) -> None:
    shapes = ((1, 6), (2, 6), (6,))
    weights = Weights(*(np.random.RandomState(1).normal(size=shape) for shape in shapes))
    options = ("run", *SEQ, *saved(Network(GRU(weights), dense(2, 1, 2))), "--format", form)
    states = run_rnn(*options, "--states", "--all-layers").stdout
    assert states == run_rnn(*options, "--all-layers").stdout
    assert "c_" not in states


def test_layers_with_c_and_without_in_many_rows(run_rnn: Rnn, saved: Any) -> None:
    """So many values are written at once."""
    shapes = ((3, 6), (2, 6), (6,))
    weights = Weights(*(np.random.RandomState(1).normal(size=shape) for shape in shapes))
    options = saved(Network(LSTM_CELL, GRU(weights)))
    options = ("run", *options[:2], "--all-layers", "--states", "--format", "jsonl")
    lines = run_rnn(*options, stdin="1\n" * 300).stdout.splitlines()
    assert len(lines) == 300
    item = json.loads(lines[-1])
    assert list(item) == ["t", "x", "h", "layers", "layers_c"]
    assert [len(c) for c in item["layers_c"]] == [3, 0]


def test_a_log_of_c_goes_on(run_rnn: Rnn, saved: Any, tmp_path: Path) -> None:
    log, state = str(tmp_path / "log.csv"), str(tmp_path / "state.npz")
    options = ("run", *saved(WITH_HEAD), "--follow", "-o", log)
    for half in (X[:2], X[2:]):
        text = "".join(f"{x}\n" for x in half)
        assert run_rnn(*options, "--states", "--state", state, stdin=text).exit_code == 0
    found = columns(Path(log).read_text())
    for name, values in loops().items():
        near(found[name], values)
    result = run_rnn(*options, stdin="1\n")
    assert result.exit_code == 2
    assert "this run's would be 't,y_0,y_1'" in result.stderr


def test_a_column_of_the_name_of_c(run_rnn: Rnn, saved: Any) -> None:
    options = ("run", *saved(WITH_HEAD), "--group-by", "c_0", "--format", "csv")
    assert run_rnn(*options, stdin="c_0,v\n1,2\n").exit_code == 0
    result = run_rnn(*options, "--states", stdin="c_0,v\n1,2\n")
    assert result.exit_code == 2
    assert "column 'c_0' would stand beside another of that name" in result.stderr


def test_an_output_that_overflows(run_rnn: Rnn, saved: Any) -> None:
    head = Dense(np.full((3, 2), [1, 1e300]), np.array([0, 1.7e308]), "affine:1e5,0")
    result = run_rnn("run", *SEQ, *saved(Network(LSTM_CELL, head)), "--format", "csv")
    assert result.exit_code == 1
    assert result.stderr == "Error: layer 2: step 1, unit 1 of y: overflow (inf)\n"


@pytest.mark.parametrize("by_key", [False, True])
def test_a_final_output_that_overflows(run_rnn: Rnn, saved: Any, by_key: bool) -> None:
    """``y_t = 1e308 (x_t - x_t)`` at each row, but ``1e308 (x_T - x_1)`` of the final state."""
    cells = [
        RNN(Weights(np.array([[w]]), np.zeros((1, 1)), np.zeros(1)), "linear") for w in (1, -1)
    ]
    both = Recurrent(*cells, direction="bidirectional")
    options = ["run", *saved(Network(both, Dense(np.full((2, 1), 1e308)))), "-", "--last"]
    sequence = "b: " if by_key else ""
    stdin, more = "-1\n0\n1\n", []
    if by_key:
        stdin, more = "k,v\na,1\na,1\nb,-1\nb,1\n", ["--group-by", "k"]
    result = run_rnn(*options, *more, stdin=stdin)
    assert (result.exit_code, result.stdout) == (1, "")
    step = 2 if by_key else 3
    what = f"{sequence}layer 2: step {step}, unit 0 of final y: overflow (inf)"
    assert result.stderr == f"Error: {what}\n"
    document = run_rnn(*options[:-1], *more, "--json", stdin=stdin)
    assert (document.exit_code, json.loads(document.stdout)["error"]) == (1, what)
