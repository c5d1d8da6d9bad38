"""Networks written as ONNX models, and read back.

``tests/peers`` runs such models in ONNX Runtime. Here the arrays of a node
stand as ONNX lays them out, and what is read back gives the same numbers, to
the bit.
"""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from numpy.typing import NDArray

import rnncli
from rnncli.model.activations import ACTIVATIONS
from rnncli.model.cells import CELLS, GRU, LSTM, RNN, Cell, Weights, weight_shapes
from rnncli.model.errors import InputError
from rnncli.model.formats import load_network, save_network
from rnncli.model.formats.containers.protobuf import message
from rnncli.model.formats.onnx import files, writing
from rnncli.model.formats.onnx.messages import Graph, Model, read_model
from rnncli.model.layers import (
    DIRECTIONS,
    MERGES,
    Dense,
    Embedding,
    Layer,
    LayerNormalization,
    Masking,
    Normalization,
    Pointwise,
    Recurrent,
)
from rnncli.model.network import LAST, Network

RANDOM = np.random.RandomState(0)
WAYS = [("forward", "concat"), ("backward", "concat")]
WAYS += [("bidirectional", merge) for merge in MERGES]


def drawn(*shape: int) -> NDArray[np.float32]:
    return RANDOM.uniform(-1, 1, shape).astype(np.float32)


def cell(kind: str, I: int, H: int, *extra: str, **settings: Any) -> Cell:
    others = {"b_n": (H,), "w_ch": (3 * H,), "W_hr": (H, H)}
    shapes = weight_shapes(I, H, CELLS[kind].gates) | {name: others[name] for name in extra}
    return CELLS[kind](
        Weights(**{name: drawn(*shape) for name, shape in shapes.items()}), **settings
    )


def stack(kind: str, direction: str, merge: str, *extra: str, **settings: Any) -> list[Layer]:
    """Two layers of 3 inputs."""
    layers: list[Layer] = []
    for I in (3, 8 if merge == "concat" and direction == "bidirectional" else 4):
        cells = [cell(kind, I, 4, *extra, **settings) for _ in DIRECTIONS[direction]]
        layers.append(Recurrent(*cells, direction=direction, merge=merge))
    return layers


def content(network: Network) -> bytes:
    file = io.BytesIO()
    assert save_network(file, network, ".onnx") == []
    return file.getvalue()


def model(network: Network) -> Model:
    def no_other(*_: Any) -> bytes:
        raise AssertionError

    return read_model("w.onnx", memoryview(content(network)), no_other)


def graph(*layers: Layer | Cell) -> Graph:
    return model(Network(*layers)).graph


def arrays(found: Graph) -> dict[str, list[Any]]:
    return {name: tensor.array().tolist() for name, tensor in found.initializers.items()}


def test_the_gates_of_an_lstm() -> None:
    """Here i f g o are 1 2 3 4; ONNX has i o f c, and of the peepholes i o f."""
    gates = np.arange(1, 5, dtype=np.float32)
    weights = Weights(gates[None], 10 * gates[None], 100 * gates, w_ch=gates[:3])
    found = graph(LSTM(weights))
    assert arrays(found) == {
        "layer_1/W": [[[1], [4], [2], [3]]],
        "layer_1/R": [[[10], [40], [20], [30]]],
        "layer_1/B": [[100, 400, 200, 300, 0, 0, 0, 0]],
        "layer_1/P": [[1, 3, 2]],
        "layer_1/axis": [1],
    }
    assert [node.op for node in found.nodes] == ["Transpose", "LSTM", "Squeeze", "Transpose"]
    _, node, *_ = found.nodes
    assert node.name == "layer_1/LSTM"
    inputs = ["layer_1/Transpose", "layer_1/W", "layer_1/R", "layer_1/B", "", "", "", "layer_1/P"]
    assert node.inputs == inputs
    assert node.attributes == {
        "activations": ["Sigmoid", "Tanh", "Tanh"],
        "direction": "forward",
        "hidden_size": 1,
    }


