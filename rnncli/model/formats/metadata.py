"""What our own files say beside their arrays, as JSON text.

In a weight file: ``{"format": 1, "layers": [{"direction": "bidirectional",
"merge": "concat", "cells": [{"activation": "tanh", "clip": null}, ...]},
...]}``, the bottom layer and the forward cell first; null is no clip.
"""

import json
import sys
from collections.abc import Sequence
from math import inf
from typing import Any

from rnncli.model.activations import Activation, parse
from rnncli.model.errors import InputError, choice, one_line
from rnncli.model.formats.spec import LayerSpec
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent

_FORMAT = 1


def metadata_text(layers: Sequence[Recurrent]) -> str:
    """Return what the weights of layers do not say."""
    described = [
        {
            **layer.settings,
            "cells": [
                {name: _plain(value) for name, value in cell.settings.items()}
                for cell in layer.cells
            ],
        }
        for layer in layers
    ]
    return json.dumps({"format": _FORMAT, "layers": described})


def with_metadata(tensors: Tensors, layers: Sequence[LayerSpec]) -> Sequence[LayerSpec]:
    """Complete the layers that names tell of with the file's own metadata, if it has any.

    Raises
    ------
    InputError
        The text is damaged, of another format, or of another network.
    """
    if tensors.metadata is None:
        return layers
    place, text = tensors.metadata
    found = read_json(place, text, _FORMAT).get("layers")
    if not isinstance(found, list) or len(found) != len(layers):
        got = len(found) if isinstance(found, list) else "no list"
        raise InputError(
            place, f"layers: expected {len(layers)}, as many as in the file, got {got}"
        )
    for cell in (cell for layer in layers for cell in layer.cells):
        if not cell.b_h:
            what = "has no bias beside it, which rnn writes always"
            raise InputError(tensors.place(cell.W_xh), what)
    return [
        _completed(f"{place}: layer {number}", layer, each)
        for number, (layer, each) in enumerate(zip(layers, found, strict=True), start=1)
    ]


def read_json(place: str, text: str, form: int) -> dict[str, Any]:
    """Read an object of JSON text that says which format it has.

    Raises
    ------
    InputError
        It is none, or of another format.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(place, f"not JSON text: {one_line(error)}") from error
    if not isinstance(found, dict) or "format" not in found:
        raise InputError(place, f"expected what rnn writes there, got {text[:40]!r}")
    if found["format"] != form:
        raise InputError(place, f"of format {found['format']!r:.40}, expected {form}")
    return found


def _plain(setting: Any) -> Any:
    if isinstance(setting, Activation):
        return str(setting)
    return None if setting == inf else setting


def _completed(place: str, layer: LayerSpec, found: Any) -> LayerSpec:
    direction, merge, cells = (
        _object(place, found).get(n) for n in ("direction", "merge", "cells")
    )
    directions = choice(f"{place}: direction", str(direction), DIRECTIONS)
    choice(f"{place}: merge", str(merge), MERGES)
    in_names = layer.settings.get("direction")
    if in_names not in (None, direction) or len(directions) != len(layer.cells):
        got = in_names or "one direction"
        raise InputError(place, f"{direction}, the file's tensors are of {got}")
    if not isinstance(cells, list) or len(cells) != len(layer.cells):
        what = f"cells: expected a list of {len(layer.cells)}, got {cells!r:.40}"
        raise InputError(place, what)
    completed = (
        cell._replace(
            settings={
                "activation": _activation(place, _object(place, each).get("activation")),
                "clip": _clip(place, each.get("clip")),
            }
        )
        for cell, each in zip(layer.cells, cells, strict=True)
    )
    return layer._replace(
        cells=tuple(completed), settings={"direction": str(direction), "merge": str(merge)}
    )


def _object(place: str, found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise InputError(place, f"expected an object, got {found!r:.40}")
    return found


def _activation(place: str, found: Any) -> Activation:
    try:
        return parse(str(found))
    except ValueError as error:
        raise InputError(place, one_line(error)) from error


def _clip(place: str, found: Any) -> float:
    if found is None:
        return inf
    if type(found) not in (int, float) or not 0 < found <= sys.float_info.max:
        raise InputError(place, f"clip: expected null or a number over 0, got {found!r:.40}")
    return float(found)
