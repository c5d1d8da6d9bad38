"""What the configs of Keras models mean: which layers are run, and why others are not.

Values are held against Keras itself in ``tests/peers/test_keras_files.py`` and
in the models that are kept. Here the configs are written by hand, for models
whose arrays are not looked at.
"""

from typing import Any

import numpy as np
import pytest
from keras_configs import LSTM, MASKING, WHOLE, Config, layer, refusal, sequential, stored

from rnncli.model.activations import parse
from rnncli.model.errors import InputError
from rnncli.model.formats.keras import config
from rnncli.model.formats.keras.places import Stored
from rnncli.model.formats.parts import NOTHING, Model

BACKWARD = {"class_name": "GRU", "config": {**WHOLE, "go_backwards": True}}


def node(name: str, kind: str, *sources: str, settings: Config = {}, **given: Any) -> Config:  # noqa: B006 - not changed
    """A layer of a functional model of Keras 3."""
    tensors = [tensor(source) for source in sources]
    call = {"args": [tensors[0] if len(tensors) == 1 else tensors], "kwargs": given}
    inbound = [call] if sources else []
    return {"class_name": kind, "name": name, "config": settings, "inbound_nodes": inbound}


def tensor(name: str, number: int = 0) -> Config:
    history = {"keras_history": [name, 0, number]}
    return {"class_name": "__keras_tensor__", "config": history}


def functional(*layers: Config, **settings: Any) -> Stored:
    ends = {"input_layers": ["x", 0, 0], "output_layers": [layers[-1]["name"], 0, 0]}
    inner = {"name": "m", "layers": [node("x", "InputLayer"), *layers], **ends, **settings}
    return stored({"class_name": "Functional", "config": inner})


REFUSED: list[tuple[str, list[Config]]] = [
    ("Conv1D is not run here", [layer("Conv1D")]),
    (
        "my>LSTM is a class of the model's own",
        [{**LSTM, "module": None, "registered_name": "my>LSTM"}],
    ),
    (
        "activation my>half is not run here",
        [layer("GRU", activation={"class_name": "function", "config": "my>half"})],
    ),
    (
        "recurrent_activation softmax is not run in cells",
        [layer("GRU", recurrent_activation="softmax")],
    ),
    ("PReLU is not run here", [layer("Dense", activation=layer("PReLU"))]),
    (
        "dtype QuantizedDTypePolicy is not run here",
        [layer("Dense", dtype={"class_name": "QuantizedDTypePolicy", "config": {"name": "int8"}})],
    ),
    ("lora_rank 4 is a setting that is not known here", [layer("Dense", lora_rank=4)]),
    ("use_bias: expected true or false", [layer("LSTM", use_bias="yes")]),
    (
        "dtype int32 cuts what it takes to whole numbers",
        [layer("InputLayer", batch_shape=[None, None, 3], dtype="int32")],
    ),
    (
        "mask_value -9999.0 is no number of float16, so",
        [layer("Masking", mask_value=-9999.0, dtype="mixed_float16")],
    ),
    ("time_major true is not run here", [layer("LSTM", time_major=True)]),
    (
        "zero_output_for_mask, with l0 below, is not run",
        [MASKING, layer("LSTM", zero_output_for_mask=True)],
    ),
    ("merge_mode none is not run here", [layer("Bidirectional", layer=LSTM, merge_mode=None)]),
    ("go_backwards true in it is not run here", [layer("Bidirectional", layer=BACKWARD)]),
    (
        "go_backwards false in it is not run here",
        [layer("Bidirectional", layer=LSTM, backward_layer=LSTM)],
    ),
    ("cells: expected layers, got []", [layer("RNN", cell=layer("StackedRNNCells", cells=[]))]),
    (
        "two directions over reversed rows (go_backwards",
        [BACKWARD, layer("Bidirectional", layer=LSTM)],
    ),
    ("reversed rows (go_backwards below) with the mask", [MASKING, BACKWARD, LSTM]),
    ("masks rows above l0, which is not run here", [LSTM, MASKING]),
    ("masks rows above l0, which is not run here", [MASKING, layer("Dense"), MASKING]),
    ("Softmax of rows that l0 masks is not run here", [MASKING, LSTM, layer("Softmax")]),
    ("takes a row for each step, and the layers below", [layer("LSTM"), layer("Dense"), LSTM]),
    ("threshold: expected a number of float32, got", [layer("ThresholdedReLU", theta=1e300)]),
    (
        "TimeDistributed of an embedding is not run here",
        [layer("TimeDistributed", layer=layer("Sequential", layers=[layer("Embedding")]))],
    ),
    ("TimeDistributed of LSTM is not run here", [layer("TimeDistributed", layer=LSTM)]),
    (
        "takes one number a step, and not 3",
        [layer("InputLayer", batch_shape=[None, None, 3]), layer("Embedding")],
    ),
    ("axis [1] is not that of the features", [LSTM, layer("BatchNormalization", axis=[1])]),
    ("renorm true is not run here", [layer("BatchNormalization", renorm=True)]),
    ("rms_scaling true is not run here", [layer("LayerNormalization", rms_scaling=True)]),
    ("invert true is not run here", [layer("Normalization", invert=True)]),
    (
        "the file does not say how many features it takes",
        [layer("Normalization", mean=0.0, variance=1.0, axis=None)],
    ),
    (
        "scale: expected a number for each feature",
        [layer("Rescaling", scale=[[1.0], [2.0], [3.0]])],
    ),
    ("has 2 scales and 3 offsets", [layer("Rescaling", scale=[1.0, 2.0], offset=[1.0, 2.0, 3.0])]),
    ("max_value 5.0, negative_slope 0.0, threshold 0.0", [layer("ReLU", max_value=5.0)]),
]