def test_the_gates_of_a_gru() -> None:
    """Here as there z r n; the candidate's recurrent bias stands apart."""
    gates = np.arange(1, 4, dtype=np.float32)
    both = [GRU(Weights(gates[None], 10 * gates[None], 100 * gates, b_n=gates[:1]), clip=0.1)] * 2
    found = graph(Recurrent(*both, direction="bidirectional"))
    assert arrays(found) == {
        "layer_1/W": [[[1], [2], [3]]] * 2,
        "layer_1/R": [[[10], [20], [30]]] * 2,
        "layer_1/B": [[100, 200, 300, 0, 0, 1]] * 2,
        "layer_1/shape": [0, 0, 2],
    }
    assert [node.op for node in found.nodes] == [
        *("Transpose", "GRU", "Transpose", "Reshape", "Transpose")
    ]
    assert found.nodes[1].attributes == {
        "activations": ["Sigmoid", "Tanh"] * 2,
        "clip": 0.1,
        "direction": "bidirectional",
        "hidden_size": 1,
        "linear_before_reset": 1,
    }


def test_alphas_and_betas_of_both_directions() -> None:
    cells = [
        cell("lstm", 3, 4, recurrent_activation="hard_sigmoid:0.3,0.4", activation=activation)
        for activation in ("linear", "elu:0.7")
    ]
    attributes = graph(Recurrent(*cells, direction="bidirectional")).nodes[1].attributes
    assert attributes["activations"] == [
        *("HardSigmoid", "Affine", "Affine", "HardSigmoid", "Elu", "Elu")
    ]
    assert attributes["activation_alpha"] == [0.3, 1, 1, 0.3, 0.7, 0.7]
    assert attributes["activation_beta"] == [0.4, 0, 0, 0.4]


def test_inputs_and_outputs() -> None:
    layers = stack("rnn", "forward", "concat")
    assert model(Network(*layers)).opsets == {"": 17}
    for last, axes in ((None, ("N", "T")), ("state", ("N",)), ("step", ("N",))):
        found = model(Network(*layers, last=last)).graph
        assert found.inputs == {"x": ("N", "T", 3)}
        assert found.outputs == {"h": (*axes, 4)}
        found = model(Network(*layers, Dense(drawn(4, 2)), last=last)).graph
        assert found.outputs == {"y": (*axes, 2)}


