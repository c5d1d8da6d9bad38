"""Weight files: any network through any format and back is the same network, to the bit."""

import hashlib
import json
import re
import warnings
from collections.abc import Callable
from itertools import cycle
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import NIGHTLY, SAMPLES, Rnn
from hypothesis import given, settings
from hypothesis import strategies as st
from model_files import content, inspect, load, refusal
from random_networks import ALL_ACTIVATIONS, Choices, network_cases, weight_shapes
from safetensors.numpy import load_file

import rnncli
from model.test_saved_models import FOLDER, MODELS, recorded
from rnncli import (
    GRU,
    LSTM,
    RNN,
    Dense,
    Masking,
    Network,
    Normalization,
    Pointwise,
    Recurrent,
    Weights,
)
from rnncli.model import arrays
from rnncli.model.arrays import Floats, as_floats, reorder
from rnncli.model.cells import Cell
from rnncli.model.formats.load import WRITTEN
from rnncli.model.layers import Layer

# Activations that ONNX has for cells.
ONNX_CELLS = [
    *("tanh", "sigmoid", "relu", "linear", "softsign", "softplus", "elu:0.7", "leaky_relu:0.2"),
    *("affine:0.5,0.1", "scaled_tanh:1.5,0.7", "hard_sigmoid:0.3,0.4", "thresholded_relu:0.5"),
]
ROWWISE = (*ALL_ACTIVATIONS, "softmax", "log_softmax")
# Those whose name an ONNX file does not keep, or that it has no operator for.
UNNAMED_IN_ONNX = ["affine", "hard_tanh", "relu6", "scaled_tanh", "silu"]
# Networks that each format has words for.
ANY = Choices(
    functions=ALL_ACTIVATIONS, row_functions=ROWWISE, clips=(inf, 0.125, 3.0), dtypes=("f", "d")
)
IN_ONNX = Choices(
    arrays=("b_n",),
    projections=(False,),
    functions=ONNX_CELLS,
    row_functions=[f for f in ROWWISE if str(f).split(":")[0] not in UNNAMED_IN_ONNX],
    merges=("concat",),
    alike=True,
    bottoms=("",),
)
BY_TORCH = ANY._replace(
    arrays=("b_n",),
    resets=("after",),
    merges=("concat",),
    alike=True,
    bottoms=("",),
    stateless=("dense",),
    between=False,
    above=1,
)


def save(path: Path, network: Network) -> list[str]:
    """Save a network; return the notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rnncli.save(network, path)
    return [str(each.message) for each in caught]


def numbers(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Floats:
    """Finite numbers of any bit pattern: tiny, huge, -0.0."""
    random = np.random.RandomState(seed + 7 * sum(shape))
    bits = random.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.frombuffer(bits, dtype).reshape(shape).copy()
    array[~np.isfinite(array)] = -0.0
    array.flat[0] = -0.0
    return array


def cells(network: Network) -> list[Any]:
    return [cell for layer in network.layers for cell in layer.cells]


@st.composite
def networks(draw: st.DrawFn, extension: str) -> Network:
    """A network that can be written with an extension."""
    choices = {".npz": ANY, ".onnx": IN_ONNX, ".safetensors": BY_TORCH}[extension]
    if choices is BY_TORCH:  # one kind of layers, and either direction
        choices = choices._replace(
            cells=[draw(st.sampled_from(choices.cells))],
            projections=[draw(st.booleans())],
            directions=[draw(st.sampled_from(["forward", "bidirectional"]))],
        )
    return draw(network_cases(choices)).network


def top(network: Network) -> Recurrent:
    return [layer for layer in network.layers if isinstance(layer, Recurrent)][-1]


def with_b_n(cell: Cell) -> Cell:
    """Return a cell as PyTorch's are, which always have it: -0.0 changes no bit of a sum."""
    weights = cell.weights
    if cell.settings.get("reset") != "after" or weights.b_n is not None:
        return cell
    return cell.replaced(weights._replace(b_n=np.full(cell.hidden_size, -0.0, weights.b_h.dtype)))