@pytest.mark.parametrize(("why", "layers"), REFUSED)
def test_what_is_not_run_is_a_part_that_says_why(why: str, layers: list[Config]) -> None:
    model = config.find(sequential(*layers), None)
    (refused,) = [part for part in model.parts if part.needed]
    assert (refused.name, refused.layers) == (f"l{len(layers) - 1}", ())
    assert refused.why.startswith(why)


def test_a_model_with_such_a_part_says_so_and_which_others_there_are() -> None:
    model = config.find(sequential(LSTM, layer("Conv1D"), LSTM), None)
    hint = "pick one with `layer` NAME: l0, l2"
    assert refusal(model) == f"m.keras: l1: Conv1D is not run here; {hint}"


@pytest.mark.parametrize(
    "kind",
    [
        *("InputLayer", "Identity", "Dropout", "SpatialDropout1D", "GaussianNoise"),
        *("GaussianDropout", "AlphaDropout", "ActivityRegularization"),
    ],
)
def test_what_does_nothing_is_no_layer(kind: str) -> None:
    model = config.find(sequential(layer(kind, rate=0.5, stddev=0.1, l1=0.1), LSTM), None)
    assert [(part.why, len(part.layers)) for part in model.parts] == [(NOTHING, 0), ("", 1)]


def test_the_order_is_that_of_the_calls_and_not_of_the_file() -> None:
    model = config.find(
        functional(
            node("b", "GRU", "a", settings=WHOLE),
            node("a", "LSTM", "x", settings=WHOLE),
            output_layers=[["b", 0, 0]],
        ),
        None,
    )
    assert [part.name for part in model.parts] == ["x", "a", "b"]
    assert not any(part.needed for part in model.parts)


def test_calls_are_read_as_keras_2_writes_them() -> None:
    layers = [
        {"class_name": "InputLayer", "name": "x", "config": {}, "inbound_nodes": []},
        {"class_name": "LSTM", "name": "a", "config": WHOLE, "inbound_nodes": [[["x", 0, 0, {}]]]},
        {"class_name": "GRU", "name": "b", "config": {}, "inbound_nodes": [["a", 0, 0]]},
    ]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["b", 0, 0]]}
    about = {"class_name": "Model", "config": {"layers": layers, **ends}}
    model = config.find(stored(about, version="2.2.4"), None)
    assert [(part.name, part.needed) for part in model.parts] == [
        ("x", False),
        ("a", False),
        ("b", False),
    ]


