"""Heads, c, and models that give one row a sequence: what `run` and `explain` write of them."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from random_networks import gated_cell

import rnncli
from rnncli import Dense, Embedding, Network, Recurrent
from rnncli.verification import reference

X = np.array([0.5, -1, 2, 0.25])
SEQ = ("--seq", ",".join(map(str, X)))


def dense(I: int, O: int, seed: int) -> Dense:
    random = np.random.RandomState(seed)
    return Dense(random.normal(size=(I, O)), random.normal(size=O), "tanh")


LSTM = gated_cell("lstm", 1, 3)
BOTH = Recurrent(LSTM, gated_cell("lstm", 1, 3, 2), direction="bidirectional", merge="sum")
WITH_HEAD = Network(LSTM, dense(3, 4, 3), dense(4, 2, 4))
TABLE = Embedding(np.random.RandomState(5).normal(size=(4, 2)))
STACK = Network(
    TABLE, gated_cell("lstm", 2, 3), gated_cell("lstm", 3, 2), dense(2, 3, 8), dense(3, 1, 9)
)
ROW = {last: Network(BOTH, dense(3, 2, 3), last=last) for last in ("state", "step")}
LAST = pytest.mark.parametrize("last", ROW)


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Write a network to a file, and return the options that take it from there, in float64."""

    def save(network: Network) -> tuple[str, ...]:
        rnncli.save(network, tmp_path / "net.npz")
        return ("--weights", str(tmp_path / "net.npz"), "--precision", "float64")

    return save


def run_reference(network: Network, x: Any) -> reference.Result:
    return reference.run(network, x, np.zeros(network.state_size))


def near(values: Any, right: Any) -> None:
    """In float64, a few steps of which the loop rounds otherwise."""
    np.testing.assert_allclose(np.array(values, float), right, rtol=0, atol=1e-14)


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def columns(network: Network, x: Any, options: str) -> dict[str, Any]:
    """Return by name what a run writes with some options, by the loop."""
    right = run_reference(network, x)
    if "--last" not in options and not network.last:
        return at_steps(network, right, options) | {"y": right.outputs[-1]}
    recurrent = [name for name in at_steps(network, right, options) if not name.endswith("y")]
    found = {name: at_steps(network, right, options)[name][-1:] for name in recurrent}
    if network.last:  # of two directions: both final states
        finals = dict(zip("hc", np.split(right.h_n, 2), strict=True))
        found = {name: finals[name][None] for name in recurrent}
    return found | {"y": right.y_n[None]}


def at_steps(network: Network, right: reference.Result, options: str) -> dict[str, Any]:
    """Return the columns of layers, but for those of the top one of a head."""
    top, every = len(network.layers) - 1 - network.head, "--all-layers" in options
    of_h: dict[str, Any] = {}
    of_c: dict[str, Any] = {}
    for n, layer in enumerate(network.layers[: top + 1]):
        name = "" if n == top else f"layer_{n + 1}_"
        if n == top or every:
            of_h[f"{name}{'h' if layer.cells else 'y'}"] = right.outputs[n]
            of_c |= {f"{name}c": right.c[n]} if layer.cells else {}
    above = range(top + 1, len(network.layers) - 1) if every else []
    of_head = {f"layer_{n + 1}_y": right.outputs[n] for n in above}
    if "--states" in options:
        return of_h | of_c | of_head
    return of_h | of_head if every else {}


@pytest.mark.parametrize(
    "options", ["", "--states", "--all-layers", "--all-layers --states", "--states --last"]
)
@pytest.mark.parametrize(
    ("network", "x"),
    [(WITH_HEAD, X), (STACK, np.array([3, 0, 1])), (ROW["state"], X), (ROW["step"], X)],
    ids=["head", "stack", "row of the final state", "row of the last step"],
)
def test_every_format_has_the_same_columns(
    run_rnn: Rnn, saved: Any, network: Network, x: Any, options: str
) -> None:
    right = columns(network, x[:, None], options)
    command = ["run", "--seq", ",".join(map(str, x)), *saved(network), *options.split()]
    names = [f"{name}_{j}" for name, values in right.items() for j in range(values.shape[1])]
    header, *rows = table(run_rnn(*command, "--format", "csv").stdout)
    assert header == ["t", *names]
    near([cells[1:] for cells in rows], np.hstack([*right.values()]))
    assert re.findall(r"\b(?:layer_\d_)?[hcy]_\d\b", run_rnn(*command).stdout) == names
    array = np.load(io.BytesIO(run_rnn(*command, "--format", "npy").stdout_bytes))
    near(array, np.hstack([*right.values()]))
    document = json.loads(run_rnn(*command, "--json").stdout)
    (final,) = document["final"]
    near(final["y"], right["y"][-1])
    one_row = "--last" in options or network.last
    assert ("steps" in document) != bool(one_row)
    items = [
        json.loads(item) for item in run_rnn(*command, "--format", "jsonl").stdout.split("\n")[:-1]
    ]
    assert items == ([final] if one_row else document["steps"])
    for item, t in zip(items, range(len(items)), strict=True):
        for name in {"h", "c", "y"} & right.keys() & item.keys():
            near(item[name], right[name][t])