def check_file(path: Path, network: Network) -> None:
    """Check that a file gives a network that computes the same bits."""
    loaded, notes = load(path)
    assert notes == []
    x = np.arange(12 * network.input_size, dtype="f").reshape(3, 4, -1) % 5
    runs = [rnncli.run(each, x, unroll="stepwise") for each in (network, loaded)]
    for name in ("h", "h_n", "y", "y_n"):
        ours, theirs = (getattr(each, name) for each in runs)
        np.testing.assert_array_equal(ours, theirs, name)
    if path.suffix != ".onnx":
        assert content(loaded) == content(network)
    elif network.last == "step" and top(network).direction == "forward":
        assert loaded.last == "state"  # which is the last step
    else:
        assert loaded.last == network.last


@pytest.mark.parametrize("extension", WRITTEN)
@settings(max_examples=1000 if NIGHTLY else 40)
@given(data=st.data())
def test_any_network_through_a_file(
    tmp_path_factory: pytest.TempPathFactory, extension: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path, again = folder / f"w{extension}", folder / f"again{extension}"
    network = data.draw(networks(extension))
    save(path, network)
    if extension == ".safetensors":
        network = network.with_cells(with_b_n)
    check_file(path, network)
    save(again, load(path)[0])
    once = again.read_bytes()
    save(again, load(again)[0])
    assert again.read_bytes() == once


def weights(I: int = 2, H: int = 3, gates: int = 1, seed: int = 0, **extra: int) -> Weights:
    """Weights of any bits, and vectors of such sizes beside them."""
    arrays = {name: numbers(shape, seed=seed) for name, shape in weight_shapes(I, H, gates).items()}
    return Weights(**arrays, **{name: numbers((size,)) for name, size in extra.items()})


def two_layers() -> Network:
    """Two bidirectional layers of unequal sizes, each cell with an activation and a clip."""
    settings = zip(ALL_ACTIVATIONS, cycle([inf, 0.1, 3.0]), strict=False)
    cells = (
        RNN(weights(I, H, seed=seed), *next(settings))
        for I, H in ((2, 4), (8, 3))
        for seed in range(2)
    )
    return Network(*(two(*pair) for pair in zip(cells, cells, strict=True)))


def two(*cells: Cell | Weights, merge: str = "concat") -> Recurrent:
    return Recurrent(*cells, direction="bidirectional", merge=merge)


BOTH = two_layers()


@pytest.mark.posix("an archive names its system")
@pytest.mark.parametrize(
    ("extension", "digest"), [(".npz", "e6e8d7a2db768d6f"), (".safetensors", "660d96a053cb63d1")]
)
def test_files_are_as_the_first_version_wrote_them(
    tmp_path: Path, extension: str, digest: str
) -> None:
    path = tmp_path / f"w{extension}"
    save(path, BOTH)
    assert hashlib.sha256(path.read_bytes()).hexdigest().startswith(digest)
    assert inspect(path)["sha256"].startswith(digest)


def test_safetensors_reads_safetensors(tmp_path: Path) -> None:
    """Each tensor is aligned to its width."""
    path = tmp_path / "w.safetensors"
    save(path, BOTH)
    assert load_file(str(path))["weight_hh_l1"].tobytes() == cells(BOTH)[2].weights.W_hh.T.tobytes()
    W_xh, _, b_h = weights(1, 3)[:3]
    save(path, Network(Weights(W_xh, numbers((3, 3), "float64"), b_h)))
    start = 8 + int.from_bytes(path.read_bytes()[:8], "little")
    header = json.loads(path.read_bytes()[8:start])
    for entry in [entry for name, entry in header.items() if name != "__metadata__"]:
        assert (start + entry["data_offsets"][0]) % {"F32": 4, "F64": 8}[entry["dtype"]] == 0


def test_values_of_other_types(tmp_path: Path) -> None:
    """Halves become float32, and either byte order is read."""
    values = np.array([[1.5, -0.0], [0.25, -3]])
    for stored, read in (("<f2", "f4"), (">f4", "f4"), (">f8", "f8"), ("<f8", "f8")):
        arrays: dict[str, Any] = {name: values.astype(stored) for name in ("W_xh", "W_hh")}
        np.savez(tmp_path / "w.npz", **arrays)
        (cell,) = cells(load(tmp_path / "w.npz")[0])
        assert cell.weights.W_hh.dtype == np.dtype(read)
        assert cell.weights.W_hh.tobytes() == values.astype(read).tobytes()


def test_a_document_has_the_digests_of_all_files(tmp_path: Path, run_rnn: Rnn) -> None:
    files = [FOLDER / "onnx_dynamo.onnx", FOLDER / "onnx_dynamo.onnx.data"]
    with np.load(FOLDER / "onnx_dynamo.npz") as arrays:
        np.save(tmp_path / "x.npy", arrays["x"][0])
    run = run_rnn("run", tmp_path / "x.npy", "--json", "--weights", files[0])
    source = json.loads(run.output)["model"]["source"]
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]
    assert [source["sha256"], *source["beside"].values()] == digests