def check(tmp_path: Path, network: Network, x: NDArray[np.float32] | None = None) -> None:
    """What is read back gives the same numbers, and is written as such a file again."""
    path = tmp_path / "w.onnx"
    rnncli.save(network, path)
    loaded = load_network(path)
    assert loaded.assumptions == []
    x = drawn(3, 6, network.input_size) if x is None else x
    ours, theirs = rnncli.run(network, x), rnncli.run(loaded.network, x)
    for name in ("h", "h_n", "y", "y_n"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
    again, once_more = io.BytesIO(), io.BytesIO()
    save_network(again, loaded.network, ".onnx")
    path.write_bytes(again.getvalue())
    save_network(once_more, load_network(path).network, ".onnx")
    assert once_more.getvalue() == again.getvalue()


# What a cell may have beside its weights.
SETTINGS: dict[str, list[tuple[Sequence[str], dict[str, Any]]]] = {
    "rnn": [((), {}), ((), {"activation": "relu", "clip": 0.5})],
    "lstm": [
        ((), {}),
        (("w_ch",), {"clip": 0.5, "output_activation": "softsign"}),
        ((), {"recurrent_activation": "hard_sigmoid:0.2,0.5"}),
    ],
    "gru": [((), {"reset": "after"}), (("b_n",), {"clip": 0.1}), ((), {"reset": "before"})],
}
CASES = [(kind, *each) for kind, settings in SETTINGS.items() for each in settings]


@pytest.mark.parametrize(("direction", "merge"), WAYS)
@pytest.mark.parametrize(("kind", "extra", "settings"), CASES)
def test_recurrent_layers_read_back(
    tmp_path: Path,
    kind: str,
    extra: Sequence[str],
    settings: dict[str, Any],
    direction: str,
    merge: str,
) -> None:
    check(tmp_path, Network(*stack(kind, direction, merge, *extra, **settings)))


@pytest.mark.parametrize("last", [None, *LAST])
@pytest.mark.parametrize(("direction", "merge"), WAYS)
def test_what_a_model_gives_reads_back(
    tmp_path: Path, direction: str, merge: str, last: str | None
) -> None:
    layers = stack("gru", direction, merge)
    check(tmp_path, Network(*layers, last=last))
    check(tmp_path, Network(*layers, Dense(drawn(layers[1].output_size, 2)), last=last))


HEADS = [name for name, kind in ACTIVATIONS.items() if None not in kind.defaults]
HEADS += ["affine:0.5,0.1", "scaled_tanh:1.5,0.7", "softmax", "log_softmax"]


@pytest.mark.parametrize("activation", HEADS)
def test_activations_read_back(tmp_path: Path, activation: str) -> None:
    dense = Dense(drawn(4, 5), drawn(5), activation)
    check(tmp_path, Network(*stack("gru", "forward", "concat"), dense))


def test_layers_around_read_back(tmp_path: Path) -> None:
    recurrent, _ = stack("lstm", "bidirectional", "concat")
    below = [Normalization(drawn(3), drawn(3) + 2, drawn(3), drawn(3)), Dense(drawn(3, 3))]
    between = [LayerNormalization(drawn(8), drawn(8), 1e-5), Normalization(drawn(8), drawn(8) + 2)]
    above = [LayerNormalization(drawn(4)), Pointwise("tanh", 4)]
    check(tmp_path, Network(*below, recurrent, *between, cell("rnn", 8, 4), *above))
    x = np.arange(18, dtype=np.float32).reshape(3, 6, 1) % 5
    check(tmp_path, Network(Embedding(drawn(5, 3)), recurrent, Dense(drawn(8, 2))), x)


REFUSED: list[tuple[str, Sequence[Layer | Cell]]] = [
    ("layer 1: ONNX has no LSTM with a projection", [cell("lstm", 3, 4, "W_hr")]),
    (
        "layer 2: ONNX has no activation silu in a cell",
        [cell("gru", 3, 4), cell("gru", 4, 4, activation="silu")],
    ),
    ("layer 1: ONNX has no masked rows", [Masking(0, 3), cell("gru", 3, 4)]),
    (
        "layer 1: ONNX has no masked rows",
        [Embedding(drawn(5, 3), mask_zero=True), cell("gru", 3, 4)],
    ),
    *(
        (
            f"layer 1: ONNX has no node with {what}",
            [Recurrent(cell("gru", 3, 4), cell("gru", 3, 4, **other), direction="bidirectional")],
        )
        for what, other in (
            ("clip inf forward and 0.5 backward", {"clip": 0.5}),
            ("reset after forward and before backward", {"reset": "before"}),
        )
    ),
]


@pytest.mark.parametrize(("what", "layers"), REFUSED)
def test_what_onnx_cannot_express(what: str, layers: Sequence[Layer | Cell]) -> None:
    file = io.BytesIO()
    with pytest.raises(InputError) as caught:
        save_network(file, Network(*layers), ".onnx")
    assert str(caught.value) == f"{what}; write .npz"
    assert not file.getvalue()


def test_weights_that_a_model_has_no_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "LARGEST", 100)
    with pytest.raises(InputError) as caught:
        content(Network(RNN(Weights(drawn(3, 4), drawn(4, 4), drawn(4)))))
    what = "expected under 2 GiB of weights in an .onnx file, got 152 bytes; write .npz"
    assert str(caught.value) == what


def test_float64_becomes_float32(tmp_path: Path) -> None:
    weights = Weights(drawn(3, 4), drawn(4, 4), drawn(4))
    wide = weights.converted(lambda _, array: array.astype(np.float64))
    sentence = "its float64 weights are rounded to float32: ONNX Runtime has no recurrent nodes of"
    with pytest.warns(UserWarning, match=f"{sentence} float64"):
        rnncli.save(Network(RNN(wide)), tmp_path / "w.onnx")
    assert (tmp_path / "w.onnx").read_bytes() == content(Network(RNN(weights)))
    large = Network(RNN(wide._replace(b_h=np.full(4, 1e300))))
    with pytest.raises(ValueError, match=r"layer_1/B: not finite in float32: 1e\+300 at \[0, 0\]"):
        rnncli.save(large, tmp_path / "w.onnx")


