"""Draws against those that the frameworks made, and the generator against its authors' vectors."""

import random
import re
from typing import Any

import numpy as np
import pytest
from conftest import load
from framework_draws import check, keras_arrays, torch_arrays

from rnncli import Network, seeded
from rnncli.model.activations import parse
from rnncli.model.cells import CELLS, Cell
from rnncli.model.seeds import INITIALIZERS
from rnncli.model.seeds.streams import CHUNK, draw, find_stream, gaussian, philox4x32

TENSORFLOW = load("tensorflow")
STACK = load("tensorflow_stack")
KERAS = load("keras_draws")
TORCH = load("torch_draws")

SMALLEST = (6018600, 1, "smallest_uniform")

# Random123 1.14, tests/kat_vectors, philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ("00000000" * 4, "00000000" * 2, "6627e8d5e169c58dbc57ac4c9b00dbd8"),
    ("ffffffff" * 4, "ffffffff" * 2, "408f276d41c83b0ea20bc7c66d5451fd"),
    ("243f6a8885a308d313198a2e03707344", "a4093822299f31d0", "d16cfe0994fdcceb5001e42024126ea1"),
]


def words(text: str) -> list[int]:
    return [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter: str, key: str, answer: str) -> None:
    first, second = words(key)
    counters = np.array(words(counter), np.uint64)[:, None]
    assert philox4x32((first, second), counters).tolist() == [words(answer)]


def distance_in_units(drawn: Any, expected: Any) -> np.ndarray:
    """Distance in units of the last place."""
    a, b = (np.asarray(values, np.float32).astype(np.float64) for values in (drawn, expected))
    assert a.shape == b.shape
    return np.abs(a - b) / np.spacing(np.abs(b).astype(np.float32))


def cells(network: Network) -> list[Cell]:
    return [cell for layer in network.layers for cell in layer.cells]


def case_id(case: dict[str, Any]) -> str:
    given = ("cell", "merge", "bias", "reset", "head")
    shape = f"{case['hidden_size']} {case['direction']}"
    return " ".join([shape, *(f"{name} {case[name]}" for name in given if name in case)])