GRU_CELL = GRU(weights(gates=3))
PROJECTED = LSTM(weights(2, 3, 4)._replace(W_hh=numbers((2, 12)), W_hr=numbers((3, 2))))
# An extension, why a network cannot be written so, and its layers.
UNWRITTEN: list[tuple[str, str, list[Layer | Cell | Weights]]] = [
    (".safetensors", "PyTorch's names are for", [LSTM(weights(gates=4, w_ch=9))]),
    (".safetensors", "PyTorch's names are for", [GRU_CELL, weights(3)]),
    (".safetensors", "PyTorch's names are for", [GRU(GRU_CELL.weights, reset="before")]),
    (".safetensors", "PyTorch's names are for", [Dense(numbers((2, 2))), weights()]),
    (".safetensors", "PyTorch's names are for", [Recurrent(weights(), direction="backward")]),
    (".onnx", "a cell with a projection", [PROJECTED]),
    (".onnx", "activation scaled_tanh:1.0,2.0", [Pointwise("scaled_tanh:1,2", 2), weights()]),
    (".onnx", "activation silu in a cell", [weights(2, 2), RNN(weights(), "silu")]),
    (".onnx", "layer 1: is not written as ONNX: masked rows", [Masking(0, 2), weights()]),
    (".onnx", "merge sum", [two(weights(), weights(), merge="sum")]),
    (".onnx", "directions of another clip", [two(RNN(weights()), RNN(weights(), clip=0.5))]),
]


@pytest.mark.parametrize(("extension", "why", "found"), UNWRITTEN)
def test_networks_that_a_format_has_no_words_for(
    tmp_path: Path, extension: str, why: str, found: list[Any]
) -> None:
    path = tmp_path / f"w{extension}"
    with pytest.raises(ValueError, match=rf"{re.escape(why)}.*; write \.npz\Z"):
        save(path, Network(*found))
    assert not path.exists()


def test_onnx_has_float32_alone(tmp_path: Path) -> None:
    path, narrow = tmp_path / "w.onnx", Weights(*(np.ones(s, "f") for s in ((3, 4), (4, 4), 4)))
    wide = Weights(*(array.astype(float) for array in narrow[:3]))
    (note,) = save(path, Network(RNN(wide)))
    assert "float64 weights are rounded to float32" in note
    assert save(path, Network(RNN(narrow._replace(b_h=wide.b_h)))) == []  # a sum of two biases
    assert content(load(path)[0]) == content(Network(narrow))
    with pytest.raises(ValueError, match="layer_1/B: not finite in float32"):
        save(path, Network(wide._replace(b_h=np.full(4, 1e300))))


# Settings that agree with a file, and those that do not.

TANH = "does not name the activation: tanh is taken (`activation`)"
MERGE = "does not say how directions are merged: concat is taken (`merge`)"
GATES = "does not name the activation of the gates: sigmoid is taken (`recurrent_activation`)"
RESET = "does not say whether r multiplies after or before the product: after is taken (`reset`)"


def own(*cells: tuple[int, str, int, int]) -> dict[str, Any]:
    """Arrays under our names, for the number of a layer, a direction, I and H of each cell."""
    arrays: dict[str, Any] = {}
    for number, direction, I, H in cells:
        stem = f"layer_{number}.{direction}."
        arrays |= {f"{stem}W_xh": numbers((I, H)), f"{stem}W_hh": numbers((H, H))}
    return arrays


