"""Arrays of a network here from the weights that a framework draws."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnncli import Network

Arrays = list[np.ndarray[Any, Any]]
BIASES = ("bias_ih", "bias_hh")


def check(network: Network, expected: Arrays, **tolerances: float) -> None:
    """Compare the arrays of the layers, the bottom one first, and of the cells, forward first.

    They have to be equal to the bit, but for those whose tolerance is given by name.
    """
    named = [
        (name, array)
        for layer in network.layers
        for arrays in (layer.arrays, *(cell.weights.arrays for cell in layer.cells))
        for name, array in arrays.items()
    ]
    for (name, array), its in zip(named, expected, strict=True):
        atol = tolerances.get(name, 0)
        np.testing.assert_allclose(array, its, rtol=0, atol=atol, strict=True, err_msg=name)


def torch_arrays(parameters: Mapping[str, ArrayLike], cell: str) -> Arrays:
    """Turn ``named_parameters()`` of a stack and of an ``nn.Linear`` called head into arrays."""
    named = {name: np.array(values, np.float32) for name, values in parameters.items()}
    listed: Arrays = []
    for name, array in named.items():
        if name == "head.weight":
            listed += [array.T, named["head.bias"]]
        elif name.startswith("weight_ih"):
            zeros = np.zeros(len(array), np.float32)
            both = [named.get(name.replace("weight_ih", bias), zeros) for bias in BIASES]
            listed += _torch_cell(cell, array, named[name.replace("_ih", "_hh")], *both)
    return listed


def _torch_cell(cell: str, *four: np.ndarray[Any, Any]) -> Arrays:
    if cell != "gru":
        weight_ih, weight_hh, bias_ih, bias_hh = four
        return [weight_ih.T, weight_hh.T, bias_ih + bias_hh]
    ih, hh, b_ih, b_hh = (dict(zip("rzn", np.split(array, 3), strict=True)) for array in four)
    return [
        np.concatenate([ih[gate] for gate in "zrn"]).T,
        np.concatenate([hh[gate] for gate in "zrn"]).T,
        np.concatenate([b_ih["z"] + b_hh["z"], b_ih["r"] + b_hh["r"], b_ih["n"]]),
        b_hh["n"],
    ]


def keras_arrays(
    weights: Sequence[ArrayLike],
    cell: str,
    *,
    bias: bool = True,
    reset: str = "after",
    head: Any = None,
) -> Arrays:
    """Turn ``get_weights()`` into arrays; biases are zeros where there are none."""
    each = [np.array(values, np.float32) for values in weights]
    above, listed = each[len(each) - 2 * bool(head) :], Arrays()
    recurrent = each[: len(each) - len(above)]
    for start in range(0, len(recurrent), 2 + bias):
        kernel, recurrent_kernel, *biases = recurrent[start : start + 2 + bias]
        b_h = biases[0] if biases else np.zeros(kernel.shape[1], np.float32)
        listed += [kernel, recurrent_kernel, b_h]
        if cell == "gru" and reset == "after":
            # One for the input, one for the product; both are zeros.
            H = len(recurrent_kernel)
            whole = np.resize(b_h, (2, 3 * H))
            listed[-1] = whole[0] + np.append(whole[1, : 2 * H], np.zeros(H, np.float32))
            listed.append(whole[1, 2 * H :])
    return listed + above
