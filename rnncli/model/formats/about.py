"""What our own weight files say beside the weights, as JSON text.

``{"format": 1, "layers": [{"direction": "bidirectional", "merge": "concat",
"cells": [{"activation": "tanh", "clip": null}, ...]}, ...]}``, the bottom
layer and the forward cell first; null is no clip.
"""

import json
from math import inf, isfinite
from typing import Any

from rnncli.model.activations import Activation, parse
from rnncli.model.cells import RNN
from rnncli.model.choices import choice
from rnncli.model.formats.said import Said, SaidCell, SaidLayer
from rnncli.model.formats.tensors import one_line
from rnncli.model.layers import DIRECTIONS, MERGES
from rnncli.model.network import Network

_FORMAT = 1


def about_text(network: Network) -> str:
    """Say of a network what its weights do not."""
    layers = [
        {
            "direction": layer.direction,
            "merge": layer.merge,
            "cells": [_cell_about(cell) for cell in layer.cells],
        }
        for layer in network.layers
    ]
    return json.dumps({"format": _FORMAT, "layers": layers})


def with_about(place: str, said: Said, text: str) -> Said:
    """Add to what a file's tensors say what its own text says.

    Parameters
    ----------
    place : str
        Of the text, for messages.
    said : Said
    text : str
        As `about_text` gives it.

    Raises
    ------
    ValueError
        The text is damaged, of another format, or of another network.
    """
    about = read_about(place, text, _FORMAT)
    layers = about.get("layers")
    if not isinstance(layers, list) or len(layers) != len(said.layers):
        got = len(layers) if isinstance(layers, list) else "no list"
        raise ValueError(
            f"{place}: layers: expected {len(said.layers)}, as many as in the file, got {got}"
        )
    return Said(
        [
            _with_layer(f"{place}: layer {number}", layer, each)
            for number, (layer, each) in enumerate(zip(said.layers, layers, strict=True), start=1)
        ],
        said.notes,
    )


def read_about(place: str, text: str, form: int) -> dict[str, Any]:
    """Read an object of JSON text that says of which format it is.

    Raises
    ------
    ValueError
        It is none, or of another format.
    """
    try:
        about = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not JSON text: {one_line(error)}") from error
    if not isinstance(about, dict) or "format" not in about:
        raise ValueError(f"{place}: expected what rnn writes there, got {text[:40]!r}")
    if about["format"] != form:
        raise ValueError(f"{place}: of format {about['format']!r:.40}, expected {form}")
    return about


def _cell_about(cell: RNN) -> dict[str, Any]:
    clip = cell.clip if isfinite(cell.clip) else None
    return {"activation": str(cell.activation), "clip": clip}


def _with_layer(place: str, layer: SaidLayer, about: Any) -> SaidLayer:
    if not isinstance(about, dict):
        raise ValueError(f"{place}: expected an object, got {about!r:.40}")
    direction, merge, cells = (about.get(name) for name in ("direction", "merge", "cells"))
    directions = choice(f"{place}: direction", str(direction), DIRECTIONS)
    choice(f"{place}: merge", str(merge), MERGES)
    if layer.direction not in (None, direction) or len(directions) != len(layer.cells):
        held = layer.direction or "one direction"
        raise ValueError(f"{place}: {direction}, the file's tensors are of {held}")
    if not isinstance(cells, list) or len(cells) != len(layer.cells):
        raise ValueError(
            f"{place}: cells: expected a list of {len(layer.cells)}, got {cells!r:.40}"
        )
    both = zip(layer.cells, cells, strict=True)
    return SaidLayer(
        tuple(_with_cell(place, cell, each) for cell, each in both), str(direction), str(merge)
    )


def _with_cell(place: str, cell: SaidCell, about: Any) -> SaidCell:
    if not isinstance(about, dict):
        raise ValueError(f"{place}: expected an object for each cell, got {about!r:.40}")
    if not cell.names.b_h:
        raise ValueError(f"{cell.place}: has no bias beside it, which rnn writes always")
    return cell._replace(
        activation=_activation(place, about.get("activation")),
        clip=_clip(place, about.get("clip")),
    )


def _activation(place: str, said: Any) -> Activation:
    if not isinstance(said, str):
        raise ValueError(f"{place}: activation: expected a name, got {said!r:.40}")
    try:
        return parse(said)
    except ValueError as error:
        raise ValueError(f"{place}: {one_line(error)}") from error


def _clip(place: str, said: Any) -> float:
    if said is None:
        return inf
    wrong = f"{place}: clip: expected null or a number over 0, got {said!r:.40}"
    if not isinstance(said, int | float) or isinstance(said, bool):
        raise ValueError(wrong)
    try:
        clip = float(said)
    except OverflowError:
        raise ValueError(wrong) from None
    if not (isfinite(clip) and clip > 0):
        raise ValueError(wrong)
    return clip
