"""``rnn verify`` with a row a sequence: of a model that gives one, or with ``--last``."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn
from test_verify import verified

import rnncli
from rnncli.engine.state import fingerprint
from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.cells.gates import ordered
from rnncli.model.layers import Dense, Layer, LayerNormalization, Pointwise, Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.diagnosis import explain

RANDOM = np.random.RandomState(3)
# Sequences of 4, 7 and 5 rows.
LENGTHS = {"a": 4, "b": 7, "c": 5}
ROWS = [(key, *RANDOM.normal(size=2).tolist()) for key, T in LENGTHS.items() for _ in range(T)]
KEYS = ("--group-by", "key")


def normal(*shape: int) -> Floats:
    return RANDOM.normal(size=shape).astype("f")


HEAD = Dense(normal(6, 2), normal(2), "softmax")


def model(direction: str = "forward", *head: Layer, cell: str = "lstm") -> Network:
    size = 3 if direction == "bidirectional" else 6
    layers = rnncli.seeded(2, size, 1, "torch", cell=cell, direction=direction).layers
    return Network(*layers, *(head or (HEAD,)), last="state")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("key,x,y\n" + "".join(f"{key},{x!r},{y!r}\n" for key, x, y in ROWS))
    return path


def weights(folder: Path, network: Network) -> str:
    path = folder / f"{fingerprint(network, 'float32')[:8]}{network.last}.npz"
    rnncli.save(network, path)
    return str(path)


def sequences() -> list[Floats]:
    return [np.array([row[1:] for row in ROWS if row[0] == key], "f") for key in LENGTHS]


def given(network: Network) -> Floats:
    """What the network gives of each sequence."""
    rows = [rnncli.run(network, x).y_n for x in sequences()]
    return np.array(rows)


def stored(folder: Path, rows: Floats) -> str:
    path = folder / "expected.npy"
    np.save(path, rows)
    return str(path)


@pytest.mark.parametrize("form", ["csv", "json", "jsonl", "npy"])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_our_own_rows_are_equal(
    run_rnn: Rnn, tmp_path: Path, data: Path, direction: str, form: str
) -> None:
    arguments = (str(data), *KEYS, "--weights", weights(tmp_path, model(direction)))
    path = str(tmp_path / f"rows.{form}")
    assert run_rnn("run", *arguments, "-o", path).exit_code == 0
    first, *others = verified(run_rnn, *arguments, "--expected", path)["results"]
    assert (first["name"], first["verdict"], first["difference"]) == (path, "equal", 0)
    assert (first["steps"], first["judged"], first["step_error"]) == (1, 1, None)
    # The other results are of every step.
    assert {item["steps"] for item in others if item["verdict"] == "equal"} == {7}


@pytest.mark.parametrize("form", ["csv", "json", "npy"])
def test_the_row_of_a_sequence_without_steps_is_left_out(
    run_rnn: Rnn, tmp_path: Path, form: str
) -> None:
    for name, text in (("a", "x,y\n1,2\n"), ("b", "x,y\n"), ("c", "x,y\n3,4\n5,6\n")):
        (tmp_path / f"{name}.csv").write_text(text)
    files = [str(tmp_path / f"{name}.csv") for name in "abc"]
    arguments = (*files, "--weights", weights(tmp_path, model()))
    path = str(tmp_path / f"rows.{form}")
    assert run_rnn("run", *arguments, "-o", path).exit_code == 0
    first, *_ = verified(run_rnn, *arguments, "--expected", path)["results"]
    assert (first["name"], first["verdict"]) == (path, "equal")


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_last_takes_a_row_a_sequence_of_any_network(
    run_rnn: Rnn, tmp_path: Path, data: Path, cell: str, head: bool
) -> None:
    layers = model(cell=cell).layers if head else model(cell=cell).layers[:1]
    arguments = (str(data), *KEYS, "--weights", weights(tmp_path, Network(*layers)))
    for form in ("csv", "json"):
        path = str(tmp_path / f"rows.{form}")
        assert run_rnn("run", *arguments, "--last", "-o", path).exit_code == 0
        report = verified(run_rnn, *arguments, "--last", "--expected", path)
        assert report["results"][0]["difference"] == 0


def test_no_last_takes_a_row_a_step(run_rnn: Rnn, tmp_path: Path, data: Path) -> None:
    arguments = (str(data), *KEYS, "--weights", weights(tmp_path, model()))
    path = str(tmp_path / "rows.csv")
    assert run_rnn("run", *arguments, "--no-last", "-o", path).exit_code == 0
    report = verified(run_rnn, *arguments, "--no-last", "--expected", path)
    assert report["results"][0]["steps"] == 7
    result = run_rnn("verify", *arguments, "--expected", path)
    assert result.exit_code == 2
    assert f"{path}: expected a row for each of 3 sequences, got 16, as there are " in result.stderr
    assert "; --no-last compares a row a step" in result.stderr


@pytest.mark.parametrize("shape", [(1, 2), (2,), (2, 1), (1, 1, 2)])
def test_the_row_of_one_sequence_may_lie_in_any_way(
    run_rnn: Rnn, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    network, x = model(), sequences()[0]
    seq = json.dumps(x.tolist())
    path = stored(tmp_path, given(network)[0].reshape(shape))
    arguments = ("--seq", seq, "--weights", weights(tmp_path, network), "--expected", path)
    assert verified(run_rnn, *arguments)["results"][0]["verdict"] == "equal"


def swapped(weights: Weights) -> Weights:
    arrays = {name: ordered(array, (0, 1, 3, 2)) for name, array in weights.arrays.items()}
    return weights._replace(**arrays)


def exchanged(network: Network) -> Network:
    cells = network.layers[0].cells[::-1]
    return Network(Recurrent(*cells, direction="bidirectional"), HEAD, last="state")


RIGHT, BOTH = model(), model("bidirectional")
NORMAL = model("forward", LayerNormalization(np.ones(6)), HEAD)
# What is named, the model, and the same with the fault.
FAULTS: dict[str, tuple[Network, Network]] = {
    "no bias in layer 2": (RIGHT, model("forward", Dense(HEAD.W, None, "softmax"))),
    "activation linear in layer 2": (RIGHT, model("forward", Dense(HEAD.W, HEAD.b))),
    "activation log_softmax in layer 2": (
        RIGHT,
        model("forward", Dense(HEAD.W, HEAD.b, "log_softmax")),
    ),
    "relu below layer 2": (RIGHT, model("forward", Pointwise("relu", 6), HEAD)),
    "W transposed in layer 2": (
        RIGHT,
        model("forward", Dense(np.ascontiguousarray(HEAD.W.reshape(2, 6).T), HEAD.b, "softmax")),
    ),
    "gates i f g o taken for i f o g": (
        RIGHT,
        RIGHT.with_cells(lambda cell: cell.replaced(swapped(cell.weights))),
    ),
    "layer 2 left out": (NORMAL, RIGHT),
    "weights of the two directions exchanged": (BOTH, exchanged(BOTH)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_found_and_named(
    run_rnn: Rnn, tmp_path: Path, data: Path, name: str
) -> None:
    right, wrong = FAULTS[name]
    path = stored(tmp_path, given(wrong))
    arguments = (str(data), *KEYS, "--weights", weights(tmp_path, right), "--expected", path)
    report = verified(run_rnn, *arguments, exit_code=1)
    assert report["results"][0]["verdict"] == "different"
    assert [each["name"] for each in report["explanations"]] == [name]


@pytest.mark.slow
def test_the_row_of_a_long_sequence_hangs_on_its_last_steps() -> None:
    name = "gates i f g o taken for i f o g"
    right, wrong = FAULTS[name]
    x, lengths = np.random.RandomState(0).normal(size=(2, 500, 2)), np.array([500, 420])
    case = Case(right, x.astype("f"), np.zeros((2, right.state_size), "f"), lengths)
    (theirs,) = case._replace(network=wrong).outputs()
    assert list(explain(case, theirs)) == [name]


def test_rounded_rows_are_named(run_rnn: Rnn, tmp_path: Path, data: Path) -> None:
    arguments = (str(data), *KEYS, "--weights", weights(tmp_path, RIGHT))
    path = stored(tmp_path, given(RIGHT).round(4))
    report = verified(run_rnn, *arguments, "--expected", path, exit_code=1)
    (only,) = report["explanations"]
    assert only["name"] == "rounding to 4 digits after the point"


def test_rows_of_another_size(run_rnn: Rnn, tmp_path: Path, data: Path) -> None:
    path = stored(tmp_path, np.ones((3, 6)))
    arguments = (str(data), *KEYS, "--weights", weights(tmp_path, RIGHT), "--expected", path)
    result = run_rnn("verify", *arguments)
    assert result.exit_code == 2
    expected = "expected shape (3, 2), as the input and the network give, got (3, 6)"
    assert f"{path}: {expected}" in result.stderr


@pytest.mark.slow
def test_where_a_row_is_wrong_is_told(run_rnn: Rnn, tmp_path: Path, data: Path) -> None:
    """A row is at the last step of its sequence."""
    rows = given(RIGHT)
    rows[1, 1] += np.float32(1e-3)
    path = stored(tmp_path, rows)
    arguments = (str(data), *KEYS, "--weights", weights(tmp_path, RIGHT), "--expected", path)
    first = verified(run_rnn, *arguments, exit_code=1)["results"][0]
    assert first["first"].items() >= {"sequence": 2, "step": 7, "unit": 1}.items()
    assert first["at"] == {"sequence": 2, "step": 7, "unit": 1}
    text = run_rnn("verify", *arguments).stdout
    assert "values (16.7%), in sequence 2 (b) alone, in unit 1 alone. " in text
    assert "First wrong value: sequence 2 (b), step 7, unit 1: expected " in text
    assert "No convention that rnn knows reproduces it." in text
    assert verified(run_rnn, *arguments, "--atol", "2e-3")["results"][0]["verdict"] == "equal"


def test_a_document_without_final_states(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "e.json"
    path.write_text('{"steps": []}')
    options = ("--seq", "1,2", "--hidden", "4", "--last", "--expected", str(path))
    result = run_rnn("verify", *options)
    assert result.exit_code == 2
    assert f"{path}: expected a document with final" in result.stderr
