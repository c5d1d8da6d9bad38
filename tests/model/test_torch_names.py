"""Arrays under the names of PyTorch and of ours: what is found, and what is refused.

The models of ``data/models`` have the order of PyTorch's gates.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import layers, load, refusal
from safetensors.numpy import save_file

Arrays = dict[str, Any]


def numbers(*shape: int) -> Any:
    return np.random.RandomState(sum(shape)).normal(scale=0.5, size=shape).astype("f")


def write(path: Path, arrays: Arrays) -> Path:
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        save_file(arrays, str(path))
    return path


def torch(stem: str = "", I: int = 2, H: int = 3, end: str = "_l0", gates: int = 1) -> Arrays:
    return {
        f"{stem}weight_ih{end}": numbers(gates * H, I),
        f"{stem}weight_hh{end}": numbers(gates * H, H),
    }


def own(number: int, direction: str, I: int, H: int) -> Arrays:
    stem = f"layer_{number}.{direction}."
    return {f"{stem}W_xh": numbers(I, H), f"{stem}W_hh": numbers(H, H)}


ONE = {"W_xh": numbers(2, 3), "W_hh": numbers(3, 3)}
PAIR = own(1, "forward", 2, 3) | own(1, "backward", 2, 3)
TANH = "does not name the activation: tanh is taken (`activation`)"
# Arrays, `layer`, and what is found.
FOUND: dict[str, tuple[Arrays, str | None, str]] = {
    "a cell in a list": (
        torch("cells.0.", end="") | torch("cells.1.", 3, 4, ""),
        "cells.1",
        "RNN 4",
    ),
    "one of two": (
        torch("enc.") | torch("dec.", 3, 4) | {"fc.bias": np.array([np.nan])},
        "dec",
        "RNN 4",
    ),
}


@pytest.mark.parametrize(("arrays", "layer", "expected"), FOUND.values(), ids=FOUND)
def test_modules_of_pytorch(
    tmp_path: Path, arrays: Arrays, layer: str | None, expected: str
) -> None:
    network, notes = load(write(tmp_path / "w.safetensors", arrays), layer=layer)
    assert layers(network) == expected
    assert notes == [TANH] * expected.startswith("RNN")


def test_names_after_a_word(tmp_path: Path) -> None:
    theirs = (numbers(12, 2), numbers(12, 3), numbers(12), numbers(1, 12)[0])
    roles = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    arrays = {f"enc_{role}": array for role, array in zip(roles, theirs, strict=True)}
    network, notes = load(write(tmp_path / "w.npz", arrays))
    expected = (theirs[0].T, theirs[1].T, theirs[2].astype(float) + theirs[3])
    for array, other in zip(network.layers[0].cells[0].weights[:3], expected, strict=True):
        np.testing.assert_array_equal(array, other)
    assert notes == []


@pytest.mark.parametrize("options", [{}, {"activation": "relu"}])
def test_cells_keep_both_biases_of_a_file(tmp_path: Path, options: dict[str, str]) -> None:
    both = {"bias_ih_l0": numbers(3), "bias_hh_l0": numbers(1, 3)[0]}
    path = write(tmp_path / "w.safetensors", torch() | both)
    (cell,) = load(path, **options)[0].layers[0].cells
    for array, other in zip(cell.biases, both.values(), strict=True):
        np.testing.assert_array_equal(array, other)


UNLIKE = {f"weight_ih_l0{end}": numbers(12, 2) for end in ("", "_reverse")}
UNLIKE |= {"weight_hh_l0": numbers(12, 2), "weight_hr_l0": numbers(2, 3)}
UNLIKE |= {"weight_hh_l0_reverse": numbers(12, 1), "weight_hr_l0_reverse": numbers(1, 3)}
# Why arrays are refused, the arrays, and options.
NPZ: list[tuple[str, Arrays, dict[str, Any]]] = [
    ("got W_xh, W_hh, bh", ONE | {"bh": numbers(3)}, {}),
    ("has no layer a; it has layer_1", ONE, {"layer": "a"}),
    ("expected W_xh, W_hh and b_h, got W_xh", {"W_xh": ONE["W_xh"]}, {}),
    ("expected W_xh, W_hh and b_h, got layer_1.back", ONE | own(1, "backward", 2, 3), {}),
    ("W_hh: expected floats, got int32", ONE | {"W_hh": np.ones((3, 3), np.int32)}, {}),
    ("W_hh: damaged: ", ONE | {"W_hh": np.array([[None]])}, {}),
    ("W_hh: expected shape (3, 3) or (1, 3), as W_xh is", ONE | {"W_hh": numbers(3, 4)}, {}),
    ("W_xh: expected shape (I, 1 H), got (3,)", ONE | {"W_xh": numbers(3)}, {}),
    (
        "W_xh: expected shape (I, 3 H), got (2, 4)",
        ONE | {"W_xh": numbers(2, 4), "b_n": numbers(1)},
        {},
    ),
    ("W_hh: expected shape (2, 2), as W_xh is (3, 2)", ONE | {"W_xh": numbers(3, 2)}, {}),
    (
        "expected sizes of at least 1, got 2, 0",
        {"W_xh": np.ones((2, 0)), "W_hh": np.ones((0, 0))},
        {},
    ),
    ("backward.W_xh: expected shape (2, 3)", PAIR | own(1, "backward", 3, 3), {}),
    ("layer 2: takes 3 values, 6 come from below", PAIR | own(2, "forward", 3, 3), {}),
    ("a bidirectional layer has 2 cells", ONE, {"direction": "bidirectional"}),
    ("nan at [0, 1]", ONE | {"W_hh": np.array([[1, np.nan, 1]] * 3, "f")}, {}),
    ("about: damaged", ONE | {"about": np.array("me")}, {}),
    ("no recurrent layer", PAIR | {"layer_2.W": numbers(6, 2)}, {}),
]
SAFETENSORS: list[tuple[str, Arrays, dict[str, Any]]] = [
    ("no recurrent layer", {"fc.weight": numbers(1, 3)}, {}),
    ("dec, enc; pick", torch("enc.") | torch("dec."), {}),
    (
        "rnn.weight_hh_l0: expected shape",
        torch("rnn.", gates=4) | {"rnn.weight_hr_l0": numbers(1, 3)},
        {},
    ),
    (
        "expected weight_ih, weight_hh and both biases or none, in layers from 0",
        torch(gates=4) | {"weight_hr_l0": numbers(3, 3)} | torch(I=3, end="_l1", gates=4),
        {},
    ),
    ("weight_hh_l0: expected", torch() | {"weight_hr_l0": numbers(3, 3)}, {}),
    ("l0_reverse: expected shape (2, 12) backward", UNLIKE, {}),
    ("weight_hh_l0: expected", torch(gates=4) | {"weight_ih_l0": numbers(3, 2)}, {}),
    ("the file says activation tanh", torch(gates=4), {"activation": "relu"}),
    ("the file says reset after", torch(gates=3), {"reset": "before"}),
    ("in layers from 0", torch() | torch(I=3, end="_l2"), {}),
    ("in layers from 0", torch() | {"bias_ih_l0": numbers(3)}, {}),
    ("in layers from 0", torch() | torch(end=""), {}),
    (
        "a.weight_hh_l0: not finite",
        torch("a.") | {"a.weight_hh_l0": np.full((3, 3), np.nan, "f")},
        {"layer": "a"},
    ),
]


@pytest.mark.parametrize(
    ("extension", "why", "arrays", "options"),
    [(".npz", *each) for each in NPZ] + [(".safetensors", *each) for each in SAFETENSORS],
)
def test_arrays_that_are_refused(
    tmp_path: Path, extension: str, why: str, arrays: Arrays, options: dict[str, Any]
) -> None:
    path = write(tmp_path / f"w{extension}", arrays)
    assert why in refusal(path, **options)