def test_no_mask_is_a_mask_of_its_own_in_keras_2() -> None:
    found = {**node("a", "LSTM"), "inbound_nodes": [[["x", 0, 0, {"mask": None}]]]}
    model = config.find(functional(found), None)
    assert refusal(model) == "m.keras: a: is called with mask"


NO_CHAINS = [
    (
        "takes 2 inputs (x, z), and not one",
        [node("a", "LSTM", "x")],
        {"input_layers": [["x", 0, 0], ["z", 0, 0]]},
    ),
    (
        "gives 2 outputs (a, x), and not one",
        [node("a", "LSTM", "x")],
        {"output_layers": {"one": ["a", 0, 0], "two": ["x", 0, 0]}},
    ),
    (
        "gives a state of a, and not its output",
        [node("a", "LSTM", "x")],
        {"output_layers": [["a", 0, 1]]},
    ),
    (
        "c takes a, b, and not one layer's only",
        [node("a", "LSTM", "x"), node("b", "GRU", "x"), node("c", "Add", "a", "b")],
        {},
    ),
    (
        "a is used 2 times",
        [{**node("a", "LSTM", "x"), "inbound_nodes": [[["x", 0, 0]], [["a", 0, 0]]]}],
        {},
    ),
    ("a takes b, and not one layer's only", [node("a", "LSTM", "b"), node("b", "LSTM", "a")], {}),
    ("y takes nothing, and not one layer's", [node("a", "LSTM", "y")], {}),
    ("a damaged: its inbound_nodes are no list", [{**node("a", "LSTM"), "inbound_nodes": 3}], {}),
]


@pytest.mark.parametrize(("why", "layers", "settings"), NO_CHAINS)
def test_layers_that_are_no_chain_can_be_picked_one_by_one(
    why: str, layers: list[Config], settings: Config
) -> None:
    model = functional(*layers, **settings)
    assert refusal(config.find(model, None)).startswith(f"m.keras: m: {why}")
    assert config.find(model, "a").layers()


def test_a_model_of_a_class_of_its_own_may_do_anything() -> None:
    model = stored({"class_name": "Mine", "config": {"layers": [LSTM], "name": "m"}})
    why = "Mine is a class of the model's own"
    assert refusal(config.find(model, None)).startswith(f"m.keras: m: {why}; ")


@pytest.mark.parametrize("kind", ["LSTM", "Dense"])
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"initial_state": tensor("x")}, "is called with initial_state"),
        ({"training": True}, "is called with training"),
        ({"mask": tensor("y")}, "takes the mask y, which is not run here"),
    ],
)
def test_what_else_a_layer_is_called_with_is_refused(kind: str, given: Config, why: str) -> None:
    model = config.find(
        functional(node("a", "LSTM", "x", settings=WHOLE), node("b", kind, "a", **given)), None
    )
    assert refusal(model).startswith(f"m.keras: b: {why}")


def masked(kind: str, value: Any, *ends: Config, **settings: Any) -> Model:
    """What is found in a model of Keras 3 that writes a mask out."""
    compared = {"args": [tensor("x"), value], "kwargs": {}}
    return config.find(
        functional(
            node("m", kind, "x", settings=settings),
            {**node("n", "NotEqual"), "inbound_nodes": [compared]},
            *ends,
        ),
        None,
    )


ANY = {"name": "o", "axis": -1, "keepdims": False}


@pytest.mark.parametrize("training", [None, False])
def test_masks_that_are_written_out_are_folded_back(training: bool | None) -> None:
    ends = [
        node("o", "Any", "n", settings=ANY),
        node("b", "GRU", "m", mask=tensor("o"), training=training),
    ]
    model = masked("Masking", 2.0, *ends, mask_value=2.0)
    assert [part.name for part in model.parts] == ["x", "m", "b"]
    assert len(model.layers()) == 2
    model = masked("Embedding", 0, node("b", "GRU", "m", mask=tensor("n")), mask_zero=True)
    assert [layer.kind for layer in model.layers()] == ["embedding", ""]


@pytest.mark.parametrize(
    ("value", "settings", "mask"),
    [(1.0, ANY, "o"), (2.0, {**ANY, "axis": 1}, "o"), (2.0, {**ANY, "keepdims": True}, "o")],
)
def test_other_masks_are_refused(value: float, settings: Config, mask: str) -> None:
    ends = [
        node("o", "Any", "n", settings=settings),
        node("b", "GRU", "m", mask=tensor(mask)),
    ]
    model = masked("Masking", value, *ends, mask_value=2.0)
    assert refusal(model) == f"m.keras: b: takes the mask {mask}, which is not run here"


