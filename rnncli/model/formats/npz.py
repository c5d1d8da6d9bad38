"""NumPy's ``.npz``: an archive of arrays, under names of our own.

They are ``W_xh``, ``W_hh`` and ``b_h``, or ``layer_1.forward.W_xh`` and so on;
those of a layer without state ``layer_2.W``.
"""

import re
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.errors import InputError, listed
from rnncli.model.formats.containers.archive import MOST_MEMBERS, read_archive
from rnncli.model.formats.found import (
    CellDraft,
    Draft,
    FileLayer,
    Found,
    Part,
    find_kind,
    kind_of,
    read_floats,
)
from rnncli.model.formats.own import read_layers, write_text
from rnncli.model.layers import DIRECTIONS, LAYERS
from rnncli.model.network import Network

# The array of text that says what the weights do not.
_TEXT = "about"
# Enough for 9,999 layers; as JSON the characters may take several times as much.
_TEXT_MOST = 4 * 2**20
_ROLES = "|".join(
    dict.fromkeys([*Weights._fields, *(n for each in LAYERS.values() for n in each.array_names)])
)
_NAME = re.compile(rf"(?:layer_([1-9][0-9]{{0,3}})\.(?:(forward|backward)\.)?)?({_ROLES})")
_EXPECTED = (
    "expected W_xh, W_hh and b_h, or for several layers or directions layer_1.forward.W_xh, "
    "layer_1.backward.W_hh, layer_2.forward.b_h, ..."
)


def read(data: bytes, path: str) -> Found:
    """Read an ``.npz`` file."""
    arrays = read_archive(data, path)
    text = arrays.pop(_TEXT, None)
    matches = [match for match in map(_NAME.fullmatch, arrays) if match]
    if len(matches) < len(arrays) and text is None:
        from rnncli.model.formats.names import find_arrays  # 5 ms that our own files do not need

        found = find_arrays(arrays, path)
        more = found.expected.removeprefix(": expected ")
        return found._replace(expected=f": {_EXPECTED}; or {more}")
    # The names of arrays by role, in each layer and direction.
    names: dict[int, dict[str, dict[str, str]]] = {}
    for match in matches:
        ways = names.setdefault(int(match[1] or 1), {})
        ways.setdefault(match[2] or "", {})[match[3]] = match[0]
    count = sum(len(way) for ways in names.values() for way in ways.values())
    if count < len(arrays) or (not arrays and text is None):
        raise InputError(path, f"{_EXPECTED}, got {listed(arrays)}")
    named = [_read_layer(path, arrays, names.get(n + 1, {})) for n in range(max(names, default=0))]
    layers: list[FileLayer] = [layer for layer in named if isinstance(layer, Draft)]
    last = None
    if text is not None:
        place = f"{path}: {_TEXT}"
        if text.dtype.kind != "U" or text.nbytes > _TEXT_MOST:
            what = f"expected text, as rnn writes it, got {text.nbytes:,} bytes of {text.dtype}"
            raise InputError(place, what)
        layers[:], last = read_layers(place, str(text), arrays, named)
    elif len(layers) < len(named):
        what = "has arrays of layers without state, or layers that are not counted from 1"
        raise InputError(path, what, "rnncli.save writes such layers, and says what they are")
    parts = []
    for number, layer in enumerate(layers, start=1):
        own = [name for way in names.get(number, {}).values() for name in way.values()]
        mine = {name: arrays[name] for name in own}
        parts.append(Part(f"layer_{number}", kind_of(layer), mine, [layer]))
    return Found(parts, last=last)


def _read_layer(
    path: str, arrays: Mapping[str, NDArray[Any]], ways: Mapping[str, Mapping[str, str]]
) -> Draft | dict[str, Floats]:
    """Read a layer whose arrays are named by direction and role; one without state is these."""
    if {*ways} <= {""} and not {"W_xh", "W_hh"} & {*ways.get("", ())}:
        return {r: read_floats(path, n, arrays[n]) for r, n in ways.get("", {}).items()}
    if {*ways} == {""}:
        return Draft((_read_cell(path, arrays, ways[""]),))
    for direction, order in DIRECTIONS.items():
        if {*order} == {*ways}:
            cells = tuple(_read_cell(path, arrays, ways[way]) for way in order)
            return Draft(cells, {"direction": direction})
    every = [name for way in ways.values() for name in way.values()]
    raise InputError(path, f"{_EXPECTED}, got {listed(every)}")


def _read_cell(
    path: str, arrays: Mapping[str, NDArray[Any]], names: Mapping[str, str]
) -> CellDraft:
    for role in ("W_xh", "W_hh"):
        if role not in names:
            raise InputError(path, f"has no {role} beside {listed(names.values())}")
    weights = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
    W_hh = weights["W_hh"]
    kind = find_kind(path, W_hh, names)
    weights.setdefault("b_h", np.zeros(W_hh.shape[1], W_hh.dtype))
    # Only a GRU that resets after the product has this bias.
    settings = {"reset": "after"} if "b_n" in names else {}
    return CellDraft(kind, Weights(**weights), settings, names=names)


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as an uncompressed ``.npz`` file; those of a single cell by the short names."""
    arrays: dict[str, Any] = {}
    layers = network.layers
    for number, layer in enumerate(layers, start=1):
        arrays |= {f"layer_{number}.{name}": array for name, array in layer.arrays.items()}
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            stem = f"layer_{number}.{direction}." if len(layers) + len(layer.cells) > 2 else ""
            arrays |= {f"{stem}{name}": array for name, array in cell.weights.arrays.items()}
    if len(arrays) >= MOST_MEMBERS:
        what = f"expected under {MOST_MEMBERS:,} arrays in an .npz file, got {len(arrays):,}"
        raise InputError("", what, "write .safetensors")
    np.savez(file, **{_TEXT: np.array(write_text(network, arrays)), **arrays})
    return []