@pytest.mark.parametrize(
    ("activation", "what"),
    [
        ("leaky_relu:1e300", r"layer_2/LeakyRelu: alpha: not finite in float32: 1e\+300 at \[\]"),
        ("affine:1e300,0", r"layer_2/1e\+300: not finite in float32: 1e\+300 at \[\]"),
    ],
)
def test_parameters_that_float32_does_not_hold(activation: str, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        content(Network(cell("rnn", 3, 4), Pointwise(activation, 4)))


def test_the_command_writes_and_runs(run_rnn: Rnn, tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    drawing = ("--hidden", "4,4", "--cell", "lstm", "--init", "torch", "--seed", "7")
    result = run_rnn("weights", *drawing, "-o", path)
    assert (result.exit_code, result.output) == (0, "")
    run = ("run", "--seq", "1,2,3", "--format", "csv")
    assert run_rnn(*run, "--weights", path).output == run_rnn(*run, *drawing).output


def beside(monkeypatch: pytest.MonkeyPatch, path: Path, network: Network) -> None:
    """Write a network with its arrays in another file, as exporters do."""
    data = bytearray()

    def tensor(name: str, array: NDArray[Any]) -> bytes:
        if array.dtype != np.float32:
            return inside(name, array)
        where = {"location": "w.data", "offset": str(len(data)), "length": str(array.nbytes)}
        data.extend(array.astype("<f4").tobytes())
        pairs = ((13, message((1, key), (2, text))) for key, text in where.items())
        return message(*((1, size) for size in array.shape), (2, 1), (8, name), *pairs, (14, 1))

    inside = writing._tensor
    monkeypatch.setattr(writing, "_tensor", tensor)
    path.write_bytes(content(network))
    path.with_name("w.data").write_bytes(data)


def test_weights_in_a_file_beside(
    monkeypatch: pytest.MonkeyPatch, run_rnn: Rnn, tmp_path: Path
) -> None:
    """Its digest stands beside that of the model."""
    network = Network(*stack("lstm", "bidirectional", "sum"))
    path = tmp_path / "w.onnx"
    beside(monkeypatch, path, network)
    loaded = load_network(path)
    x = drawn(2, 5, 3)
    assert np.array_equal(rnncli.run(loaded.network, x).h, rnncli.run(network, x).h)
    run = ("run", "--seq", "1 2 3, 4 5 6", "--weights", path)
    source = json.loads(run_rnn(*run, "--json").output)["model"]["source"]
    assert source["sha256"] == loaded.sha256
    assert source["beside"] == {"w.data": loaded.beside["w.data"]}
    assert "w.data" not in run_rnn(*run).output
    before = loaded.beside["w.data"]
    (tmp_path / "w.data").write_bytes(bytes((tmp_path / "w.data").stat().st_size))
    assert load_network(path).sha256 == loaded.sha256
    assert load_network(path).beside["w.data"] != before


def test_a_file_larger_than_protocol_buffers_are(tmp_path: Path) -> None:
    path = tmp_path / "w.onnx"
    with path.open("wb") as file:
        file.write(b"\x08\x08\x12\x00")
        file.truncate(2**31)
    with pytest.raises(InputError) as caught, files.open_model(str(path)):
        pass
    what = "expected an .onnx file of under 2 GiB, got 2,147,483,648 bytes"
    assert str(caught.value) == f"{path}: {what}"


OTHERS = {
    "nothing": (b"", "expected an .onnx file, got an empty file"),
    "text": (b'{"irVersion": "8"}', "expected an .onnx file, got text"),
    "half a model": (b"\x08\x08\x12\x07pyt", "damaged: field 2: takes 7 bytes, there are 3"),
    "another message": (b"\x08\x08\x12\x00", "damaged: holds no graph"),
}


@pytest.mark.parametrize(("data", "what"), OTHERS.values(), ids=OTHERS)
def test_files_that_are_no_models(tmp_path: Path, data: bytes, what: str) -> None:
    path = tmp_path / "w.onnx"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        load_network(path)
    assert str(caught.value) == f"{path}: {what}"