def test_layers_without_the_mask_of_their_model_are_refused() -> None:
    above = node("b", "GRU", "a", mask=tensor("o"))
    ends = [
        node("o", "Any", "n", settings=ANY),
        node("a", "LSTM", "m", mask=tensor("o")),
        above,
    ]
    model = masked("Masking", 2.0, *ends, mask_value=2.0)
    why = "b: takes the mask m, which is not run here"
    assert refusal(model) == f"m.keras: {why}; pick one with `layer` NAME: a"


def test_models_in_models_have_their_names_before_their_layers() -> None:
    inner = {"name": "enc", "layers": [layer("LSTM", name="a", **WHOLE), layer("Conv1D", name="b")]}
    model = sequential(layer("Sequential", **inner), LSTM)
    assert [part.name for part in config.find(model, None).parts] == ["enc/a", "enc/b", "l1"]
    assert len(config.find(model, "enc/a").layers()) == 1
    assert "enc/b: Conv1D is not run here" in refusal(config.find(model, "enc"))


def test_models_in_too_many_models_are_refused() -> None:
    inner = LSTM
    for _ in range(30):
        inner = layer("Sequential", layers=[inner])
    assert "has models within models, over 8 deep" in refusal(config.find(sequential(inner), None))


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([layer("LSTM")] * 2001, "has over 2,000 layers"),
        ([3], "damaged: it has no list of layers"),
        ([layer("LSTM", name="a")] * 2, "damaged: several layers have one name"),
    ],
)
def test_a_damaged_list_of_layers_is_an_error(layers: Any, what: str) -> None:
    model = stored({"class_name": "Sequential", "config": {"layers": layers}})
    with pytest.raises(InputError, match=rf"m\.keras: {what}"):
        config.find(model, None)


@pytest.mark.parametrize(
    ("settings", "last"), [({}, "state"), (WHOLE, None)], ids=["one row", "a row for each step"]
)
def test_a_model_gives_one_row_where_its_top_layer_does(settings: Config, last: str | None) -> None:
    model = sequential(LSTM, layer("GRU", **settings), layer("Dense"))
    assert config.find(model, None).last == last
    assert config.find(model, "l0").last is None


def test_rows_that_come_in_another_order_are_said() -> None:
    note = "Keras gives the rows from the last step to the first, here they stand as the input does"
    assert config.find(sequential(BACKWARD, layer("Dense")), None).notes == [note]
    assert config.find(sequential(BACKWARD, BACKWARD), None).notes == []
    assert config.find(sequential(BACKWARD, layer("LSTM")), None).notes == []


@pytest.mark.parametrize(
    ("version", "notes"),
    [("2.3.1", ["gives at rows that l0 masks what Keras does since 2.4"]), ("2.4.0", [])],
)
def test_what_old_versions_gave_at_masked_rows_is_not_known(version: str, notes: list[str]) -> None:
    assert config.find(sequential(MASKING, LSTM, version=version), None).notes == notes
    assert config.find(sequential(MASKING, layer("LSTM"), version=version), None).notes == []


def test_an_input_of_whole_numbers_is_one_of_an_embedding() -> None:
    start = layer("InputLayer", batch_shape=[None, None], dtype="int32")
    assert len(config.find(sequential(start, layer("Embedding"), LSTM), None).layers()) == 2


@pytest.mark.parametrize(
    "found",
    [
        layer("Bidirectional", layer=layer("LSTM", dtype="float16")),
        layer("TimeDistributed", layer=layer("Dense", dtype="float16")),
        layer("RNN", cell=layer("StackedRNNCells", cells=[layer("GRUCell", dtype="float16")])),
    ],
    ids=lambda found: found["class_name"],
)
def test_fewer_digits_within_a_layer_are_said(found: Config) -> None:
    model = config.find(sequential(found), None)
    assert model.notes == ["l0: computed in float32, Keras does in float16"]


