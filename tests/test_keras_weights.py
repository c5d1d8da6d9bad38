"""Where the arrays of Keras models are found, with a config and without one."""

from typing import Any

import pytest
from keras_configs import MASKING, WHOLE, Config, layer, refusal, sequential, stored

from rnncli.model.activations import parse
from rnncli.model.errors import InputError
from rnncli.model.formats.keras import bare, config

GRU = {"kernel": (3, 6), "recurrent_kernel": (2, 6), "bias": (2, 6)}
ALONE = "holds weights alone: directions (`direction`) and activations are not in the file"
JOINED = "takes {} one above the other: names do not tell how they are joined"
NUMBERED = {f"layers/gru/cell/vars/{k}": shape for k, shape in enumerate(GRU.values())}


def listing(*layers: str, root: str = "", number: int = 3) -> tuple[dict[str, Any], dict[str, Any]]:
    """Shapes and attributes of a file that lists the arrays of GRU layers."""
    names = [f"gru/{name}:0" for name in GRU][:number]
    paths = {layer: f"{root}/{layer}".removeprefix("/") for layer in layers}
    shapes = {
        f"{path}/{name}": shape
        for path in paths.values()
        for name, shape in zip(names, GRU.values(), strict=False)
    }
    groups = {path: {"weight_names": names} for path in paths.values()}
    return shapes, {"": {}, root: {"layer_names": list(layers)}, **groups}


def test_arrays_are_found_by_number() -> None:
    model = sequential(layer("GRU", units=2), layer("Dense"), shapes=NUMBERED)
    assert config.find(model, None).parts[0].tensors == list(NUMBERED)


@pytest.mark.parametrize("root", ["", "model_weights"])
def test_arrays_are_found_as_they_are_listed(root: str) -> None:
    shapes, attributes = listing("l0", root=root)
    model = sequential(
        layer("GRU", reset_after=True), version="2.21.0", shapes=shapes, attributes=attributes
    )
    assert config.find(model, None).parts[0].tensors == list(shapes)


def test_what_cannot_be_run_has_its_arrays() -> None:
    """Also those of its parts, and none of what random numbers are drawn from."""
    held = {"layers/mine/inner/vars/0": (7,), "layers/mine/vars/0": (3, 1)}
    shapes = {**held, "layers/mine/seed_generator/vars/0": (2,), "layers/mine_1/vars/0": (2,)}
    model = sequential(layer("Mine"), shapes=shapes)
    assert config.find(model, None).parts[0].tensors == list(held)
    shapes, attributes = listing("l0", "l1")
    model = sequential(layer("Mine"), shapes=shapes, attributes=attributes)
    assert config.find(model, None).parts[0].tensors == list(shapes)[:3]


def test_long_lists_are_split() -> None:
    shapes, attributes = listing("l0", "l1")
    whole = attributes[""].pop("layer_names")
    attributes[""] |= {f"layer_names{k}": [name] for k, name in enumerate(whole)}
    cells = [layer("GRU", **WHOLE, reset_after=True)] * 2
    model = sequential(*cells, version="2.21.0", shapes=shapes, attributes=attributes)
    assert [part.tensors[0] for part in config.find(model, None).parts] == [
        "l0/gru/kernel:0",
        "l1/gru/kernel:0",
    ]


def test_frozen_parts_that_are_listed_last_are_refused() -> None:
    """Keras lists arrays that are trained before those that are not."""
    names = [f"b/{way}_gru/{name}" for way in ("backward", "forward") for name in GRU]
    shapes = {f"l0/{name}": shape for name, shape in zip(names, 2 * [*GRU.values()], strict=True)}
    listed = {"": {"layer_names": ["l0"]}, "l0": {"weight_names": names}}
    both = layer("Bidirectional", layer=layer("GRU"))
    cells = [layer("GRUCell", trainable=trained) for trained in (False, True)]
    stack = layer("RNN", cell=layer("StackedRNNCells", cells=cells))
    for found in (both, stack):
        model = config.find(sequential(found, shapes=shapes, attributes=listed), None)
        why = "lists the arrays of frozen parts after those of the others, which is not run here"
        assert refusal(model) == f"m.keras: l0: {why}; save it as .keras"
        assert config.find(sequential(found), None).layers()


@pytest.mark.parametrize(
    ("settings", "number", "why"),
    [
        ({"use_bias": True}, 2, "expected 3 arrays, l0 lists 2"),
        ({"use_bias": False}, 3, "has arrays that are not known here: l0/gru/bias:0"),
        ({"units": 5}, 3, "units 5, l0/gru/recurrent_kernel:0 has 2 rows"),
    ],
)
def test_arrays_are_those_that_the_config_says(settings: Config, number: int, why: str) -> None:
    shapes, attributes = listing("l0", number=number)
    model = sequential(layer("GRU", **settings), shapes=shapes, attributes=attributes)
    assert refusal(config.find(model, None)) == f"m.keras: l0: {why}"


