"""Configs of Keras models: what is run, what is assumed, and why others are refused.

The models of ``data/models`` and ``tests/peers`` have Keras's own numbers.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import hdf5_cases as h5
import numpy as np
import pytest
from keras_configs import (
    LSTM,
    MASKING,
    WHOLE,
    Config,
    archive,
    chain,
    functional,
    layer,
    model,
    node,
    numbers,
    sequential,
    tensor,
)
from model_files import inspect, layers, load, refusal

import rnncli
from rnncli.model.activations import parse

BACKWARD = layer("GRU", **WHOLE, go_backwards=True)
ROWS_OF_TWO: Config = {"filters": 2, "kernel_size": [3]}


def cells(*found: Config) -> Config:
    return layer("RNN", cell=layer("StackedRNNCells", cells=list(found)))


def start(*shape: int | None, **settings: Any) -> Config:
    return layer("InputLayer", batch_shape=[None, *shape], **settings)


# The last of the layers is refused, for such a reason.
REFUSED: list[tuple[str, list[Config]]] = [
    ("activation: expected", [layer("GRU", recurrent_activation="softmax")]),
    ("lora_rank 4", [layer("Dense", lora_rank=4)]),
    ("whole numbers", [start(None, 3, dtype="int32")]),
    ("zero_output_for_mask", [MASKING, layer("LSTM", zero_output_for_mask=True)]),
    ("merge_mode None", [layer("Bidirectional", layer=LSTM, merge_mode=None)]),
    ("go_backwards (True, True)", [layer("Bidirectional", layer=BACKWARD)]),
    ("float() argument", [layer("Masking", mask_value=[])]),
    ("reversed rows", [MASKING, BACKWARD, LSTM]),
    ("masks rows above l0", [LSTM, MASKING]),
    ("Softmax of masked rows", [MASKING, LSTM, layer("Softmax")]),
    ("a row for each step", [layer("LSTM"), layer("Dense"), LSTM]),
    ("max_value", [layer("ReLU", max_value=5.0)]),
    ("arrays that are not known", [layer("GRU", use_bias=False)]),
    ("number of steps", [LSTM, layer("Conv1D", padding="same", strides=[2]), LSTM]),
    ("gaps, in which programs", [LSTM, layer("AveragePooling1D", padding="same", strides=3)]),
    ("activation: expected", [layer("Conv1D", activation="softmax")]),
    ("makes something else", [layer("Conv1D", padding="same", groups=2, **ROWS_OF_TWO)]),
    ("got [120001]", [layer("Conv1D", padding="causal", dilation_rate=[60_000])]),
    ("channels_first", [layer("Conv1D", padding="same", data_format="channels_first")]),
    ("masked or reversed", [MASKING, layer("Conv1D", padding="same")]),
    ("makes one axis of rows and features", [LSTM, layer("Flatten")]),
    ("takes more steps", [layer("ZeroPadding1D"), LSTM]),
    ("expected two whole numbers", [layer("Cropping1D", cropping=[1, -1])]),
    ("got 80,000", [layer("ZeroPadding1D", padding=40_000)]),
    ("needs more values", [*[layer("ZeroPadding1D", padding=20_000)] * 2]),
    ("axis 1 is not", [LSTM, layer("UnitNormalization", axis=1)]),
    ("number of steps", [LSTM, layer("GlobalMaxPooling1D", keepdims=True), LSTM]),
    ("could not be broadcast", [layer("Normalization", mean=[1.0] * 3, variance=[1.0] * 3)]),
    ("frozen", [cells(layer("GRUCell", trainable=False), layer("GRUCell", trainable=True))]),
]


@pytest.mark.parametrize(("why", "found"), REFUSED)
def test_layers_that_cannot_be_run(tmp_path: Path, why: str, found: list[Config]) -> None:
    path = sequential(tmp_path / "m.keras", *found)
    message = refusal(path)
    assert message.startswith(f"l{len(found) - 1}: ")
    assert why in message
    named = [part["name"] for part in inspect(path)["parts"] if part.get("needed")]
    assert named == [f"l{len(found) - 1}"]


def test_layers_that_give_fewer_rows_are_in_front(tmp_path: Path) -> None:
    below = [layer("Conv1D", **ROWS_OF_TWO), layer("BatchNormalization"), layer("MaxPooling1D")]
    network = load(sequential(tmp_path / "m.keras", *below, layer("Dropout"), LSTM))[0]
    pools = "whole sequences: MaxPool"
    assert [*map(str, network.front)] == ["whole sequences: Conv", "Normalization 2", pools]
    assert layers(network) == "LSTM 2"
    assert "fewer rows than it takes" in refusal(tmp_path / "m.keras", layer="l0")
    x = np.random.RandomState(0).normal(size=(9, 2))
    h = rnncli.run(network, x).h
    for expected, verdict in ((h, "equal"), (h + 0.01, "different")):
        assert rnncli.verify(network, x, expected)["verdict"] == verdict
    blocks = [rnncli.Rows(x, np.repeat([0, 1], (8, 1)))]
    with pytest.raises(
        rnncli.InputError, match=r"^b c: l0: cannot be computed for a sequence of 1 steps"
    ):
        list(rnncli.stream(network, blocks, keys=[("a",), ("b", "c")]))


def test_poolings_may_leave_one_of_few_steps(tmp_path: Path) -> None:
    pooling = [layer("MaxPooling1D"), layer("BatchNormalization")]
    network = load(sequential(tmp_path / "m.keras", *pooling, *pooling, LSTM))[0]
    assert layers(network) == "Normalization 2, LSTM 2"
    assert len(network.front) == 3
    assert rnncli.run(network, np.ones((19, 2))).h.shape == (4, 2)


def test_a_model_gives_as_many_steps_as_it_takes(tmp_path: Path) -> None:
    path = sequential(tmp_path / "m.keras", LSTM, layer("Conv1D", padding="valid"))
    assert refusal(path).startswith("l1: gives another number of steps than the input has")
    fixed = sequential(path, start(12, 2), LSTM, layer("AveragePooling1D"))
    assert refusal(fixed).startswith("l2: gives another number of steps than the input has")
    pooled = sequential(path, LSTM, layer("Conv1D"), layer("GlobalMaxPooling1D"))
    assert layers(load(pooled)[0]) == "LSTM 2, whole sequences: Conv ReduceMax"


def test_a_mask_ends_at_some_layers_of_keras_2(tmp_path: Path) -> None:
    found = [start(None, 2), MASKING, layer("Normalization")]
    assert "the mask of l1 ends here" in refusal(
        sequential(tmp_path / "m.h5", *found, version="2.15.0")
    )
    path = sequential(tmp_path / "m.keras", *found, LSTM)
    assert layers(load(path)[0]) == "Masking 2, Normalization 2, LSTM 2"


def both(name: str, kind: str, *sources: str, **settings: Any) -> Config:
    call = {"args": [[tensor(each) for each in sources]], "kwargs": {}}
    return {**node(name, kind, settings=settings), "inbound_nodes": [call]}


BOTH_TENSORS = {"args": [[tensor("a"), tensor("b")]], "kwargs": {}}
BOTH_CALLED = {"inbound_nodes": [BOTH_TENSORS]}
# Layers of a functional model, settings of the model, and why it is no chain.
NO_CHAINS: list[tuple[str, list[Config], Config]] = [
    ("output_layers: expected", [], {"output_layers": [["a", 0, 1]]}),
    ("c: takes a row", [node("b", "GRU", "x"), {**node("c", "LSTM"), **BOTH_CALLED}], {}),
    (
        "b: is called in a way",
        [{**node("b", "LSTM", "x"), "inbound_nodes": [[["x", 0, 0]], [7]]}],
        {},
    ),
    ("b: takes c, and not outputs", [node("b", "GRU", "c"), node("c", "GRU", "b")], {}),
    ("z: takes nothing", [node("z", "InputLayer"), both("b", "Add", "a", "z")], {}),
]


@pytest.mark.parametrize(("why", "found", "settings"), NO_CHAINS)
def test_layers_that_are_no_chain_are_picked_one_by_one(
    tmp_path: Path, why: str, found: list[Config], settings: Config
) -> None:
    path = functional(tmp_path / "m.keras", node("a", "LSTM", "x"), *found, **settings)
    assert why in refusal(path)
    assert layers(load(path, layer="a")[0]) == "LSTM 2"


UPPER = node("a", "LSTM", "x", settings=WHOLE)


def test_layers_meet_in_branches(tmp_path: Path) -> None:
    tops = both("c", "Maximum", "a", "b", "x"), both("d", "Subtract", "x", "c")
    path = functional(tmp_path / "m.keras", UPPER, node("b", "Dense", "a"), *tops)
    assert layers(load(path)[0]) == "LSTM 2, Dense 2, rows: Max, rows: Sub"


# Gives (N, 1, 2).
POOL = node("a", "GlobalMaxPooling1D", "x", settings={"keepdims": True})
# Layers of which c cannot be run, and why.
NO_BRANCHES: list[tuple[str, list[Config]]] = [
    ("different steps", [node("a", "LSTM", "x"), both("c", "Add", "x", "a")]),
    (
        "different steps",
        [{**BACKWARD, **UPPER, "config": BACKWARD["config"]}, both("c", "Add", "x", "a")],
    ),
    ("[2, 4] values", [both("a", "Concatenate", "x", "x"), both("c", "Add", "x", "a")]),
    ("masked", [{**node("a", "Masking", "x")}, both("c", "Add", "a", "a")]),
    ("called with 2.0", [node("c", "Add", 2.0, "x")]),
    (
        "something else than initial states",
        [UPPER, node("b", "LSTM", "a", initial_state=tensor("x"))],
    ),
    ("mask y", [UPPER, node("b", "LSTM", "a", mask=tensor("y"))]),
    (
        "without the mask of a",
        [
            *(node("a", "Masking", "x"), node("b", "GRU", "a"), node("d", "LSTM", "x")),
            both("c", "Add", "b", "d"),
        ],
    ),
    ("axis 1 is not", [POOL, both("c", "Concatenate", "a", "a", axis=1)]),
    ("different steps", [POOL, node("b", "LSTM", "x"), both("c", "Multiply", "a", "b")]),
]


@pytest.mark.parametrize(("why", "found"), NO_BRANCHES)
def test_branches_that_are_refused(tmp_path: Path, why: str, found: list[Config]) -> None:
    assert why in refusal(functional(tmp_path / "m.keras", *found))


TWO_ENDS = (node("a", "LSTM", "x", settings=WHOLE), node("b", "Dense", "a"), node("c", "GRU", "a"))
PICK = "(`output_name` NAME picks one)"
# Outputs of a model, the layers of its network, and what else it gives.
ENDS: list[tuple[Any, str, str]] = [
    (["b", 0, 0], "LSTM 2, Dense 2", ""),
    ([["a", 0, 0]], "LSTM 2", ""),
    ([["b", 0, 0], ["c", 0, 0]], "LSTM 2, Dense 2", f"gives b, and passes over c {PICK}"),
    ([["a", 0, 0], ["b", 0, 0], ["c", 0, 0]], "LSTM 2", f"gives a, and passes over b, c {PICK}"),
    ({"z": ["b", 0, 0], "y": ["c", 0, 0]}, "LSTM 2, GRU 2", f"gives c, and passes over b {PICK}"),
    ([["a", 0, 1], ["a", 0, 0]], "LSTM 2", f"gives a, and passes over states of a {PICK}"),
]


@pytest.mark.parametrize(("ends", "expected", "note"), ENDS)
def test_a_model_gives_the_first_of_its_outputs(
    tmp_path: Path, ends: Any, expected: str, note: str
) -> None:
    path = functional(tmp_path / "m.keras", *TWO_ENDS, output_layers=ends)
    network, notes = load(path)
    assert layers(network) == expected
    assert notes == [note] * bool(note)
    assert layers(load(path, layer="c")[0]) == "GRU 2"


def test_a_model_gives_the_output_that_is_asked_for(tmp_path: Path) -> None:
    ends = [["b", 0, 0], ["c", 0, 0], ["a", 0, 1]]
    path = functional(tmp_path / "m.keras", *TWO_ENDS, output_layers=ends)
    for name, expected in {"b": "LSTM 2, Dense 2", "c": "LSTM 2, GRU 2"}.items():
        network, notes = load(path, output_name=name)
        assert (layers(network), notes) == (expected, [])
    assert refusal(path, output_name="a") == "has no output a; it has b, c"
    assert inspect(path)["outputs"] == ["b", "c"]
    (run,) = inspect(path, "--output-name", "c")["runs"]
    assert run["command"] == f"rnn run FILE.csv --weights {quote(str(path))} --output-name c"


def test_a_layer_that_no_output_needs_changes_nothing(tmp_path: Path) -> None:
    """The rows of the convolution are a layer of another output alone."""
    conv = node("a", "Conv1D", "x", settings={**ROWS_OF_TWO, "strides": [2]})
    found = (conv, node("b", "GlobalMaxPooling1D", "a"), node("c", "LSTM", "a"))
    ends = [["b", 0, 0], ["c", 0, 0]]
    network = load(functional(tmp_path / "m.keras", *found, output_layers=ends))[0]
    assert layers(network) == "whole sequences: Conv ReduceMax"
    assert not network.front
    masked = (node("a", "Masking", "x"), node("b", "GRU", "a"), node("c", "LSTM", "x"))
    ends = [["c", 0, 0], ["b", 0, 0]]
    network = load(functional(tmp_path / "m.keras", *masked, output_layers=ends))[0]
    assert layers(network) == "LSTM 2"


def test_a_model_in_a_model_gives_its_first_output(tmp_path: Path) -> None:
    for ends, why in (([["b", 0, 0], ["c", 0, 0]], ""), ([["a", 0, 1], ["a", 0, 0]], "of a layer")):
        start = node("x", "InputLayer", settings={"batch_shape": [None, None, 2]})
        names = {"a": "x", "b": "a", "c": "a"}
        found = [node(name, "Activation", below) for name, below in names.items()]
        inner = {"layers": [start, *found], "input_layers": ["x", 0, 0], "output_layers": ends}
        lower = node("m", "Functional", "x", settings={"name": "m", **inner})
        path = functional(tmp_path / "m.keras", lower, node("d", "Dense", "m"))
        if why:
            assert why in refusal(path)
        else:
            assert layers(load(path)[0]) == "Pointwise 2, Pointwise 2, Dense 2"


UNSHAPED: list[tuple[list[Config], str]] = [
    ([MASKING, layer("Dropout"), LSTM], "Masking 2, LSTM 2"),
    ([layer("Activation", activation="tanh"), LSTM], "Pointwise 2, LSTM 2"),
    ([layer("BatchNormalization"), LSTM], "Normalization 2, LSTM 2"),
    ([layer("MaxPooling1D"), layer("Conv1D"), LSTM], "LSTM 2"),
    ([layer("Normalization", mean=1.0, variance=2.0), LSTM], "Normalization 2, LSTM 2"),
    (
        [MASKING, layer("Bidirectional", layer=LSTM, merge_mode="sum")],
        "Masking 2, LSTM 2 bidirectional",
    ),
]


@pytest.mark.parametrize(("found", "expected"), UNSHAPED)
def test_the_weights_tell_the_features_of_a_model_without_a_shape(
    tmp_path: Path, found: list[Config], expected: str
) -> None:
    config = chain(found)
    del config["config"]["layers"][0]["config"]["batch_input_shape"]
    network = load(model(tmp_path / "m.keras", config))[0]
    assert layers(network) == expected
    assert network.input_size == 2


def test_constants_normalize_as_statistics_do(tmp_path: Path) -> None:
    settings = {"mean": [0.1, 0.2], "variance": [4.0, 0.0], "axis": [-1], "invert": False}
    path = sequential(tmp_path / "m.keras", layer("Normalization", **settings), LSTM)
    (below, *_) = load(path)[0].layers
    assert below.arrays["center"].tolist() == np.array([0.1, 0.2], "f").tolist()
    assert below.arrays["scale"].tolist() == [2, 1e-7]


def test_padding_and_cropping_are_counted_with_the_layers_above(tmp_path: Path) -> None:
    pad, crop = layer("ZeroPadding1D", padding=[2, 0]), layer("Cropping1D", cropping=[0, 2])
    conv, path = layer("Conv1D", padding="valid"), tmp_path / "m.keras"
    same = load(sequential(path, LSTM, pad, conv, LSTM))[0]
    assert layers(same) == "LSTM 2, whole sequences: Pad Conv, LSTM 2"
    fewer = load(sequential(path, crop, pad, crop, LSTM))[0]
    assert [*map(str, fewer.front)] == ["whole sequences: Pad"]
    x = np.random.RandomState(0).normal(size=(9, 2)).astype("f")
    rows = np.vstack([np.zeros((2, 2), "f"), x[:7]])[:7]
    right = rnncli.run(rnncli.Network(*fewer.layers), rows)
    np.testing.assert_array_equal(rnncli.run(fewer, x).h_n, right.h_n)


def test_rows_that_are_left_out_are_not_masked(tmp_path: Path) -> None:
    """The mask is that of the rows above the cropping, which gives fewer."""
    found = layer("Cropping1D", cropping=[1, 0]), MASKING, LSTM
    network = load(sequential(tmp_path / "m.keras", *found))[0]
    assert [*map(str, network.front)] == ["whole sequences: Slice"]
    assert layers(network) == "Masking 2, LSTM 2"


def test_a_merge_of_one_value_is_the_bottom_layer(tmp_path: Path) -> None:
    network = load(functional(tmp_path / "m.keras", both("a", "Add", "x", "x", "x")))[0]
    x = np.random.RandomState(0).normal(size=(1, 5, 2)).astype("f")
    np.testing.assert_allclose(rnncli.run(network, x).h, 3 * x, rtol=1e-6)


@pytest.mark.parametrize("kind", ["Add", "Multiply", "Average", "Maximum"])
def test_three_layers_are_merged(tmp_path: Path, kind: str) -> None:
    found = [node("a", "Dense", "x"), node("b", "Dense", "x"), both("c", kind, "x", "a", "b")]
    network = load(functional(tmp_path / "m.keras", *found))[0]
    x = np.random.RandomState(0).normal(size=(1, 5, 2)).astype("f")
    a, b = (layer(x) for layer in network.layers if isinstance(layer, rnncli.Dense))
    merges = {"Add": x + a + b, "Multiply": x * a * b, "Average": (x + a + b) / 3}
    right = merges.get(kind, np.maximum(np.maximum(x, a), b))
    np.testing.assert_allclose(rnncli.run(network, x).h, right, rtol=1e-6)


def test_a_row_is_divided_by_its_length(tmp_path: Path) -> None:
    for version, least in (("3.15.1", 1e-12), ("2.15.0", 1e-6)):
        found = layer("Rescaling"), layer("UnitNormalization")
        network = load(sequential(tmp_path / "m.keras", *found, version=version))[0]
        x = np.array([[3, 4], [0, 0], [0, -1e-9]], "f")
        right = x / np.maximum(np.sqrt((x * x).sum(1, keepdims=True)), least)
        np.testing.assert_allclose(rnncli.run(network, x).h, right, rtol=1e-6)


def test_a_model_of_a_class_of_its_own_may_do_anything(tmp_path: Path) -> None:
    config = {"class_name": "Mine", "config": {"layers": [LSTM], "name": "m"}}
    assert "Mine is a class" in refusal(model(tmp_path / "m.keras", config))


def test_calls_of_keras_2(tmp_path: Path) -> None:
    found: list[Config] = [
        {"class_name": "InputLayer", "name": "x", "config": {}, "inbound_nodes": []},
        {"class_name": "LSTM", "name": "a", "config": WHOLE, "inbound_nodes": [[["x", 0, 0, {}]]]},
        {"class_name": "GRU", "name": "b", "config": {}, "inbound_nodes": [["a", 0, 0]]},
    ]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["b", 0, 0]]}
    config = {"class_name": "Model", "config": {"layers": found, **ends}}
    path = model(tmp_path / "m.keras", config, "2.2.4")
    assert layers(load(path)[0]) == "LSTM 2, GRU 2"
    found[1]["inbound_nodes"] = [[["x", 0, 0, {"mask": None}]]]
    assert "a: is called with mask" in refusal(model(path, config, "2.2.4"))


def masked(path: Path, kind: str, value: Any, *ends: Config, **settings: Any) -> Path:
    """Write a model of Keras 3 that writes a mask out."""
    below = [node("m", kind, "x", settings=settings), node("n", "NotEqual", "x", value)]
    return functional(path, *below, *ends, shape=(None, 2) if kind == "Masking" else (None,))


@pytest.mark.parametrize("training", [None, False])
def test_masks_that_are_written_out_are_folded_back(tmp_path: Path, training: bool | None) -> None:
    path = tmp_path / "m.keras"
    above = node("b", "GRU", "m", mask=tensor("o"), training=training)
    masked(path, "Masking", 2.0, node("o", "Any", "n"), above, mask_value=2.0)
    assert layers(load(path)[0]) == "Masking 2, GRU 2"
    masked(path, "Embedding", 0, node("b", "GRU", "m", mask=tensor("n")), mask_zero=True)
    assert layers(load(path)[0]) == "Embedding 2, GRU 2"


def test_other_masks_are_refused(tmp_path: Path) -> None:
    path, above = tmp_path / "m.keras", node("b", "GRU", "m", mask=tensor("o"))
    any_, below = node("o", "Any", "n"), node("a", "LSTM", "m", mask=tensor("o"))
    masked(path, "Masking", 1.0, any_, above, mask_value=2.0)
    assert refusal(path).startswith("b: takes the mask o")
    of_another = node("n", "NotEqual", "m", 2.0)
    functional(
        path, node("m", "Masking", "x", settings={"mask_value": 2.0}), of_another, any_, above
    )
    assert refusal(path).startswith("b: takes the mask o")
    unmasked = node("b", "GRU", "a", mask=tensor("o"))
    masked(path, "Masking", 2.0, any_, below, unmasked, mask_value=2.0)
    assert refusal(path).startswith("b: takes the mask m")


def nested(depth: int) -> Config:
    return layer("Sequential", layers=[nested(depth - 1)]) if depth else LSTM


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ([nested(200)], "too deep"),
        ([layer("LSTM", name=str(n)) for n in range(2001)], "over 2,000 layers"),
        ([3], "no list of layers"),
        ([layer("LSTM", name="a")] * 2, "layers have one name"),
    ],
    ids=["deep", "many", "numbers", "one name"],
)
def test_damaged_lists_of_layers(tmp_path: Path, found: Any, why: str) -> None:
    path, config = tmp_path / "m.keras", {"class_name": "Sequential", "config": {"layers": found}}
    path.write_bytes(archive(config, "3.15.1", {}, {}))
    assert why in refusal(path)


@pytest.mark.parametrize(
    ("found", "turned"),
    [([BACKWARD, layer("Dense")], True), ([BACKWARD, BACKWARD], False), ([BACKWARD], True)],
)
def test_reversed_rows_are_noted(tmp_path: Path, found: list[Config], turned: bool) -> None:
    _, notes = load(sequential(tmp_path / "m.keras", *found))
    assert ["from the last step to the first" in note for note in notes] == [True] * turned


SIXTH = f"hard_sigmoid:{1 / 6!r},0.5"
VERSIONS = [("3.0.0", SIXTH, "after"), ("2.21.0", "hard_sigmoid:0.2,0.5", "before")]


@pytest.mark.parametrize(("version", "hard", "reset"), VERSIONS)
def test_the_version_tells_defaults(tmp_path: Path, version: str, hard: str, reset: str) -> None:
    gru = layer("GRU", activation="hard_sigmoid")
    network, _ = load(sequential(tmp_path / "m.keras", gru, version=version))
    (cell,) = network.layers[0].cells
    assert cell.settings["activation"] == parse(hard)
    assert cell.settings["recurrent_activation"] == parse("sigmoid")
    assert cell.settings["reset"] == reset


FUNCTIONS: list[tuple[str, Config, str]] = [
    ("Activation", {"activation": "leaky_relu"}, "leaky_relu:0.2"),
    ("LeakyReLU", {}, "leaky_relu:0.3"),
    ("ReLU", {"negative_slope": "0.5", "threshold": "0.0"}, "leaky_relu:0.5"),
    ("ReLU", {"max_value": 6.0}, "relu6"),
    ("ThresholdedReLU", {}, "thresholded_relu:1.0"),
    ("Rescaling", {"scale": 0.5}, "affine:0.5,0.0"),
]


def test_normalizations_have_their_epsilon(tmp_path: Path) -> None:
    kinds = [layer(k, epsilon=0.5) for k in ("LayerNormalization", "BatchNormalization")]
    row, batch = load(sequential(tmp_path / "m.keras", LSTM, *kinds))[0].layers[1:]
    assert row.settings["epsilon"] == 0.5
    assert batch.arrays["scale"].tolist() == np.sqrt((numbers(2) + 8).astype(float) + 0.5).tolist()
    shapes = {f"layers/normalization/vars/{k}": (2,) for k in range(2)}  # a variance is 0
    path = stored(tmp_path / "m.keras", shapes, [layer("Normalization")])
    assert load(path)[0].layers[0].arrays["scale"] == pytest.approx([1e-7, 0.1])


@pytest.mark.parametrize(("kind", "settings", "function"), FUNCTIONS)
def test_layers_that_are_functions(
    tmp_path: Path, kind: str, settings: Config, function: str
) -> None:
    network, _ = load(sequential(tmp_path / "m.keras", LSTM, layer(kind, **settings)))
    assert network.layers[1].settings["activation"] == parse(function)


def test_a_layer_above_reversed_rows_is_not_picked(tmp_path: Path) -> None:
    path = sequential(tmp_path / "m.keras", BACKWARD, layer("LSTM", **WHOLE), BACKWARD)
    directions = [each.settings["direction"] for each in load(path)[0].layers]
    assert directions == ["backward", "backward", "forward"]
    assert "not run alone" in refusal(path, layer="l1")


# Arrays by number, and as older files list them.

GRU = {"kernel": (3, 6), "recurrent_kernel": (2, 6), "bias": (2, 6)}
NUMBERED = {f"layers/gru/cell/vars/{k}": shape for k, shape in enumerate(GRU.values())}
CUDNN = {f"layers/cu_dnngru/vars/{k}": shape for k, shape in enumerate([(3, 6), (2, 6), (12,)])}
LISTED = [f"gru/{name}:0" for name in GRU]


def stored(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    found: list[Config] | None = None,
    version: str = "3.15.1",
    **attributes: Any,
) -> Path:
    """Write arrays of such shapes, under a config or without one."""
    arrays = {name: numbers(*shape) for name, shape in shapes.items()}
    texts = {key.removeprefix("root"): value for key, value in attributes.items()}
    path.write_bytes(archive(chain(found) if found else None, version, arrays, texts))
    return path


def listing(*names: str, root: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    """Return shapes and attributes of a file that lists the arrays of GRU layers."""
    stem = f"{root}/" if root else ""
    shapes = {
        f"{stem}{layer}/{name}": shape
        for layer in names
        for name, shape in zip(LISTED, GRU.values(), strict=True)
    }
    groups = {f"{stem}{layer}": {"weight_names": LISTED} for layer in names}
    return shapes, {root or "root": {"layer_names": list(names)}, **groups}


def test_arrays_by_number(tmp_path: Path) -> None:
    path = stored(tmp_path / "m.keras", NUMBERED, [layer("GRU", units=2)], version="")
    network, _ = load(path)
    (cell,) = network.layers[0].cells
    assert cell.weights.W_xh.tobytes() == numbers(3, 6).tobytes()
    assert cell.settings["activation"] == parse("tanh")
    message = refusal(stored(path, NUMBERED, [layer("GRU", use_bias=False)]))
    assert "layers/gru/cell/vars/2" in message
    columns = stored(path, {"layers/dense/vars/0": (3, 2)}, [layer("Dense", units=4)])
    assert "expected 2 arrays, got layers/dense/vars/0" in refusal(columns)


def test_frozen_weights_that_are_listed_last_are_refused(tmp_path: Path) -> None:
    """Keras lists arrays that are trained before those that are not."""
    names = [f"b/{way}_gru/{name}" for way in ("backward", "forward") for name in GRU]
    shapes = {f"l0/{name}": shape for name, shape in zip(names, [*GRU.values()] * 2, strict=True)}
    attributes: dict[str, Any] = {"root": {"layer_names": ["l0"]}, "l0": {"weight_names": names}}
    both = layer("Bidirectional", layer=layer("GRU"))
    assert "frozen" in refusal(stored(tmp_path / "m.keras", shapes, [both], **attributes))


# Arrays without a config.

DENSE = {"layers/dense/vars/0": (2, 1), "layers/dense/vars/1": (1,)}
MINE = {"layers/mine/vars/0": (3, 4), "layers/mine/vars/1": (4, 2)}
ABOVE = {f"layers/gru_{n}/cell/vars/{k}": (2, 6) for n in (2, 10) for k in range(2)}
ANOTHER = {"layers/lstm/cell/vars/0": (2, 8), "layers/lstm/cell/vars/1": (2, 8)}
STACKED = {f"layers/rnn/cell/cells/gru_cell/vars/{k}": (2, 6) for k in range(2)}
SEEDS = {"layers/gru/cell/seed_generator/vars/0": (2,)}


def test_arrays_without_a_config(tmp_path: Path) -> None:
    """They are known by names and shapes, and several layers are taken for a chain."""
    path = stored(tmp_path / "m.keras", NUMBERED | DENSE | MINE | SEEDS, version="")
    network, notes = load(path, layer="layers/gru")
    assert layers(network) == "GRU 2"
    assert network.layers[0].cells[0].settings["reset"] == "after"
    assert "holds weights alone" in notes[0]
    assert "layers/dense, layers/mine: names do not tell how layers/gru is joined" in refusal(path)
    path = stored(tmp_path / "m.keras", NUMBERED | {"layers/gru/cell/vars/1": (0, 6)}, version="")
    assert "layers/gru/cell/vars/1: expected shape (6, 6) or (2, 6), as W_xh is" in refusal(path)


def test_directions_of_unlike_sizes_are_refused_by_the_name_of_an_array(tmp_path: Path) -> None:
    stems = [f"layers/bidirectional/{way}_layer/cell/vars" for way in ("forward", "backward")]
    pairs = zip(stems, (2, 4), strict=True)
    shapes = {f"{stem}/{k}": (n, 6) for stem, n in pairs for k, n in enumerate((n, 2, 2))}
    both = layer("Bidirectional", layer=layer("GRU"), merge_mode="concat")
    path = stored(tmp_path / "m.keras", shapes, [both])
    message = f"{stems[1]}/0: expected shape (2, 6) backward too, got (4, 6)"
    assert message in refusal(path)
    assert message in refusal(stored(path, shapes, version=""))
    assert layers(load(stored(path, {**NUMBERED, **SEEDS}, version=""))[0]) == "GRU 2"
    network, notes = load(stored(path, NUMBERED | ABOVE, version=""))
    assert layers(network) == "GRU 2, GRU 2, GRU 2"
    assert "takes layers/gru, layers/gru_2, layers/gru_10: names" in notes[1]
    assert "several recurrent modules: layers/gru, layers/lstm" in refusal(
        stored(path, NUMBERED | ANOTHER, version="")
    )
    (stacked,) = inspect(stored(path, STACKED, version=""))["parts"]
    assert stacked["name"] == "layers/rnn/cell/cells/gru_cell"
    (gru,) = load(stored(path, CUDNN, version="2.2.4"))[0].layers
    assert gru.cells[0].settings["recurrent_activation"] == parse("sigmoid")


@pytest.mark.parametrize(
    ("version", "gates"), [("2.2.4", "hard_sigmoid:0.2,0.5"), ("2.3.0", "sig")]
)
def test_old_weights_have_gates_of_their_time(tmp_path: Path, version: str, gates: str) -> None:
    shapes, attributes = listing("gru")
    _, notes = load(stored(tmp_path / "m.h5", shapes, version=version, **attributes))
    assert any(
        note.startswith(f"does not name the activation of the gates: {gates}") for note in notes
    )


def test_directions_stand_where_they_are_listed(tmp_path: Path) -> None:
    cells = {"b": ["b/forward_lstm", "b/backward_lstm"], "a": ["a"], "c": ["c/lstm_cell"]}
    shapes: dict[str, tuple[int, ...]] = {}
    attributes: dict[str, Any] = {"root": {"layer_names": [*cells]}}
    for name, found in cells.items():
        names = [f"{cell}/{role}" for cell in found for role in ("kernel", "recurrent_kernel")]
        attributes[name] = {"weight_names": names}
        shapes |= {f"{name}/{each}": (2, 8) for each in names}
    parts = inspect(stored(tmp_path / "m.h5", shapes, **attributes))["parts"]
    assert {part["name"]: len(part["tensors"]) for part in parts} == {"b": 4, "a": 2, "c": 2}
    assert [part["name"] for part in parts] == ["b", "a", "c"]


# Archives and HDF5 files whatever is in them.


def nested_brackets() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("config.json", "[" * 100_000)
    return file.getvalue()


def text_in_heap(size: int) -> bytes:
    """Return an HDF5 file with a long config, which lies in a heap."""
    text = h5.attribute(h5.TEXT, h5.space(), h5.in_heap((size, 1, 1)), b"model_config")
    return h5.made(h5.header((12, text)), h5.heap(32 + size, b" " * size))


UNREAD: dict[str, tuple[bytes, str]] = {
    "brackets": (nested_brackets(), "config.json: damaged"),
    "a long config": (text_in_heap(2**21 + 1), "model_config: expected at most 2,097,152"),
    "a list": (h5.file_of({}, {"": {"model_config": "[1]"}}), "expected a JSON object"),
    "training": (h5.file_of({f"optimizer/vars/{k}": numbers(2, 8) for k in (0, 1)}), "no recurr"),
}


@pytest.mark.parametrize("extension", [".keras", ".h5"])
@pytest.mark.parametrize(("data", "why"), UNREAD.values(), ids=UNREAD)
def test_files_that_are_not_read(tmp_path: Path, data: bytes, why: str, extension: str) -> None:
    path = tmp_path / f"m{extension}"
    path.write_bytes(data)
    assert why in refusal(path)
