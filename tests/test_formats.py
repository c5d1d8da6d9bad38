"""Weight files: what is written is read back to the bit, by us and by NumPy and safetensors.

Values are compared as bytes throughout: nothing is computed but the sum of
two biases, which is NumPy's.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Mapping
from itertools import cycle
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import ALL_ACTIVATIONS, network_cases
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from rnncli.model import formats
from rnncli.model.activations import SIGMOID, TANH, activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, GRU, LSTM, RNN, Cell, Weights, weight_shapes
from rnncli.model.formats import Loaded, load_network, save_network
from rnncli.model.formats.containers import MOST_BYTES
from rnncli.model.layers import (
    DIRECTIONS,
    MERGES,
    Dense,
    Embedding,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
    Recurrent,
)
from rnncli.model.network import Network

Tensors = Mapping[str, np.ndarray]

KINDS = (".npz", ".safetensors")
WAYS = [("forward", "concat"), ("backward", "concat")]
WAYS += [("bidirectional", merge) for merge in MERGES]
RELU = activation("relu")


def numbers(shape: tuple[int, ...], dtype: str = "float32", seed: int = 0) -> Floats:
    """Finite numbers of any bit pattern: tiny, huge, -0.0."""
    random = np.random.RandomState(seed + 7 * sum(shape))
    bits = random.bytes(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    array = np.frombuffer(bits, dtype).reshape(shape).copy()
    array[~np.isfinite(array)] = -0.0
    array.flat[0] = -0.0
    return array


def weights(I: int, H: int, dtype: str = "float32", seed: int = 0, gates: int = 1) -> Weights:
    shapes = weight_shapes(I, H, gates).values()
    return Weights(*(numbers(shape, dtype, seed) for shape in shapes))


def network(
    layers: int, direction: str = "forward", merge: str = "concat", dtype: str = "float32"
) -> Network:
    """Layers of unequal sizes, each cell with an activation and a clip of its own."""
    activations, clips = cycle(ALL_ACTIVATIONS), cycle([inf, 0.1, 3.0])
    made: list[Recurrent] = []
    for number in range(layers):
        I = made[-1].output_size if made else 2
        cells = [
            RNN(weights(I, 4 - number, dtype, seed), next(activations), next(clips))
            for seed, _ in enumerate(DIRECTIONS[direction])
        ]
        made.append(Recurrent(*cells, direction=direction, merge=merge))
    return Network(*made)


def saved(path: Path, network: Network) -> list[str]:
    with path.open("wb") as file:
        return save_network(file, network, path.suffix)


def cells(network: Network) -> list[Any]:
    return [cell for layer in network.layers for cell in layer.cells]


def told(network: Network) -> list[Any]:
    """All there is to a network, arrays as bytes."""
    return [network.last] + [
        (
            layer.settings,
            [cell.settings for cell in layer.cells],
            [
                (name, a.dtype, a.shape, a.tobytes())
                for arrays in (layer.arrays, *(cell.weights.arrays for cell in layer.cells))
                for name, a in arrays.items()
            ],
        )
        for layer in network.layers
    ]


def load(path: Path, tensors: Tensors, layer: str | None = None, **given: Any) -> Loaded:
    """Write tensors by the libraries' own writers, and read the network in them."""
    if path.suffix == ".npz":
        np.savez(path, **dict[str, Any](tensors))
    else:
        save_file(dict(tensors), str(path))
    return load_network(path, layer, given)


def refusal(path: Path, layer: str | None = None, **given: Any) -> str:
    """Give the message, one line that begins with the path, without that."""
    with pytest.raises(ValueError, match=r"\A.+\Z") as caught:
        load_network(path, layer, given)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize(("direction", "merge"), WAYS)