ONE: dict[str, Any] = {"W_xh": numbers((2, 3)), "W_hh": numbers((3, 3))}
TWO = own((1, "forward", 2, 3), (1, "backward", 2, 3))
LSTM_ONE: dict[str, Any] = {"W_xh": numbers((2, 12)), "W_hh": numbers((3, 12))}
GRU_ONE: dict[str, Any] = {"W_xh": numbers((2, 9)), "W_hh": numbers((3, 9))}
# Arrays, options, what they become, and what is assumed.
SILENT: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[str]]] = [
    (ONE, {}, {"activation": "tanh", "clip": inf, "direction": "forward"}, [TANH]),
    (ONE, {"clip": 2.0, "activation": "elu:0.5"}, {"activation": "elu:0.5", "clip": 2.0}, []),
    (TWO, {}, {"merge": "concat"}, [TANH, MERGE]),
    (TWO | own((2, "forward", 3, 3)), {"merge": "mul"}, {"merge": "mul"}, [TANH]),
    (LSTM_ONE, {}, {"recurrent_activation": "sigmoid", "output_activation": "tanh"}, [TANH, GATES]),
    (GRU_ONE, {}, {"reset": "after"}, [TANH, GATES, RESET]),
    (GRU_ONE, {"reset": "before"}, {"reset": "before"}, [TANH, GATES]),
]


@pytest.mark.parametrize(("arrays", "options", "expected", "assumed"), SILENT)
def test_options_fill_in(
    tmp_path: Path,
    arrays: dict[str, Any],
    options: dict[str, Any],
    expected: dict[str, Any],
    assumed: list[str],
) -> None:
    np.savez(tmp_path / "w.npz", **arrays)
    network, notes = load(tmp_path / "w.npz", **options)
    layer = network.layers[0]
    settings = {**layer.settings, **layer.cells[0].settings}
    assert {name: type(value)(settings[name]) for name, value in expected.items()} == expected
    assert notes == assumed


def test_options_of_each_layer_and_cell(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **TWO | own((2, "forward", 6, 3)))
    functions = ["relu", "elu:0.5", "linear"]
    network, _ = load(tmp_path / "w.npz", activation=functions, clip=(1.0, 2.0))
    assert [str(cell.settings["activation"]) for cell in cells(network)] == functions
    assert [cell.settings["clip"] for cell in cells(network)] == [1.0, 1.0, 2.0]


CONFLICTS: list[tuple[str, Network, dict[str, Any]]] = [
    ("file says activation relu", Network(RNN(weights(), "relu")), {"activation": "tanh"}),
    ("says clip 2.0, `clip` 3.0", Network(RNN(weights(), clip=2.0)), {"clip": 3.0}),
    (
        "the file says direction backward",
        Network(weights(2, 2), Recurrent(weights(), direction="backward")),
        {"direction": "forward"},
    ),
    ("clip: expected 1 value, one a layer", Network(weights()), {"clip": [2.0, 3.0]}),
]


@pytest.mark.parametrize(("why", "network", "options"), CONFLICTS)
def test_options_that_a_file_does_not_agree_with(
    tmp_path: Path, why: str, network: Network, options: dict[str, Any]
) -> None:
    save(tmp_path / "w.npz", network)
    assert why in refusal(tmp_path / "w.npz", **options)


def test_notes_are_warnings_where_load_is_called(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **TWO)
    with pytest.warns(UserWarning, match="is taken") as caught:
        rnncli.load(tmp_path / "w.npz")
    assert {each.filename for each in caught} == {__file__}


# Files of our own in which something was changed: the text, arrays, or both.

GIVEN = {
    "both": BOTH,
    "lstm": Network(LSTM(PROJECTED.weights._replace(w_ch=numbers((9,))))),
    "after": Network(GRU(weights(gates=3, b_n=3))),
    "head": Network(weights(), Dense(numbers((3, 2)), numbers((2,)), "softmax")),
    "between": Network(weights(), Dense(numbers((3, 2))), Pointwise("relu", 2), weights(2, 4)),
    "statistics": Network(Normalization([1.5, -0.0], [2.5, 1.0]), weights()),
    "masking": Network(Masking(-1, 2), weights()),
}
Change = Callable[[dict[str, Any], dict[str, Any]], object]


def cell_of(**changes: Any) -> Change:
    return lambda about, _: about["layers"][0]["cells"][0].update(changes)


def layer_of(number: int, **changes: Any) -> Change:
    return lambda about, _: about["layers"][number - 1].update(changes)


def array_of(name: str, *shape: int) -> Change:
    return lambda _, arrays: arrays.update({name: numbers(shape)})


