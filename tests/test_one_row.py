"""Models that give one row a sequence: in the library, and in every format of a run."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from test_all_states import drawn, lstm_loop

import rnncli
from rnncli.model.arrays import Floats
from rnncli.model.layers import Dense, Masking, Recurrent
from rnncli.model.network import Network

X = np.array([0.5, -1, 2, 0.25])
SEQ = ("--seq", ",".join(map(str, X)))
ZEROS = np.zeros(3)
CELLS = {"forward": drawn(1, 3, 1), "backward": drawn(1, 3, 2)}
LAST = ("state", "step")
# Direction and merge of a layer.
LAYERS = [("forward", "concat"), ("backward", "concat")]
MERGED: dict[str, Callable[[Floats, Floats], Floats]] = {
    "concat": lambda a, b: np.r_[a, b],
    "sum": lambda a, b: a + b,
    "ave": lambda a, b: (a + b) / 2,
    "mul": lambda a, b: a * b,
}
LAYERS += [("bidirectional", merge) for merge in MERGED]


def layer(direction: str, merge: str = "concat") -> Recurrent:
    cells = [cell for name, cell in CELLS.items() if direction in (name, "bidirectional")]
    return Recurrent(*cells, direction=direction, merge=merge)


def head(I: int) -> Dense:
    random = np.random.RandomState(I)
    return Dense(random.normal(size=(I, 2)), random.normal(size=2), "tanh")


def model(direction: str = "forward", merge: str = "concat", *, last: str | None) -> Network:
    recurrent = layer(direction, merge)
    return Network(recurrent, head(recurrent.output_size), last=last)


def loop(direction: str, x: Floats) -> Floats:
    """What a cell gives at each step, written out."""
    turn = -1 if direction == "backward" else 1
    return lstm_loop(CELLS[direction], x[::turn, None], ZEROS, ZEROS)[0][::turn]


def row(x: Floats, direction: str, merge: str, last: str) -> Floats:
    """What the layer gives of a sequence: of its final states, or at its last step."""
    first_or_last = {"forward": -1, "backward": 0} if last == "state" else {}
    each = [
        loop(name, x)[first_or_last.get(name, -1)] if len(x) else ZEROS
        for name in CELLS
        if direction in (name, "bidirectional")
    ]
    return np.asarray(each[0] if len(each) == 1 else MERGED[merge](*each))


def by_head(h: Floats) -> Floats:
    dense = head(len(h))
    return np.asarray(np.tanh(h @ dense.W + dense.b))


def near(values: Any, right: Any) -> None:
    """In float64, a few steps of which the loop rounds otherwise."""
    np.testing.assert_allclose(np.array(values, float), right, rtol=0, atol=1e-14)


@pytest.fixture
def saved(tmp_path: Path) -> Any:
    """Write a network to a file, and return the options that take it from there, in float64."""

    def save(network: Network) -> tuple[str, ...]:
        rnncli.save(network, tmp_path / "net.npz")
        return ("--weights", str(tmp_path / "net.npz"), "--precision", "float64")

    return save


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize(("direction", "merge"), LAYERS)
@pytest.mark.parametrize("with_head", [False, True])
def test_the_row_of_each_sequence(direction: str, merge: str, last: str, with_head: bool) -> None:
    """Of a sequence without steps it is that of the initial state."""
    network = model(direction, merge, last=last)
    network = network if with_head else Network(network.layers[0], last=last)
    sequences = [X, X[:2], X[:0], X[1:]]
    x = np.array([np.r_[each, np.zeros(4 - len(each))] for each in sequences])[..., None]
    lengths = [len(each) for each in sequences]
    states = rnncli.run(network, x, lengths=lengths, precision="float64")
    assert states.y_n is not None
    for n, each in enumerate(sequences):
        right = row(each, direction, merge, last)
        near(states.y_n[n], by_head(right) if with_head else right)
    alone = rnncli.run(network, X[:, None], precision="float64")
    assert alone.y_n is not None
    assert alone.y_n.shape == (network.output_size,)
    near(alone.y_n, states.y_n[0])
    assert not np.shares_memory(alone.y_n, alone.h_n)


@pytest.mark.parametrize("last", LAST)
def test_masked_rows_at_the_end(last: str) -> None:
    """The last row that the model gives is a masked one, where two directions give 0."""
    network = Network(Masking(0, 1), layer("bidirectional"), last=last)
    states = rnncli.run(network, np.r_[X, 0, 0][:, None], precision="float64")
    right = row(X, "bidirectional", "concat", last) if last == "state" else np.zeros(6)
    near(states.y_n, right)


def test_a_network_without_state_gives_no_single_row() -> None:
    with pytest.raises(ValueError, match="no final state"):
        Network(head(1), last="state")


def table(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize(("direction", "merge"), LAYERS)
@pytest.mark.parametrize("with_head", [False, True])
def test_a_run_gives_one_row(
    run_rnn: Rnn, saved: Any, direction: str, merge: str, last: str, with_head: bool
) -> None:
    network = model(direction, merge, last=last)
    options = saved(network if with_head else Network(network.layers[0], last=last))
    result = run_rnn("run", *SEQ, *options, "--format", "csv")
    header, (t, *y) = table(result.stdout)
    right = row(X, direction, merge, last)
    right = by_head(right) if with_head else right
    assert header == ["t", *(f"y_{j}" for j in range(len(right)))]
    assert (t, result.stderr) == ("4", "")
    near(y, right)
    assert run_rnn("run", *SEQ, *options, "--format", "csv", "--last").stdout == result.stdout


@pytest.mark.parametrize("last", LAST)
def test_every_format_has_the_row(run_rnn: Rnn, saved: Any, last: str) -> None:
    options = ("run", *SEQ, *saved(model("bidirectional", last=last)))
    right = by_head(row(X, "bidirectional", "concat", last))
    document = json.loads(run_rnn(*options, "--json").stdout)
    assert list(document) == ["model", "initial", "final"]
    assert document["model"]["last"] == last
    (final,) = document["final"]
    assert list(final) == ["t", "h", "c", "y"]
    near(final["y"], right)
    near(final["h"], row(X, "bidirectional", "concat", "state"))
    item = json.loads(run_rnn(*options, "--format", "jsonl").stdout)
    assert item == final
    array = np.load(io.BytesIO(run_rnn(*options, "--format", "npy").stdout_bytes))
    assert array.shape == (1, 2)
    near(array, right[None])
    lines = run_rnn(*options).stdout.splitlines()
    words = {"state": "one row a sequence", "step": "the last row of a sequence"}[last]
    assert words in " ".join(lines)
    assert [float(cell) for cell in lines[-1].split()] == [4, *final["y"]]


def test_rows_of_many_sequences(run_rnn: Rnn, saved: Any, tmp_path: Path) -> None:
    """An array has a row for each, also of sequences that differ in length."""
    text = "k,v\na,0.5\nb,-1\na,2\n"
    options = ("run", *saved(model(last="state")), "--group-by", "k")
    right = [by_head(row(x, "forward", "", "state")) for x in (X[[0, 2]], X[[1]])]
    header, *rows = table(run_rnn(*options, "--format", "csv", stdin=text).stdout)
    assert header == ["k", "t", "y_0", "y_1"]
    assert [cells[:2] for cells in rows] == [["a", "2"], ["b", "1"]]
    near([cells[2:] for cells in rows], right)
    array = np.load(io.BytesIO(run_rnn(*options, "--format", "npy", stdin=text).stdout_bytes))
    assert array.shape == (2, 2)
    near(array, right)
    paths = [tmp_path / "a.csv", tmp_path / "empty.csv"]
    for path, lines in zip(paths, ("v\n0.5\n2\n", "v\n"), strict=True):
        path.write_text(lines)
    text = run_rnn("run", *map(str, paths), *options[1:-2], "--format", "csv").stdout
    header, one, none = table(text)
    assert header == ["file", "t", "y_0", "y_1"]
    near(one[2:], right[0])
    assert none[:2] == [str(paths[1]), "0"]
    near(none[2:], by_head(ZEROS))


def test_a_network_that_gives_every_row_has_arrays_of_steps(run_rnn: Rnn, saved: Any) -> None:
    options = ("run", *saved(model(last=None)), "--group-by", "k", "--format", "npy", "--last")
    text = "k,v\na,0.5\nb,-1\na,2\n"
    array = np.load(io.BytesIO(run_rnn(*options, stdin=text).stdout_bytes))
    assert array.shape == (2, 1, 2)


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "npy", "table"])
def test_no_last_gives_a_row_a_step(run_rnn: Rnn, saved: Any, form: str) -> None:
    asked = ("--format", form)
    for with_head in (False, True):
        network = model("bidirectional", last="step")
        network = network if with_head else Network(network.layers[0], last="step")
        steps = run_rnn("run", *SEQ, *saved(network), *asked, "--no-last")
        every = run_rnn("run", *SEQ, *saved(Network(*network.layers)), *asked)
        digests = rb'"sha256": "\w+"'  # of the files, which differ in that
        assert re.sub(digests, b"", steps.stdout_bytes) == re.sub(digests, b"", every.stdout_bytes)
        assert (steps.exit_code, steps.stderr) == (0, "")


@pytest.mark.parametrize("options", ["--follow --format csv", "--format heatmap", "--format svg"])
def test_a_row_a_step_is_asked_for(run_rnn: Rnn, saved: Any, options: str) -> None:
    command = ("run", *saved(model(last="state")), *options.split())
    result = run_rnn(*command, stdin="v\n0.5\n-1\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(": add --no-last (see 'rnn run --help')\n")
    steps = run_rnn(*command, "--no-last", stdin="v\n0.5\n-1\n")
    assert (steps.exit_code, steps.stderr) == (0, "")
    assert run_rnn(*command, "--last", stdin="v\n0.5\n").exit_code == 2


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_a_display_option_changes_no_number(
    run_rnn: Rnn, saved: Any, direction: str, last: str
) -> None:
    """They show the model's row, one for each sequence."""
    text = "k,v\na,0.5\nb,-1\na,2\nb,0.25\na,1\n"
    options = ("run", *saved(model(direction, last=last)), "--group-by", "k", "--format")
    row = table(run_rnn(*options, "csv", stdin=text).stdout)
    assert [cells[:2] for cells in row] == [["k", "t"], ["a", "3"], ["b", "2"]]
    for shown in ("--tail 1", "--head 1", "--head 2 --tail 3", "--last", "--last --tail 2"):
        result = run_rnn(*options, "csv", *shown.split(), stdin=text)
        assert table(result.stdout) == row, shown
    beside = table(run_rnn(*options, "csv", "--passthrough", stdin=text).stdout)
    inputs = [["k", "v"], ["b", "0.25"], ["a", "1"]]
    assert beside == [x + row[n][2:] for x, n in zip(inputs, (0, 2, 1), strict=True)]
    lines = run_rnn(*options, "jsonl", "--passthrough", stdin=text).stdout.splitlines()
    for line, (k, v) in zip(map(json.loads, lines), inputs[1:], strict=True):
        (right,) = [cells[2:] for cells in row if cells[0] == k]
        assert line["row"] == {"k": k, "v": v}
        assert line["y"] == [*map(float, right)]