@pytest.mark.parametrize("extension", KINDS)
def test_round_trips(
    tmp_path: Path, dtype: str, layers: int, direction: str, merge: str, extension: str
) -> None:
    path = tmp_path / f"w{extension}"
    written = network(layers, direction, merge, dtype)
    if extension == ".safetensors" and (direction == "backward" or merge != "concat"):
        with pytest.raises(ValueError, match=r"write \.npz\Z"):
            saved(path, written)
        assert path.read_bytes() == b""
        return
    saved(path, written)
    loaded = load_network(path)
    assert told(loaded.network) == told(written)
    assert loaded.assumptions == []
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
@given(case=network_cases(list(CELLS)))
def test_round_trips_of_mixed_cells(tmp_path_factory: pytest.TempPathFactory, case: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "cells.npz"
    saved(path, case.network)
    loaded = load_network(path)
    assert told(loaded.network) == told(case.network)
    assert loaded.assumptions == []


def with_b_n(cell: Cell) -> Cell:
    """Frameworks always have it: -0.0 changes no bit of a sum."""
    weights = cell.weights
    if cell.settings.get("reset") != "after" or weights.b_n is not None:
        return cell
    return cell.replaced(weights._replace(b_n=np.full(cell.hidden_size, -0.0, weights.b_h.dtype)))


def all_named(network: Network) -> bool:
    """Whether PyTorch has names for all there is."""
    every, layers = cells(network), network.layers
    return (
        all(set(cell.weights.arrays) <= {"W_xh", "W_hh", "b_h", "b_n", "W_hr"} for cell in every)
        and len({(type(cell), cell.weights.W_hr is None) for cell in every}) == 1
        and {x.settings["direction"] for x in layers} in ({"forward"}, {"bidirectional"})
        and all(x.settings["merge"] == "concat" or len(x.cells) == 1 for x in layers)
        and all(cell.settings.get("reset") != "before" for cell in every)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", CELLS)
@given(data=st.data())
def test_round_trips_by_the_names_of_others(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    written = data.draw(network_cases([kind])).network
    path = tmp_path_factory.getbasetemp() / "named.safetensors"
    if not all_named(written):
        with pytest.raises(ValueError, match=r"write \.npz\Z"):
            saved(path, written)
        return
    saved(path, written)
    loaded = load_network(path)
    assert told(loaded.network) == told(written.with_cells(with_b_n))
    assert loaded.assumptions == []


@pytest.mark.parametrize("last", ["state", "step"])
@pytest.mark.parametrize("extension", KINDS)
def test_models_that_give_one_row(tmp_path: Path, extension: str, last: str) -> None:
    written = Network(*network(2, "bidirectional").layers, last=last)
    saved(tmp_path / f"w{extension}", written)
    assert told(load_network(tmp_path / f"w{extension}").network) == told(written)


# The first 16 digits of SHA-256, of 1, 2 and 3 layers, the second file bidirectional.
VANILLA = {
    ".npz": ("a1a9c7603fdb2539", "e6e8d7a2db768d6f", "282b4aa565510f96"),
    ".safetensors": ("36cb509cbc10aada", "660d96a053cb63d1", "ff44ee62b4c1c425"),
}


@pytest.mark.parametrize(("kind", "digests"), VANILLA.items(), ids=str)
def test_files_of_vanilla_networks_stay_as_they_were(kind: str, digests: tuple[str, ...]) -> None:
    """What 0.1 wrote and reads."""
    found = []
    for written in (network(1), network(2, "bidirectional"), network(3)):
        file = io.BytesIO()
        save_network(file, written, kind)
        found.append(hashlib.sha256(file.getvalue()).hexdigest()[:16])
    assert tuple(found) == digests


def test_numpy_reads_what_is_written(tmp_path: Path) -> None:
    single, stack = network(1), network(2, "bidirectional")
    saved(tmp_path / "a.npz", single)
    saved(tmp_path / "b.npz", stack)
    with np.load(tmp_path / "a.npz") as arrays:
        assert sorted(arrays) == ["W_hh", "W_xh", "about", "b_h"]
        for name, array in single.layers[0].cells[0].weights.arrays.items():
            np.testing.assert_array_equal(arrays[name], array, strict=True)
    with np.load(tmp_path / "b.npz") as arrays:
        about = json.loads(str(arrays["about"]))
        backward = stack.layers[1].cells[1].weights
        np.testing.assert_array_equal(arrays["layer_2.backward.W_hh"], backward.W_hh, strict=True)
    assert about["format"] == 1
    assert about["layers"][0] == {
        "direction": "bidirectional",
        "merge": "concat",
        "cells": [
            {"activation": "tanh", "clip": None},
            {"activation": "relu", "clip": 0.1},
        ],
    }


def test_safetensors_reads_pytorch_names(tmp_path: Path) -> None:
    path, written = tmp_path / "w.safetensors", network(2, "bidirectional")
    saved(path, written)
    tensors = load_file(str(path))
    ends = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    roles = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    assert sorted(tensors) == sorted(f"{role}{end}" for role in roles for end in ends)
    for end, cell in zip(ends, cells(written), strict=True):
        W_xh, W_hh, b_h = cell.weights[:3]
        assert tensors[f"weight_ih{end}"].tobytes() == W_xh.T.tobytes()
        assert tensors[f"weight_hh{end}"].tobytes() == W_hh.T.tobytes()
        total = tensors[f"bias_ih{end}"] + tensors[f"bias_hh{end}"]
        assert total.tobytes() == b_h.tobytes()
    with safe_open(str(path), framework="numpy") as file:
        assert file.metadata()["format"] == "pt"


def test_tensors_are_aligned_to_their_width(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    W_xh, _, b_h = weights(1, 3)[:3]
    written = Network(Weights(W_xh, numbers((3, 3), "float64"), b_h))
    saved(path, written)
    content = path.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    del header["__metadata__"]
    for entry in header.values():
        assert (start + entry["data_offsets"][0]) % {"F32": 4, "F64": 8}[entry["dtype"]] == 0
    assert told(load_network(path).network) == told(written)


LSTM_WEIGHTS = weights(2, 3, gates=4)
UNSAID = {
    "all that frameworks have by default": (Network(weights(2, 3)), None),
    "an activation": (Network(Recurrent(RNN(weights(2, 3), RELU))), "activation relu"),
    "a clip": (Network(Recurrent(RNN(weights(2, 3), TANH, 2.0))), "clip 2.0"),
    "an LSTM": (Network(LSTM(LSTM_WEIGHTS)), None),
    "an LSTM's settings": (
        Network(LSTM(LSTM_WEIGHTS, "tanh", "relu", "elu")),
        "recurrent_activation relu, output_activation elu:1.0",
    ),
}


@pytest.mark.parametrize(("written", "what"), UNSAID.values(), ids=UNSAID)
def test_what_names_do_not_tell_is_said(tmp_path: Path, written: Network, what: str | None) -> None:
    notes = saved(tmp_path / "w.safetensors", written)
    assert [f"do not tell {what}: " in note for note in notes] == ([True] if what else [])
    assert saved(tmp_path / "w.npz", written) == []


def own(number: int, direction: str, I: int, H: int) -> dict[str, np.ndarray]:
    stem = f"layer_{number}.{direction}."
    return {f"{stem}W_xh": numbers((I, H)), f"{stem}W_hh": numbers((H, H), seed=1)}


def torch(
    stem: str = "", I: int = 2, H: int = 3, end: str = "_l0", gates: int = 1, bias: bool = False
) -> dict[str, np.ndarray]:
    tensors = {
        f"{stem}weight_ih{end}": numbers((gates * H, I)),
        f"{stem}weight_hh{end}": numbers((gates * H, H), seed=1),
    }
    if bias:
        tensors[f"{stem}bias_ih{end}"] = np.linspace(-1, 1, gates * H, dtype=np.float32)
        tensors[f"{stem}bias_hh{end}"] = np.linspace(2, 3, gates * H, dtype=np.float32)
    return tensors


def test_a_file_made_by_hand(tmp_path: Path) -> None:
    W_xh, W_hh = numbers((2, 3)), numbers((3, 3))
    loaded = load(tmp_path / "w.npz", {"W_xh": W_xh, "W_hh": np.asfortranarray(W_hh)})
    bias = np.zeros(3, np.float32)
    assert told(loaded.network) == told(Network(Weights(W_xh, W_hh, bias)))
    assert loaded.assumptions == [ACTIVATION]


@pytest.mark.parametrize(
    ("stored", "kept"), [("<f2", "f4"), (">f4", "f4"), (">f8", "f8"), ("<f8", "f8")]
)
def test_float_types(tmp_path: Path, stored: str, kept: str) -> None:
    values = np.array([[1.5, -0.0], [0.25, -3]])
    arrays = {"W_xh": values.astype(stored), "W_hh": values.astype(stored)}
    (cell,) = cells(load(tmp_path / "w.npz", arrays).network)
    assert cell.weights.W_hh.dtype == np.dtype(kept)
    assert cell.weights.W_hh.tobytes() == values.astype(kept).tobytes()


def test_halves_of_safetensors(tmp_path: Path) -> None:
    """bfloat16 is the upper half of float32: 1 is 3F80, -2.5 is C020, 2**-133 is 0001."""
    path = tmp_path / "w.safetensors"
    bits = np.array([0x3F80, 0xC020, 0x0001, 0x8000], "<u2").tobytes()
    half = np.array([[0.5]], np.float16).tobytes()
    entries = {
        "rnn.weight_ih_l0": {"dtype": "BF16", "shape": [4, 1], "data_offsets": [0, 8]},
        "rnn.weight_hh_l0": {"dtype": "F16", "shape": [4, 4], "data_offsets": [8, 40]},
    }
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bits + half * 16)
    (cell,) = cells(load_network(path).network)
    expected = np.array([[1, -2.5, 2.0**-133, -0.0]], np.float32)
    assert cell.weights.W_xh.tobytes() == expected.tobytes()
    assert cell.weights.W_hh.tobytes() == np.full((4, 4), 0.5, np.float32).tobytes()


Shape = list[tuple[int, int, str]]
FOUND: dict[str, tuple[dict[str, Any], str | None, Shape]] = {
    "a cell": (torch(end=""), None, [(2, 3, "forward")]),
    "a cell in a list": (
        torch("cells.0.", end="") | torch("cells.1.", 3, 4, end=""),
        "cells.1",
        [(3, 4, "forward")],
    ),
    "both directions": (torch() | torch(end="_l0_reverse"), None, [(2, 3, "bidirectional")]),
    "one of two": (
        torch("enc.") | torch("dec.", 3, 4) | {"fc.bias": np.array([np.nan])},
        "dec",
        [(3, 4, "forward")],
    ),
    "one inside": (torch("m.enc.") | torch("dec.", 3, 4), "m", [(2, 3, "forward")]),
    "beside an LSTM": (torch("enc.") | torch("lm.", gates=4), "enc", [(2, 3, "forward")]),
}


@pytest.mark.parametrize(("tensors", "layer", "expected"), FOUND.values(), ids=FOUND)
def test_what_is_found(
    tmp_path: Path, tensors: Tensors, layer: str | None, expected: Shape
) -> None:
    loaded = load(tmp_path / "w.safetensors", tensors, layer)
    found = [
        (x.input_size, x.cells[0].state_sizes[0], x.settings["direction"])
        for x in loaded.network.layers
    ]
    assert found == expected


BOTH = own(1, "forward", 2, 3) | own(1, "backward", 2, 3)
ONE = {"W_xh": numbers((2, 3)), "W_hh": numbers((3, 3))}
ACTIVATION = "does not name the activation: tanh is taken (`activation`)"
MERGE = "does not say how directions are merged: concat is taken (`merge`)"
GATES = "does not name the activation of the gates: sigmoid is taken (`recurrent_activation`)"
RESET = "does not say whether r multiplies after or before the product: after is taken (`reset`)"
TOP = own(2, "forward", 6, 3)


def gated(gates: int, **extra: int) -> dict[str, np.ndarray]:
    """Our arrays of a gated cell of 2 inputs and 3 units, and others of such sizes."""
    arrays = {"W_xh": numbers((2, 3 * gates)), "W_hh": numbers((3, 3 * gates))}
    return arrays | {name: numbers((size,)) for name, size in extra.items()}


SILENT: dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]] = {
    "all": (".npz", BOTH, {}, [ACTIVATION, MERGE]),
    "activation given": (".npz", BOTH, {"activation": RELU}, [MERGE]),
    "merge given": (".npz", BOTH, {"merge": "sum"}, [ACTIVATION]),
    "merge told by the width above": (".npz", BOTH | TOP, {}, [ACTIVATION]),
    "merge given for the width above": (
        ".npz",
        BOTH | own(2, "forward", 3, 3),
        {"merge": "mul"},
        [ACTIVATION],
    ),
    "direction given": (".npz", ONE, {"direction": "backward"}, [ACTIVATION]),
    "direction given, PyTorch": (".safetensors", torch(), {"direction": "backward"}, [ACTIVATION]),
    "an LSTM": (".npz", gated(4), {}, [ACTIVATION, GATES]),
    "gates given": (".npz", gated(4), {"recurrent_activation": RELU}, [ACTIVATION]),
    "a GRU": (".npz", gated(3), {}, [ACTIVATION, GATES, RESET]),
    "a GRU with b_n": (".npz", gated(3, b_n=3), {}, [ACTIVATION, GATES]),
    "reset given": (".npz", gated(3), {"reset": "before"}, [ACTIVATION, GATES]),
    "PyTorch's LSTM": (".safetensors", torch(gates=4), {}, []),
    "PyTorch's GRU": (".safetensors", torch(gates=3), {"reset": "after"}, []),
}


@pytest.mark.parametrize(
    ("extension", "tensors", "options", "assumed"), SILENT.values(), ids=SILENT
)
def test_options_fill_in(
    tmp_path: Path, extension: str, tensors: Tensors, options: dict[str, Any], assumed: list[str]
) -> None:
    path = tmp_path / f"w{extension}"
    loaded = load(path, tensors, **options)
    layer = loaded.network.layers[0]
    settings = {"activation": TANH, "clip": inf, **layer.settings, "merge": "concat"} | options
    if (gates := len(layer.cells[0].weights.b_h) // 3) > 1:
        settings = {"recurrent_activation": SIGMOID, **settings}
        settings |= (
            {"output_activation": settings["activation"]}
            if gates == 4
            else {"reset": options.get("reset", "after")}
        )
    assert loaded.assumptions == assumed
    assert {**layer.cells[0].settings, **layer.settings} == settings


CONFLICTS: list[tuple[str, Network, dict[str, Any]]] = [
    (
        "layer 1: the file says activation relu",
        Network(Recurrent(RNN(weights(2, 3), RELU))),
        {"activation": TANH},
    ),
    (
        "layer 1: the file says activation elu:0.5",
        Network(Recurrent(RNN(weights(2, 3), activation("elu", 0.5)))),
        {"activation": activation("elu", 1.0)},
    ),
    (
        "layer 1: the file says clip 2.0, `clip` 3.0 was",
        Network(Recurrent(RNN(weights(2, 3), TANH, 2.0))),
        {"clip": 3.0},
    ),
    (
        "layer 2: the file says direction backward",
        Network(weights(2, 2), Recurrent(weights(2, 3), direction="backward")),
        {"direction": "forward"},
    ),
    (
        "layer 1: the file says merge sum, `merge` ave",
        Network(Recurrent(weights(2, 3), weights(2, 3), direction="bidirectional", merge="sum")),
        {"merge": "ave"},
    ),
]


@pytest.mark.parametrize(("message", "written", "options"), CONFLICTS)
def test_options_that_do_not_agree(
    tmp_path: Path, message: str, written: Network, options: dict[str, Any]
) -> None:
    path = tmp_path / "w.npz"
    saved(path, written)
    assert refusal(path, **options).startswith(message)


def test_load_warns_of_what_is_assumed_where_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **dict[str, Any](BOTH))
    with pytest.warns(UserWarning, match="is taken") as caught:
        network = formats.load(path)
    assert [str(each.message) for each in caught] == [
        f"{path}: {ACTIVATION}",
        f"{path}: {MERGE}",
    ]
    assert {each.filename for each in caught} == {__file__}
    assert told(network) == told(load_network(path).network)


@pytest.mark.parametrize("f", ["leaky_relu:0.1", activation("leaky_relu", 0.1)])
def test_load_takes_what_is_given(tmp_path: Path, f: Any) -> None:
    path = tmp_path / "w.safetensors"
    save_file(torch("enc.") | torch("dec.", 3, 4), str(path))
    network = formats.load(str(path), layer="dec", activation=f, direction="backward", clip=2.0)
    (layer,), (cell,) = network.layers, cells(network)
    assert layer.settings == {"direction": "backward", "merge": "concat"}
    assert cell.settings == {"activation": activation("leaky_relu", 0.1), "clip": 2.0}
    assert cell.weights.W_xh.shape == (3, 4)


def test_settings_of_each_layer_and_cell(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **dict[str, Any](BOTH | own(2, "forward", 6, 3)))
    f = ["relu", "elu:0.5", "linear"]
    network = load_network(path, None, {"activation": f, "clip": (1.0, 2.0)}).network
    assert [str(cell.settings["activation"]) for cell in cells(network)] == f
    assert [cell.settings["clip"] for cell in cells(network)] == [1.0, 1.0, 2.0]
    network = load_network(path, None, {"activation": [RELU]}).network
    assert {str(cell.settings["activation"]) for cell in cells(network)} == {"relu"}


def test_a_setting_of_some_cells(tmp_path: Path) -> None:
    """It is given to those that have it."""
    arrays = {f"layer_1.forward.{name}": array for name, array in gated(4).items()}
    arrays |= own(2, "forward", 3, 3)
    loaded = load(tmp_path / "w.npz", arrays, recurrent_activation="hard_sigmoid")
    lstm, rnn = cells(loaded.network)
    assert str(lstm.settings["recurrent_activation"]) == "hard_sigmoid:0.2,0.5"
    assert "recurrent_activation" not in rnn.settings
    assert loaded.assumptions == [ACTIVATION]


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_pytorch_names_of_gates(tmp_path: Path, gates: int) -> None:
    """Gates of PyTorch's GRU are r z n; n has a bias that stays apart."""
    tensors = torch(gates=gates, bias=True)
    loaded = load(tmp_path / "w.safetensors", tensors)
    order = [1, 0, 2] if gates == 3 else range(gates)
    blocks = {
        name: np.stack([array[3 * gate : 3 * gate + 3] for gate in order])
        for name, array in tensors.items()
    }
    (cell,) = cells(loaded.network)
    for number in range(gates):
        gate = slice(3 * number, 3 * number + 3)
        W_xh, W_hh, b_h = (array[..., gate] for array in cell.weights[:3])
        assert W_xh.tobytes() == blocks["weight_ih_l0"][number].T.tobytes()
        assert W_hh.tobytes() == blocks["weight_hh_l0"][number].T.tobytes()
        b_x, b_r = blocks["bias_ih_l0"][number], blocks["bias_hh_l0"][number]
        apart = gates == 3 and number == 2
        assert (b_h == (b_x if apart else np.float64(b_x) + b_r)).all()
        assert [bias[gate].tobytes() for bias in loaded.biases[0]] == [b_x.tobytes(), b_r.tobytes()]
    if gates == 3:
        assert cell.weights.arrays["b_n"].tobytes() == blocks["bias_hh_l0"][2].tobytes()


WRONG: list[tuple[str, dict[str, Any]]] = [
    ("activation: expected one of tanh, ", {"activation": "glu"}),
    ("direction: expected one of forward", {"direction": "up"}),
    ("merge: expected one of concat, sum, ave", {"merge": "max"}),
    ("clip: expected a number over 0, got 0", {"clip": 0}),
    ("w.npz: has no bidirectional layer; leave", {"merge": "sum"}),
    ("reset: expected one of after, before", {"reset": "never"}),
    ("w.npz: clip: expected 1 value, got 2", {"clip": [2.0, 3.0]}),
]


@pytest.mark.parametrize(("message", "options"), WRONG)
def test_load_refuses(tmp_path: Path, message: str, options: dict[str, Any]) -> None:
    np.savez(tmp_path / "w.npz", **dict[str, Any](gated(3)))
    with pytest.raises(ValueError, match=re.escape(message)):
        formats.load(tmp_path / "w.npz", **options)


NPZ: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (
        "directions layer_1.forward.W_xh, layer_1.backward.W_hh, layer_2.forward.b_h, ..., got bh",
        ONE | {"bh": numbers((3,))},
        {},
    ),
    (
        "(`layer` a, b?)",
        {f"{stem}{name}": array for stem in ("a.", "b/") for name, array in ONE.items()},
        {},
    ),
    ("holds no tensor under `layer` a; it holds", ONE, {"layer": "a"}),
    ("has no W_hh, which goes with W_xh", {"W_xh": ONE["W_xh"]}, {}),
    (
        "has layer_3, but no layer_2: layers are",
        own(1, "forward", 2, 3) | own(3, "forward", 3, 3),
        {},
    ),
    ("expected one of the two, W_xh or", ONE | own(1, "backward", 2, 3), {}),
    ("W_hh: expected floats (float16, bfloat16", ONE | {"W_hh": np.ones((3, 3), np.int32)}, {}),
    ("W_hh: expected floats", ONE | {"W_hh": np.array([[None]])}, {}),
    ("W_hh: expected shape (H, H) or (H, 4 H) or", ONE | {"W_hh": numbers((3, 4))}, {}),
    ("got (3, 2) (transposed?)", ONE | {"W_xh": numbers((3, 2))}, {}),
    ("W_hh: expected shape", {"W_xh": np.ones((2, 0)), "W_hh": np.ones((0, 0))}, {}),
    ("b_h: expected shape (3,), as W_hh is (3, 3)", ONE | {"b_h": numbers((1, 3))}, {}),
    (
        "layer_1.backward.W_xh: expected shape (2, 3)",
        own(1, "forward", 2, 3) | own(1, "backward", 3, 3),
        {},
    ),
    (
        "layer_2.forward.W_xh: expected an input size",
        own(1, "forward", 2, 3) | own(2, "forward", 4, 3),
        {},
    ),
    ("give `merge`, one of sum, ave, mul", BOTH | own(2, "forward", 3, 3), {}),
    ("layer 1: the file says merge concat, `merge`", BOTH | TOP, {"merge": "sum"}),
    ("the file holds one direction", ONE, {"direction": "bidirectional"}),
    (
        "W_hh: not finite in float32: nan at [0, 1]",
        ONE | {"W_hh": np.array([[1, np.nan, 1]] * 3, np.float32)},
        {},
    ),
    ("about: not JSON text: ", ONE | {"about": np.array("me")}, {}),
]