@pytest.mark.parametrize("extension", ["csv", "npy"])
@pytest.mark.parametrize("asked", [(), ("--states",)])
def test_verify_takes_what_is_written(
    run_rnn: Rnn, saved: Any, tmp_path: Path, extension: str, asked: tuple[str, ...]
) -> None:
    """y, of all that there is; an array does not say which columns are y."""
    path, options = str(tmp_path / f"results.{extension}"), (*SEQ, *saved(WITH_HEAD))
    assert run_rnn("run", *options, *asked, "-o", path).exit_code == 0
    result = run_rnn("verify", *options, "--expected", path)
    assert result.exit_code == (2 if extension == "npy" and asked else 0)
    assert "expected shape (4, 2)" in result.stderr or result.exit_code == 0


# Of a, four steps and a row that holds the state; of b that row alone; c has no step in this file.
KEYED = "k,v\na,0.5\na,\nb,\na,-1\na,2\na,0.25\na,\n"


@LAST
def test_a_row_for_each_sequence(run_rnn: Rnn, saved: Any, last: str) -> None:
    """Rows that hold the state are no last ones, and no option of the display changes the row."""
    network = ROW[last]
    right = [run_reference(network, x[:, None]).y_n for x in (X, X[:0])]
    options = ("run", *saved(network), "--group-by", "k", "--missing", "hold", "--format")
    _, *rows = row = table(run_rnn(*options, "csv", stdin=KEYED).stdout)
    assert [cells[:2] for cells in rows] == [["a", "6"], ["b", "1"]]
    near([cells[2:] for cells in rows], right)
    for shown in ("--tail 1", "--head 1", "--last"):
        assert table(run_rnn(*options, "csv", *shown.split(), stdin=KEYED).stdout) == row, shown
    near(np.load(io.BytesIO(run_rnn(*options, "npy", stdin=KEYED).stdout_bytes)), right)
    _, *inputs = table(run_rnn(*options, "csv", "--passthrough", stdin=KEYED).stdout)
    assert [cells[:2] for cells in inputs] == [["b", ""], ["a", ""]]
    assert [cells[2:] for cells in inputs] == [rows[1][2:], rows[0][2:]]
    scaled = run_rnn("run", *SEQ, *options[1:5], "--center", "1", "--scale", "2", "--format", "csv")
    near(table(scaled.stdout)[1][1:], run_reference(network, (X[:, None] - 1) / 2).y_n)


@LAST
def test_a_sequence_goes_on_from_a_state_file(
    run_rnn: Rnn, saved: Any, tmp_path: Path, last: str
) -> None:
    network = Network(LSTM, dense(3, 2, 3), last=last)
    options = ("run", *saved(network), "--format", "csv", "--group-by", "k")
    options += ("--state", str(tmp_path / "state.npz"))
    run_rnn(*options, stdin="k,v\na,0.5\nb,-1\n")
    _, *rows = table(run_rnn(*options, stdin="k,v\na,2\n").stdout)
    assert [cells[:2] for cells in rows] == [["a", "2"], ["b", "1"]]
    right = [run_reference(network, x[:, None]).y_n for x in (X[[0, 2]], X[[1]])]
    near([cells[2:] for cells in rows], right)


@pytest.mark.parametrize("options", ["--follow --format csv", "--format heatmap"])
def test_formats_of_steps_ask_for_no_last(run_rnn: Rnn, saved: Any, options: str) -> None:
    network = Network(LSTM, dense(3, 2, 3), last="state")
    command = ("run", *saved(network), *options.split())
    result = run_rnn(*command, stdin="v\n0.5\n-1\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert ": add --no-last (see 'rnn run --help')\n" in result.stderr
    assert run_rnn(*command, "--no-last", stdin="v\n0.5\n-1\n").exit_code == 0


@LAST
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_explain_ends_with_the_row_of_the_model(
    run_rnn: Rnn, saved: Any, direction: str, last: str
) -> None:
    """Also above another layer of two directions, of several sequences with masked rows."""
    cells = [gated_cell("lstm", 3, 3, n) for n in range(1 + (direction == "bidirectional"))]
    above = Recurrent(*cells, direction=direction)
    network = Network(BOTH, above, dense(above.output_size, 2, 1), last=last)
    options = (*saved(network), "--group-by", "k", "--missing", "hold")
    final = json.loads(
        run_rnn("run", *options, "--unroll", "stepwise", "--json", stdin=KEYED).stdout
    )
    document = json.loads(run_rnn("explain", *options, "--json", stdin=KEYED).stdout)
    steps = {step["key"]["k"]: step for step in document["steps"]}
    row = final["final"][0]
    step = steps[row["key"]["k"]]
    assert step["y"] == row["y"] == step["layers"][-1]["output"]
    assert step["layers"][-1]["cells"][-1]["quantities"][-1]["values"] == row["y"]
    assert "note" not in step
    report = run_rnn("explain", *options, "--key", "a", stdin=KEYED).stdout
    (*_, line) = [line for line in report.splitlines() if line.startswith("y_t ")]
    assert [float(value.strip("*")) for value in line.split()[1:]] == row["y"]


def test_explain_tells_which_steps_are_no_answer(run_rnn: Rnn, saved: Any) -> None:
    options = ("explain", *SEQ, *saved(ROW["state"]))
    steps = json.loads(run_rnn(*options, "--steps", "1:", "--json").stdout)["steps"]
    assert all("by default" in step["note"] for step in steps)
    near(steps[1]["y"], run_reference(Network(*ROW["state"].layers), X[:, None]).outputs[-1][1])
    assert "by default" in run_rnn(*options, "--step", "4").stdout
    assert "by default" not in run_rnn(*options).stdout