def test_the_last_states_stand_beside_the_last_input(run_rnn: Rnn, tmp_path: Path) -> None:
    """Sequences of this input; a state file may have others."""
    options = ["run", "--hidden", "2", "--group-by", "k", "--columns", "v", "--last"]
    options += ["--state", str(tmp_path / "s.npz"), "--format", "csv"]
    run_rnn(*options, stdin="k,v\nb,1\na,1\n")
    result = run_rnn(*options, "--passthrough", stdin="note,k,v\nx,a,2\ny,a,3\n")
    (_, _, *last), _ = table(run_rnn(*options, stdin="k,v\n").stdout)[1:][::-1]
    assert table(result.stdout)[1:] == [["y", "a", "3", *last]]


def numbers(text: str, name: str) -> list[float]:
    """The values in the last line of a report that begins so."""
    line = [line for line in text.splitlines() if line.startswith(f"{name} ")][-1]
    return [float(cell.strip("*")) for cell in line.split()[1:]]


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize(("direction", "merge"), LAYERS)
def test_explain_ends_with_the_models_row(
    run_rnn: Rnn, saved: Any, direction: str, merge: str, last: str
) -> None:
    """Also above another layer of two directions, and of several sequences with masked rows."""
    below = Recurrent(*CELLS.values(), direction="bidirectional", merge="sum")
    cells = [drawn(3, 3, n) for n in range(len(layer(direction).cells))]
    above = Recurrent(*cells, direction=direction, merge=merge)
    network = Network(below, above, head(above.output_size), last=last)
    text = "k,v\na,\na,0.5\nb,-1\na,2\na,1\na,\nb,3\n"
    options = (*saved(network), "--group-by", "k", "--missing", "hold")
    run = ("run", *options, "--unroll", "stepwise", "--json")
    final = json.loads(run_rnn(*run, stdin=text).stdout)["final"]
    document = json.loads(run_rnn("explain", *options, "--json", stdin=text).stdout)
    steps = {step["key"]["k"]: step for step in document["steps"]}
    for row in final:
        step = steps[row["key"]["k"]]
        assert step["y"] == row["y"] == step["layers"][-1]["output"]
        assert step["layers"][-1]["cells"][-1]["quantities"][-1]["values"] == row["y"]
        assert "note" not in step
    report = run_rnn("explain", *options, "--key", "b", stdin=text).stdout
    assert numbers(report, "y_t") == final[1]["y"]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_explain_says_which_steps_are_no_answer(run_rnn: Rnn, saved: Any, direction: str) -> None:
    options = ("explain", *SEQ, *saved(model(direction, last="state")))
    steps = json.loads(run_rnn(*options, "--steps", "1:", "--json").stdout)["steps"]
    assert ["note" in step for step in steps] == [True, True, True, False]
    near(steps[1]["y"], by_head(np.r_[tuple(loop(d, X)[1] for d in directions(direction))]))
    assert "its answer is the last step" in run_rnn(*options, "--step", "2").stdout
    assert "its answer" not in run_rnn(*options, "--step", "4").stdout