@pytest.mark.parametrize(("message", "arrays", "options"), NPZ)
def test_bad_npz(
    tmp_path: Path, message: str, arrays: dict[str, Any], options: dict[str, Any]
) -> None:
    np.savez(tmp_path / "w.npz", **arrays)
    assert message in refusal(tmp_path / "w.npz", **options)


SAFETENSORS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("holds no recurrent layer: expected names", {"fc.weight": numbers((1, 3))}, {}),
    ("modules: dec, enc, lm; pick one", torch("enc.") | torch("dec.") | torch("lm.", gates=4), {}),
    (
        "rnn.weight_hr_l0: expected shape (3, 3)",
        torch("rnn.", gates=4) | {"rnn.weight_hr_l0": numbers((1, 3))},
        {},
    ),
    (
        "has no weight_hr_l1, which goes with",
        torch(gates=4) | {"weight_hr_l0": numbers((3, 3))} | torch(I=3, end="_l1", gates=4),
        {},
    ),
    ("weight_hh_l0: expected shape (4 H, P)", torch() | {"weight_hr_l0": numbers((3, 3))}, {}),
    (
        "weight_hh_l0_reverse: expected 2 values",
        {f"weight_ih_l0{end}": numbers((12, 2)) for end in ("", "_reverse")}
        | {"weight_hh_l0": numbers((12, 2)), "weight_hr_l0": numbers((2, 3))}
        | {"weight_hh_l0_reverse": numbers((12, 1)), "weight_hr_l0_reverse": numbers((1, 3))},
        {},
    ),
    (
        "weight_ih_l0: expected shape (12, I), as",
        torch(gates=4) | {"weight_ih_l0": numbers((3, 2))},
        {},
    ),
    ("layer 1: the file says activation tanh", torch(gates=4), {"activation": RELU}),
    ("layer 1: the file says reset after", torch(gates=3), {"reset": "before"}),
    ("has no GRU; leave `reset` out", torch(gates=4), {"reset": "after"}),
    ("clip: expected 1 value or 2", torch() | torch(end="_l0_reverse"), {"clip": [1.0, 2.0, 3.0]}),
    ("has no rnn.weight_hh_l0, which goes with", {"rnn.weight_ih_l0": numbers((3, 2))}, {}),
    ("has no weight_ih_l1, which goes with the", torch() | torch(I=3, end="_l2"), {}),
    ("has no bias_hh_l0, which goes with", torch() | {"bias_ih_l0": numbers((3,))}, {}),
    ("expected one of the two, weight_hh or", torch() | torch(end=""), {}),
    (
        "bias_hh_l0: the sum with bias_ih_l0 is",
        torch() | {f"bias_{side}_l0": np.full(3, 3e38, np.float32) for side in ("ih", "hh")},
        {},
    ),
    (
        "a.weight_hh_l0: not finite in float32",
        torch("a.") | {"a.weight_hh_l0": np.full((3, 3), np.nan, np.float32)},
        {"layer": "a"},
    ),
]