# The network, and what is changed.
CHANGED: list[tuple[str, Change]] = [
    ("both", lambda about, _: about.update(format=2)),
    ("both", layer_of(1, direction="backward")),
    ("both", layer_of(1, merge="max")),
    ("both", cell_of(clip=10**400)),
    ("lstm", cell_of(cell="gru")),
    ("lstm", lambda _, arrays: arrays.pop("w_ch")),
    ("after", cell_of(reset="before")),
    ("head", lambda about, arrays: (about.pop("arrays"), arrays.pop("layer_2.W"))),
    ("head", array_of("layer_2.W", 4, 2)),
    ("head", layer_of(2, activation="glu")),
    ("between", lambda about, _: about["layers"].pop()),
    ("statistics", lambda _, arrays: arrays.update({"layer_1.scale": np.zeros(2, "f")})),
    ("masking", lambda about, _: about["layers"][0].pop("value")),
]


@pytest.mark.parametrize(("name", "change"), CHANGED)
def test_changed_files_of_our_own(tmp_path: Path, name: str, change: Change) -> None:
    path = tmp_path / "w.npz"
    save(path, GIVEN[name])
    with np.load(path) as stored:
        arrays: dict[str, Any] = dict(stored)
    about = json.loads(str(arrays.pop("about")))
    change(about, arrays)
    np.savez(path, **arrays, about=np.array(json.dumps(about)))
    assert refusal(path)


# Models of frameworks with operators that are no layer of ours.
OPERATORS = ["branches", "pooled", "attributes", "constants", "decomposed", "functions", "turned"]
OPERATORS += ["tf2onnx_stacked", "tf2onnx_words"]  # their two directions are branches


@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_a_model_runs_from_a_file_of_rnn_as_from_its_own(
    run_rnn: Rnn, tmp_path: Path, model: Path
) -> None:
    """To the bit, and with no option: the file says what the model needed some for."""
    arrays, own, data = recorded(model), str(tmp_path / "own.npz"), str(tmp_path / "x.npy")
    np.save(data, arrays["x"])
    options = arrays["options"].tolist() if "options" in arrays else []
    written = run_rnn("weights", "--weights", str(model), *options, "-o", own)
    if any(name in model.name for name in OPERATORS):
        assert (written.exit_code, "a plain chain of layers" in written.stderr) == (2, True)
        return
    assert written.exit_code == 0, written.stderr
    command = ("run", data, "--format", "npy", "--weights")
    right, result = run_rnn(*command, str(model), *options), run_rnn(*command, own)
    assert (right.exit_code, result.exit_code, result.stderr) == (0, 0, "")
    assert result.stdout_bytes == right.stdout_bytes


@pytest.mark.parametrize("shape", [(1, 3), (3, 6), (16, 48), (17, 51), (40, 3)])
def test_transposed_weights_are_copied_in_order(shape: tuple[int, int]) -> None:
    W = np.random.RandomState(1).normal(size=shape)
    copy = as_floats("W", np.asfortranarray(W))
    assert copy.flags.c_contiguous
    np.testing.assert_array_equal(copy, W)
    expected = np.concatenate([np.split(W, 3, axis=1)[k] for k in (2, 0, 1)], axis=1)
    for each in (W, np.asfortranarray(W)):
        np.testing.assert_array_equal(reorder(each, (2, 0, 1)), expected)


@pytest.mark.parametrize("extension", WRITTEN)
def test_each_matrix_is_transposed_once(
    tmp_path: Path, extension: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, shapes = tmp_path / f"w{extension}", list[tuple[int, ...]]()
    rnncli.save(rnncli.seeded(3, 4, cell="lstm"), path)
    transpose = arrays.transpose

    def record(rows: Floats) -> Floats:
        shapes.append(rows.shape)
        return transpose(rows)

    monkeypatch.setattr(arrays, "transpose", record)
    rnncli.load(path)
    assert shapes == ([] if extension == ".npz" else [(16, 3), (16, 4)])


def test_layers_have_the_names_of_their_file() -> None:
    network, _ = load(SAMPLES / "sunspots.keras")
    assert [layer.name for layer in network.layers] == ["gru", "dense"]
    assert repr(network.layers[0].cells[0]) == "GRU 8"