def directions(direction: str) -> list[str]:
    return [name for name in CELLS if direction in (name, "bidirectional")]


def test_states_and_layers_beside_the_row(run_rnn: Rnn, saved: Any) -> None:
    """Those that the sequence ended with."""
    options = ("run", *SEQ, *saved(model("bidirectional", "sum", last="step")), "--format", "csv")
    header, values = table(run_rnn(*options, "--states").stdout)
    assert header == ["t", *(f"{name}_{j}" for name in "hc" for j in range(6)), "y_0", "y_1"]
    near(values[1:7], row(X, "bidirectional", "concat", "state"))
    near(values[-2:], by_head(row(X, "bidirectional", "sum", "step")))
    header, _ = table(run_rnn(*options, "--all-layers").stdout)
    assert header == ["t", *(f"h_{j}" for j in range(6)), "y_0", "y_1"]


@pytest.mark.parametrize("last", LAST)
def test_a_sequence_goes_on_from_a_state_file(
    run_rnn: Rnn, saved: Any, tmp_path: Path, last: str
) -> None:
    options = ("run", *saved(model(last=last)), "--format", "csv", "--group-by", "k")
    options += ("--state", str(tmp_path / "state.npz"))
    run_rnn(*options, stdin="k,v\na,0.5\nb,-1\n")
    _, *rows = table(run_rnn(*options, stdin="k,v\na,2\n").stdout)
    right = [by_head(row(x, "forward", "", "state")) for x in (X[[0, 2]], X[[1]])]
    assert [cells[:2] for cells in rows] == [["a", "2"], ["b", "1"]]
    near([cells[2:] for cells in rows], right)


@pytest.mark.parametrize("last", LAST)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_rows_that_hold_the_state_are_no_last_ones(
    run_rnn: Rnn, saved: Any, direction: str, last: str
) -> None:
    """Without them a sequence is like any other; one of them alone is as one without steps."""
    text = "k,v\na,0.5\na,\nb,\na,-1\na,2\na,0.25\na,\n"
    options = ("run", *saved(model(direction, last=last)), "--group-by", "k", "--missing", "hold")
    _, *rows = table(run_rnn(*options, "--format", "csv", stdin=text).stdout)
    right = [by_head(row(x, direction, "concat", last)) for x in (X, X[:0])]
    near([cells[2:] for cells in rows], right)


def test_scaled_columns_keep_it_one_row(run_rnn: Rnn, saved: Any) -> None:
    command = ("run", *SEQ, *saved(model(last="state")), "--center", "1", "--scale", "2")
    _, (_, *y) = table(run_rnn(*command, "--format", "csv").stdout)
    near(y, by_head(row((X - 1) / 2, "forward", "", "state")))