@pytest.mark.parametrize(("message", "tensors", "options"), SAFETENSORS)
def test_bad_safetensors(
    tmp_path: Path, message: str, tensors: dict[str, Any], options: dict[str, Any]
) -> None:
    save_file(tensors, str(tmp_path / "w.safetensors"))
    assert message in refusal(tmp_path / "w.safetensors", **options)


@pytest.mark.parametrize("extension", KINDS)
def test_a_part_of_our_own_file(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"w{extension}"
    saved(path, network(2))
    name = "layer_1.forward" if extension == ".npz" else ""
    assert refusal(path, name).endswith("describes the whole file; leave `layer` out")


ABOUT: list[tuple[str, Callable[[Any], Any]]] = [
    ("expected what rnn writes there, got '[]'", lambda _: []),
    ("of format 2, expected 1", lambda about: about | {"format": 2}),
    (
        "layer 1: backward, the file's tensors",
        lambda about: about | {"layers": [about["layers"][0] | {"direction": "backward"}]},
    ),
    (
        "layer 1: merge: expected one of concat",
        lambda about: about | {"layers": [about["layers"][0] | {"merge": "max"}]},
    ),
    (
        "layer 1: cells: expected a list of 2",
        lambda about: about | {"layers": [about["layers"][0] | {"cells": [{}]}]},
    ),
    ("last: expected one of state, step, got", lambda about: about | {"last": "first"}),
    (
        "layer 1: clip: expected null or a number",
        lambda about: about | {"layers": [_with_cells(about, {"clip": 10**400})]},
    ),
]


def lstm(**settings: Any) -> LSTM:
    shapes = {"W_xh": (2, 12), "W_hh": (2, 12), "b_h": (12,), "w_ch": (9,), "W_hr": (3, 2)}
    return LSTM(Weights(**{name: numbers(shape) for name, shape in shapes.items()}), **settings)


def gru(reset: str) -> GRU:
    shapes = {"W_xh": (2, 9), "W_hh": (3, 9), "b_h": (9,)}
    shapes |= {"b_n": (3,)} if reset == "after" else {}
    weights = Weights(**{name: numbers(shape) for name, shape in shapes.items()})
    return GRU(weights, reset=reset)


GATED: list[tuple[str, Cell, dict[str, Any]]] = [
    ("about: layer 1: cell gru, the file's tensors", lstm(), {"cell": "gru"}),
    ("about: layer 1: peephole: no setting of lstm", lstm(), {"peephole": 1}),
    ("about: layer 1: output_activation: no", gru("after"), {"output_activation": "relu"}),
    ("about: layer 1: reset: expected one of", gru("after"), {"reset": None}),
    ("about: layer 1: reset before, the file's", gru("after"), {"reset": "before"}),
    ("has no w_ch, which rnn wrote into it", lstm(), {"w_ch": None}),
    ("has no b_n, which rnn wrote into it", gru("after"), {"b_n": None}),
    ("has no b_h, which rnn wrote into it", gru("before"), {"b_h": None}),
    ("w_ch: expected shape (9,), as W_hh is (2", lstm(), {"w_ch": numbers((6,))}),
    ("about: layer 1: cell gru, the file's tensors", gru("before"), {"w_ch": numbers((9,))}),
    ("about: arrays: expected a list of names", gru("after"), {"arrays": 3}),
]


Change = Callable[[dict[str, Any], dict[str, Any]], Any]


def change(path: Path, done: Change) -> None:
    """Change metadata and arrays of an .npz file of our own."""
    with np.load(path) as arrays:
        kept: dict[str, Any] = dict(arrays)
    about = json.loads(str(kept.pop("about")))
    done(about, kept)
    np.savez(path, **kept | {"about": np.array(json.dumps(about))})


@pytest.mark.parametrize(("message", "cell", "changes"), GATED)
def test_own_files_that_do_not_fit(
    tmp_path: Path, message: str, cell: Cell, changes: dict[str, Any]
) -> None:
    path = tmp_path / "w.npz"
    saved(path, Network(cell))
    assert load_network(path).assumptions == []

    def done(about: dict[str, Any], arrays: dict[str, Any]) -> None:
        for name, value in changes.items():
            if name not in Weights._fields:
                (about if name == "arrays" else about["layers"][0]["cells"][0])[name] = value
            elif value is None:
                del arrays[name]
            else:
                arrays[name] = value

    change(path, done)
    assert refusal(path).startswith(message)


def normalization(*names: str) -> Normalization:
    center = np.array([1.5, -0.0], np.float32)
    return Normalization(center, center + 1, **dict.fromkeys(names, -center))


HEADS = {
    "a head": Network(weights(2, 3), Dense(numbers((3, 2)), numbers((2,)), "softmax")),
    "a head of any function": Network(
        lstm(), Dense(numbers((2, 4)), activation="leaky_relu:0.25"), Pointwise("softmax", 4)
    ),
    "words": Network(
        Embedding(numbers((5, 2)), mask_zero=True),
        Recurrent(gru("after"), gru("before"), direction="bidirectional", merge="ave"),
        Dense(numbers((3, 1), "float64"), activation="sigmoid"),
    ),
    "statistics": Network(normalization(), weights(2, 3)),
    "a batch's statistics": Network(normalization("shift", "factor"), weights(2, 3)),
    "a row's statistics": Network(
        LayerNormalization(numbers((2,)), numbers((2,)), 1e-05), weights(2, 3)
    ),
    "masking": Network(Masking(-1, 2), weights(2, 3)),
    "the final state alone": Network(weights(2, 3), Dense(numbers((3, 2))), last="state"),
    "between": Network(weights(2, 3), Dense(numbers((3, 2))), Pointwise("relu", 2), weights(2, 4)),
}


@pytest.mark.parametrize("written", HEADS.values(), ids=HEADS)
def test_layers_without_state(tmp_path: Path, written: Network) -> None:
    path = tmp_path / "w.npz"
    saved(path, written)
    loaded = load_network(path)
    assert told(loaded.network) == told(written)
    assert [type(layer) for layer in loaded.network.layers] == [
        type(layer) for layer in written.layers
    ]
    assert loaded.assumptions == []
    with pytest.raises(ValueError, match=r"are for recurrent layers alone; write \.npz"):
        saved(tmp_path / "w.safetensors", written)


BAD_HEADS: list[tuple[str, str, Change]] = [
    (
        "about: layer 2: layer: expected one of dense",
        "a head",
        lambda about, _: about["layers"][1].update(layer="conv"),
    ),
    (
        "about: layer 1: dense, the file's tensors are",
        "a head",
        lambda about, _: about["layers"].reverse(),
    ),
    (
        "about: layer 3: forward, the file's tensors",
        "between",
        lambda about, _: about["layers"].__setitem__(2, {"direction": "forward", "merge": "sum"}),
    ),
    (
        "about: layers: expected 4, as many as in the",
        "between",
        lambda about, _: about["layers"].pop(),
    ),
    (
        "about: layer 2: dense, the file has no W of it",
        "a head",
        lambda about, arrays: (about.pop("arrays"), arrays.pop("layer_2.W")),
    ),
    (
        "layer 2: W: expected 3 rows, as layer 1 gives",
        "a head",
        lambda _, arrays: arrays.update({"layer_2.W": numbers((4, 2))}),
    ),
    (
        "layer 1: scale: expected no 0, got one at 0",
        "statistics",
        lambda _, arrays: arrays.update({"layer_1.scale": np.zeros(2, np.float32)}),
    ),
    (
        "layer 1: epsilon: expected a finite number",
        "a row's statistics",
        lambda about, _: about["layers"][0].update(epsilon=-1),
    ),
    (
        "about: layer 2: activation: expected one of",
        "a head",
        lambda about, _: about["layers"][1].update(activation="glu"),
    ),
    (
        "about: layer 1: activation: expected one of",
        "a head",
        lambda about, _: about["layers"][0]["cells"][0].update(activation="softmax"),
    ),
    (
        "about: layer 1: mask_zero: no setting of",
        "masking",
        lambda about, _: about["layers"][0].update(mask_zero=True),
    ),
    (
        "about: layer 1: value: expected a finite",
        "masking",
        lambda about, _: about["layers"][0].pop("value"),
    ),
    (
        "about: layer 2: dense, the file's tensors are",
        "a head",
        lambda _, arrays: arrays.update({"layer_2.forward.b_h": numbers((3,))}),
    ),
]


@pytest.mark.parametrize(("message", "name", "done"), BAD_HEADS)
def test_layers_without_state_that_do_not_fit(
    tmp_path: Path, message: str, name: str, done: Change
) -> None:
    path = tmp_path / "w.npz"
    saved(path, HEADS[name])
    change(path, done)
    assert refusal(path).startswith(message)


def test_layers_without_state_need_metadata(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    saved(path, HEADS["a head"])
    with np.load(path) as arrays:
        kept: dict[str, Any] = {name: arrays[name] for name in arrays if name != "about"}
    np.savez(path, **kept)
    way_out = "rnncli.save writes layers without state"
    assert refusal(path).endswith(f"got layer_2.W, layer_2.b; {way_out}")


UNNAMED: list[tuple[str, Network]] = [
    (
        "PyTorch has no name for w_ch",
        Network(LSTM(lstm().weights._replace(W_hr=None, W_hh=numbers((3, 12))))),
    ),
    (
        "PyTorch's names are for layers of one kind",
        Network(gru("after"), Weights(numbers((3, 3)), numbers((3, 3)), numbers((3,)))),
    ),
    ("PyTorch's GRU resets after the product, got", Network(gru("before"))),
]


@pytest.mark.parametrize(("message", "written"), UNNAMED)
def test_what_has_no_name(message: str, written: Network) -> None:
    file = io.BytesIO()
    with pytest.raises(ValueError, match=re.escape(message) + r".* write \.npz\Z"):
        save_network(file, written, ".safetensors")
    assert file.getvalue() == b""


def _with_cells(about: Any, changes: dict[str, Any]) -> Any:
    layer = about["layers"][0]
    return layer | {"cells": [cell | changes for cell in layer["cells"]]}


@pytest.mark.parametrize("extension", KINDS)
@pytest.mark.parametrize(("message", "done"), ABOUT)
def test_a_text_that_does_not_fit(
    tmp_path: Path, message: str, done: Callable[[Any], Any], extension: str
) -> None:
    path = tmp_path / f"w{extension}"
    saved(path, network(1, "bidirectional"))
    if extension == ".npz":
        with np.load(path) as arrays:
            changed: dict[str, Any] = dict(arrays)
        text = json.dumps(done(json.loads(str(changed["about"]))))
        np.savez(path, **(changed | {"about": np.array(text)}))
    else:
        with safe_open(str(path), framework="numpy") as file:
            about = json.loads(file.metadata()["rnncli"])
        save_file(load_file(str(path)), str(path), {"rnncli": json.dumps(done(about))})
    assert message in refusal(path)


def test_our_own_file_without_a_bias(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    saved(path, network(1))
    with np.load(path) as arrays:
        kept: dict[str, Any] = {name: arrays[name] for name in arrays if name != "b_h"}
    np.savez(path, **kept)
    assert refusal(path) == "W_xh: has no bias beside it, which rnn writes always"


def test_formats_that_cannot_be_written() -> None:
    with pytest.raises(
        ValueError, match=r"^extension: expected one of \.npz, \.safetensors, \.onnx, got '.pt'"
    ):
        save_network(io.BytesIO(), network(1), ".pt")


@pytest.mark.slow
def test_compressed_weights_of_every_kind(tmp_path: Path) -> None:
    """Zeros and identities pack the most of what networks hold; up to `MOST_BYTES` all pass."""
    H = 1500
    random = np.random.RandomState(0)
    sparse = random.normal(size=(H, H)) * (random.rand(H, H) < 0.01)
    for W_hh in (np.eye(H), np.zeros((H, H)), sparse):
        arrays: dict[str, Any] = {"W_xh": np.ones((1, H), "f"), "W_hh": W_hh.astype("f")}
        np.savez_compressed(tmp_path / "w.npz", **arrays)
        assert W_hh.size * 4 < MOST_BYTES
        (cell,) = cells(load_network(tmp_path / "w.npz").network)
        assert cell.weights.W_hh.tobytes() == arrays["W_hh"].tobytes()