@pytest.mark.parametrize("name", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_types_with_fewer_digits_are_said(name: str) -> None:
    policy = {"class_name": "DTypePolicy", "config": {"name": name}}
    model = config.find(sequential(layer("LSTM", dtype=policy), layer("Dense", dtype=name)), None)
    assert model.notes == [f"l0, l1: computed in float32, Keras does in {name}"]


@pytest.mark.parametrize(
    ("version", "hard", "default", "reset"),
    [
        ("3.0.0", f"hard_sigmoid:{1 / 6!r},0.5", "sigmoid", "after"),
        ("2.21.0", "hard_sigmoid:0.2,0.5", "sigmoid", "before"),
        ("2.3.1", "hard_sigmoid:0.2,0.5", "sigmoid", "before"),
        ("2.2.4-tf", "hard_sigmoid:0.2,0.5", "hard_sigmoid:0.2,0.5", "before"),
        ("1.2.2", "hard_sigmoid:0.2,0.5", "hard_sigmoid:0.2,0.5", "before"),
        ("", f"hard_sigmoid:{1 / 6!r},0.5", "sigmoid", "after"),
    ],
)
def test_the_version_says_what_is_left_out(
    version: str, hard: str, default: str, reset: str
) -> None:
    model = sequential(layer("GRU", activation="hard_sigmoid"), version=version)
    (cell,) = config.find(model, None).layers()[0].cells
    assert cell.settings["activation"] == parse(hard)
    assert cell.settings["recurrent_activation"] == parse(default)
    assert cell.settings["reset"] == reset


@pytest.mark.parametrize(
    ("kind", "settings", "function"),
    [
        ("Activation", {"activation": "leaky_relu"}, "leaky_relu:0.2"),
        ("Activation", {"activation": None}, "linear"),
        ("Activation", {"activation": {"class_name": "function", "config": "swish"}}, "silu"),
        ("LeakyReLU", {}, "leaky_relu:0.3"),
        ("LeakyReLU", {"alpha": 0.1}, "leaky_relu:0.1"),
        ("LeakyReLU", {"negative_slope": 0.1}, "leaky_relu:0.1"),
        ("ReLU", {"negative_slope": "0.5", "threshold": "0.0"}, "leaky_relu:0.5"),
        ("ReLU", {"max_value": 6.0}, "relu6"),
        ("ELU", {"alpha": 2.0}, "elu:2.0"),
        ("ThresholdedReLU", {}, "thresholded_relu:1.0000001192092896"),
        ("Rescaling", {"scale": 0.5}, "affine:0.5,0.0"),
    ],
)
def test_layers_that_are_functions(kind: str, settings: Config, function: str) -> None:
    (found,) = config.find(sequential(layer(kind, **settings)), None).layers()
    assert found.settings == {"activation": parse(function)}


def test_no_scale_is_smaller_than_that_of_keras() -> None:
    model = config.find(
        sequential(layer("Normalization", mean=[1.0, 0.0], variance=[0.0, 4.0])), None
    )
    (found,) = model.layers()
    (scale,) = model.tensors.read([found.tensors["scale"]])
    np.testing.assert_array_equal(scale, [1e-7, 2.0])


def test_two_directions_over_reversed_rows_change_places() -> None:
    both = layer("Bidirectional", layer=LSTM, merge_mode="sum")
    plain, turned = (
        config.find(sequential(first, both), None).layers()[-1].cells for first in (LSTM, BACKWARD)
    )
    assert turned == plain[::-1]
    assert turned != plain


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Normalization", {"mean": [0.0], "variance": [1.0]}),
        ("Rescaling", {"scale": 1.0}),
        ("Identity", {}),
    ],
)
def test_masks_end_at_some_layers_of_keras_2(kind: str, settings: Config) -> None:
    layers = [MASKING, layer(kind, **settings)]
    shape = layer("InputLayer", batch_shape=[None, None, 1])
    assert not any(part.needed for part in config.find(sequential(shape, *layers), None).parts)
    old = config.find(sequential(shape, *layers, version="2.15.0"), None)
    why = "the mask of l1 ends here in Keras 2, which is not run here"
    assert [part.why for part in old.parts if part.needed] == [why]
