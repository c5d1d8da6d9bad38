"""Names of results: h, c and y of the top layers, ``layer_1_h`` below them."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.network import Network

Value = TypeVar("Value")


def name_results(
    network: Network,
    outputs: Sequence[Value | None],
    c: Sequence[Value] | None = None,
    *,
    all_layers: bool = False,
) -> dict[str, Value]:
    """Name the results of layers as in `Rows.values`, the bottom one first; None is left out.

    All of h, and of y below the top recurrent layer, come first, then c, then y of the head.
    """
    below, states, above = dict[str, Value](), dict[str, Value](), dict[str, Value]()
    top = len(network.layers)
    for number, (layer, output) in enumerate(zip(network.layers, outputs, strict=True), start=1):
        prefix = "" if number in (top - network.head, top) else f"layer_{number}_"
        if output is None or (prefix and not all_layers):
            continue
        is_below = number <= top - network.head
        (below if is_below else above)[f"{prefix}{'h' if layer.cells else 'y'}"] = output
        if is_below and c is not None:
            states[f"{prefix}c"] = c[number - 1]
    return below | states | above


def name_states(network: Network, state: Floats, *, all_layers: bool) -> dict[str, Floats]:
    """Name copies of h and c of recurrent layers in the states of all cells, (K, S)."""
    h, c = list[Floats | None](), list[Floats]()
    for slices in network.state_slices:
        h.append(np.hstack([state[:, first] for first, *_ in slices]) if slices else None)
        rest = [state[:, each] for _, *more in slices for each in more]
        c.append(np.hstack([state[:, :0], *rest]))
    return name_results(network, h, c, all_layers=all_layers)