def test_numbered_arrays_are_those_that_the_config_says() -> None:
    model = sequential(layer("GRU", use_bias=False), shapes=NUMBERED)
    why = "l0: has arrays that are not known here: layers/gru/cell/vars/2"
    assert refusal(config.find(model, None)) == f"m.keras: {why}"
    dense = sequential(layer("Dense", units=4), shapes={"layers/dense/vars/0": (3, 2)})
    why = "l0: units 4, layers/dense/vars/0 has 2 columns"
    assert refusal(config.find(dense, None)) == f"m.keras: {why}"


CUDNN = {f"layers/cu_dnngru/vars/{k}": shape for k, shape in enumerate([(3, 6), (2, 6), (12,)])}


def test_layers_of_cudnn_take_no_masks() -> None:
    model = config.find(sequential(MASKING, layer("CuDNNGRU"), shapes=CUDNN), None)
    assert refusal(model) == "m.keras: l1: CuDNNGRU takes no mask, l0 gives one"


def test_biases_of_cudnn_are_two() -> None:
    shapes = {**CUDNN, "layers/cu_dnngru/vars/2": (2, 6)}
    model = config.find(sequential(layer("CuDNNGRU"), shapes=shapes), None)
    assert "expected a bias of two halves, got shape (2, 6)" in refusal(model)


def test_weights_without_a_config_are_known_by_names_and_shapes() -> None:
    shapes = {**NUMBERED, "layers/dense/vars/0": (2, 1), "layers/dense/vars/1": (1,)}
    shapes |= {"layers/mine/vars/0": (3, 4), "layers/mine/vars/1": (4, 2)}
    seeds = {"layers/gru/cell/seed_generator/vars/0": (2,)}
    weights = stored(None, version="", shapes={**shapes, **seeds})
    model = bare.find(weights, None)
    (gru,) = model.layers()
    assert gru.cells[0].settings == {"reset": "after"}
    assert gru.cells[0].assumed == {}
    assert [note.partition(":")[0] for note in model.notes] == [
        "holds weights alone",
        "passes over layers/dense/vars, layers/mine/vars",
    ]
    assert bare.find(weights, "layers/gru").layers()


def test_layers_without_a_config_are_taken_for_a_chain() -> None:
    """An encoder and a decoder fit each other too."""
    shapes = {**NUMBERED, "layers/gru_1/cell/vars/0": (2, 6), "layers/gru_1/cell/vars/1": (2, 6)}
    model = bare.find(stored(None, version="", shapes=shapes), None)
    assert len(model.layers()) == 2
    assert model.notes == [ALONE, JOINED.format("layers/gru, layers/gru_1")]
    others = {**NUMBERED, "layers/lstm/cell/vars/0": (2, 8), "layers/lstm/cell/vars/1": (2, 8)}
    with pytest.raises(InputError, match="the order of layers/gru, layers/lstm is not in the file"):
        bare.find(stored(None, version="", shapes=others), None)
    assert bare.find(stored(None, version="", shapes=shapes), "layers/gru_1").notes == [ALONE]


def test_arrays_of_cudnn_are_known_by_their_bias() -> None:
    (gru,) = bare.find(stored(None, version="2.2.4", shapes=CUDNN), None).layers()
    known = {"activation": parse("tanh"), "recurrent_activation": parse("sigmoid")}
    assert gru.cells[0].settings == {**known, "reset": "after"}


@pytest.mark.parametrize(
    ("version", "taken"),
    [("2.2.4", "hard_sigmoid:0.2,0.5"), ("", "hard_sigmoid:0.2,0.5"), ("2.3.0", None)],
)
def test_old_weights_have_gates_of_their_time(version: str, taken: str | None) -> None:
    shapes, attributes = listing("gru")
    weights = stored(None, version=version, shapes=shapes, attributes=attributes)
    (gru,) = bare.find(weights, None).layers()
    assert gru.cells[0].assumed == ({"recurrent_activation": parse(taken)} if taken else {})


def test_layers_stand_as_they_are_listed() -> None:
    names = {
        "b": ["lstm/kernel", "lstm/recurrent_kernel"],
        "a": ["gru/kernel", "gru/recurrent_kernel"],
    }
    shapes = {f"{k}/{n}": (2, 8 if k == "b" else 6) for k, each in names.items() for n in each}
    attributes = {
        "": {"layer_names": ["b", "a"]},
        **{k: {"weight_names": v} for k, v in names.items()},
    }
    model = bare.find(stored(None, shapes=shapes, attributes=attributes), None)
    assert [layer.cells[0].cell for layer in model.layers()] == ["lstm", "gru"]
    assert model.notes == [ALONE, JOINED.format("lstm, gru")]