def drawable(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the cases without an embedding or a projection, which `seeded` does not draw."""
    return [case for case in cases if not {"embedding", "projected_size"} & case.keys()]


def network_of(case: dict[str, Any], init: str) -> Network:
    return seeded(
        init=init, **{name: case[name] for name in case if name not in ("weights", "parameters")}
    )


def test_weights_are_tensorflows() -> None:
    drawn = []
    for seed, *_ in TENSORFLOW["draws"]:
        W_xh, W_hh, b_h = cells(seeded(1, 4, seed))[0].weights[:3]
        drawn.append([*W_xh.ravel(), *W_hh.ravel()])
        assert not b_h.any()
    apart = distance_in_units(drawn, [row[1:] for row in TENSORFLOW["draws"]])
    # TensorFlow's own log, sin and cos are approximations in float32.
    assert apart.max() <= 4
    assert np.mean(apart == 0) >= 0.95


def test_tensorflow_draws_a_stack_layer_by_layer() -> None:
    network = seeded(2, (3, 2), 1, direction="bidirectional")
    drawn = [array for cell in cells(network) for array in cell.weights[:2]]
    for array, expected in zip(drawn, STACK["stack"], strict=True):
        assert distance_in_units(array, expected).max() <= 4


def test_tensorflow_draws_all_gates_at_once() -> None:
    draws = INITIALIZERS["tensorflow"](1)
    below, (drawn,) = draws.draw_dense(3, 2)[0], draws.draw_cells("lstm", 2, 3, True, 1)
    arrays = [below, *drawn[:2], draws.draw_dense(3, 2)[0]]
    for array, expected in zip(arrays, STACK["gated"], strict=True):
        assert distance_in_units(array, expected).max() <= 4
    assert not np.any(drawn[2:])
    assert not seeded(head=2).layers[1].arrays["b"].any()


@pytest.mark.parametrize(("op_seed", "seed", "name"), [(0, 0, "zero_seeds"), SMALLEST])
def test_tensorflow_draws_of_special_seeds(op_seed: int, seed: int, name: str) -> None:
    """A pair of zeros, and one that draws a uniform zero, which has no logarithm."""
    drawn = draw((len(STACK[name]),), find_stream(seed, op_seed), gaussian)
    assert distance_in_units(drawn, STACK[name]).max() <= 4


def test_large_draws_go_on_where_a_chunk_ends() -> None:
    assert CHUNK < 300 * 300
    drawn = cells(seeded(300, 300, 1))[0].weights.W_hh[-1, -4:]
    assert distance_in_units(drawn, STACK["large"]).max() <= 4
    odd, whole = (draw((n,), ((1, 2), (3, 4)), gaussian) for n in (CHUNK + 6, 2 * CHUNK))
    assert odd.tobytes() == whole[: CHUNK + 6].tobytes()


@pytest.mark.parametrize("case", drawable(KERAS["cases"]), ids=case_id)
def test_weights_are_keras(case: dict[str, Any]) -> None:
    given = {name: case[name] for name in ("bias", "reset", "head") if name in case}
    expected = keras_arrays(case["weights"], case.get("cell", "rnn"), **given)
    # TensorFlow's QR rounds in float32: a few units of 1 for so few rows.
    check(network_of(case, "keras"), expected, W_hh=1e-6)


@pytest.mark.parametrize("init", ["keras", "torch"])
def test_a_head_is_drawn_after_the_cells(init: str) -> None:
    (case,) = (case for case in (KERAS if init == "keras" else TORCH)["cases"] if case["seed"] == 5)
    draws: Any = INITIALIZERS[init](5)
    if init == "keras":  # an embedding was drawn first: of a seed, or of 32 words
        draws.draw_dense(1, 1)
        W, b = case["weights"][-2:]
    else:
        draws._generator.randint(0, 2**32, 32, np.uint32)
        weight, b = list(case["parameters"].values())[-2:]
        W = np.transpose(weight)
    list(draws.draw_cells("lstm", 5, 2, True, 2))
    drawn = draws.draw_dense(4, 2)
    np.testing.assert_array_equal(drawn[0], np.float32(W))
    assert init == "keras" or np.array_equal(drawn[1], np.float32(b))


@pytest.mark.parametrize("case", drawable(TORCH["cases"]), ids=case_id)
def test_weights_are_torchs(case: dict[str, Any]) -> None:
    expected = torch_arrays(case["parameters"], case.get("cell", "rnn"))
    check(network_of(case, "torch"), expected)


def as_bytes(network: Network) -> list[bytes]:
    return [array.tobytes() for cell in cells(network) for array in cell.weights.arrays.values()]


@pytest.mark.parametrize("init", INITIALIZERS)
def test_only_the_seed_decides(init: str) -> None:
    drawn = as_bytes(seeded(2, 3, 7, init))
    np.random.seed(1)
    random.seed(1)
    undisturbed = np.random.random(), random.random()
    np.random.seed(1)
    random.seed(1)
    assert as_bytes(seeded(2, 3, 7, init)) == drawn
    assert (np.random.random(), random.random()) == undisturbed
    assert as_bytes(seeded(2, 3, 8, init)) != drawn


@pytest.mark.parametrize("cell", CELLS)
def test_a_setting_for_each_layer_or_cell(cell: str) -> None:
    for given, expected in (
        (["relu"], ["relu"] * 4),
        (["relu", parse("elu:0.5")], ["relu", "relu", "elu:0.5", "elu:0.5"]),
        (["tanh", "relu", "elu:0.5", "sigmoid"], ["tanh", "relu", "elu:0.5", "sigmoid"]),
    ):
        network = seeded(1, (2, 3), direction="bidirectional", cell=cell, activation=given)
        assert [str(each.settings["activation"]) for each in cells(network)] == expected


def test_a_reset_for_each_layer_decides_where_its_bias_is() -> None:
    after, mixed = (
        cells(seeded(1, (2, 2), 3, "torch", cell="gru", reset=reset))
        for reset in ("after", ("after", "before"))
    )
    assert [cell.settings["reset"] for cell in mixed] == ["after", "before"]
    assert mixed[0].weights.b_n is not None
    assert mixed[1].weights.b_n is None
    whole = after[1].weights.b_h.copy()
    assert after[1].weights.b_n is not None
    whole[4:] += after[1].weights.b_n
    np.testing.assert_array_equal(mixed[1].weights.b_h, whole)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"seed": 2**32}, "seed: expected 0 to 4294967295, got 4294967296"),
    ({"hidden_size": (4, 0)}, "expected at least one layer and sizes from 1, got"),
    ({"head": 0}, "expected at least one layer and sizes from 1, got"),
    ({"merg": "sum"}, "merg: RNN has none"),
    ({"hidden_size": (2, 2, 2), "clip": (1, 2)}, "clip: expected 1 value, one a layer"),
    (
        {"init": "torch", "hidden_size": (4, 4), "direction": "bidirectional", "merge": "sum"},
        "init torch: PyTorch's RNN concatenates directions",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        seeded(**arguments)
