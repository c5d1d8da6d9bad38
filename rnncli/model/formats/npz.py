"""NumPy's ``.npz``: an archive of arrays, under names of our own.

They are ``W_xh``, ``W_hh`` and ``b_h``, or ``layer_1.forward.W_xh`` and so on;
those of a layer without state ``layer_2.W``.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.errors import InputError, listed, shown
from rnncli.model.formats.containers.archive import MOST_MEMBERS, read_archive
from rnncli.model.formats.found import (
    CellDraft,
    Draft,
    Found,
    Part,
    find_kind,
    kind_of,
    read_floats,
)
from rnncli.model.formats.own import read_layers, write_text
from rnncli.model.layers import DIRECTIONS, LAYERS, Layer, Stateless
from rnncli.model.network import Network

# The array of text that says what the weights do not.
_TEXT = "about"
# Enough for 9,999 layers; as JSON the characters may take several times as much.
_TEXT_MOST = 4 * 2**20
_STATELESS = dict.fromkeys(name for layer in LAYERS.values() for name in layer.array_names)
_LONG = re.compile(
    r"layer_([1-9][0-9]{0,3})\."
    rf"(?:(forward|backward)\.({'|'.join(Weights._fields)})|({'|'.join(_STATELESS)}))"
)
# What NumPy calls arrays that are given without a name.
_UNNAMED = re.compile(r"arr_[0-9]+")
_EXPECTED = (
    "expected W_xh, W_hh and b_h, or for several layers or directions layer_1.forward.W_xh, "
    "layer_1.backward.W_hh, layer_2.forward.b_h, ..."
)


def read(data: bytes, path: str) -> Found:
    """Read an ``.npz`` file."""
    arrays = read_archive(data, path)
    text = arrays.pop(_TEXT, None)
    if text is None and not arrays.keys() <= {*Weights._fields, *filter(_LONG.fullmatch, arrays)}:
        return _read_others(arrays, path)
    if not arrays and text is None:
        raise InputError(path, f"{_EXPECTED}, got nothing")
    matches = {
        n: match for n in arrays if n not in Weights._fields and (match := _LONG.fullmatch(n))
    }
    short = [name for name in arrays if name not in matches]
    if (short and matches) or not {*short} <= {*Weights._fields}:
        what = f"{_EXPECTED}, not both, got {listed(short)} and {listed(matches)}"
        raise InputError(path, what)
    named = [Draft((_cell(path, arrays, ""),))] if short else _layers(path, arrays, matches)
    layers: list[Draft | Stateless] = [layer for layer in named if isinstance(layer, Draft)]
    last = None
    if text is not None:
        layers, last = _complete(path, text, arrays, named)
    elif len(layers) < len(named):
        what = "has arrays of layers without state, or layers that are not counted from 1"
        raise InputError(path, what, "rnncli.save writes such layers, and says what they are")
    parts = []
    for number, layer in enumerate(layers, start=1):
        own = {n: a for n, a in arrays.items() if n in short or int(matches[n][1]) == number}
        parts.append(Part(f"layer_{number}", kind_of(layer), own, [layer]))
    return Found(parts, last=last)


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as an uncompressed ``.npz`` file, under our own names."""
    named = _name_arrays(network.layers)
    arrays: dict[str, Any] = {_TEXT: np.array(write_text(network, named)), **named}
    if len(arrays) > MOST_MEMBERS:
        what = f"expected at most {MOST_MEMBERS:,} arrays in an .npz file, got {len(arrays):,}"
        raise InputError("", what, "write .safetensors")
    np.savez(file, **arrays)
    return []


def _name_arrays(layers: Sequence[Layer]) -> dict[str, Floats]:
    """Name the arrays of layers; those of a single cell by the short names."""
    named: dict[str, Floats] = {}
    for number, layer in enumerate(layers, start=1):
        named |= {f"layer_{number}.{name}": array for name, array in layer.arrays.items()}
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            stem = f"layer_{number}.{direction}." if len(layers) + len(layer.cells) > 2 else ""
            named |= {f"{stem}{name}": array for name, array in cell.weights.arrays.items()}
    return named


def _complete(
    path: str,
    text: NDArray[Any],
    arrays: Mapping[str, NDArray[Any]],
    layers: Sequence[Draft | Mapping[str, Floats]],
) -> tuple[list[Draft | Stateless], str | None]:
    place = f"{path}: {_TEXT}"
    if text.dtype.kind != "U" or text.nbytes > _TEXT_MOST:
        what = f"expected text, as rnn writes it, got {text.nbytes:,} bytes of {text.dtype}"
        raise InputError(place, what)
    return read_layers(place, str(text), arrays, layers)


def _read_others(arrays: Mapping[str, NDArray[Any]], path: str) -> Found:
    """Find the cells of our names behind others, ``encoder.W_hh``, or layers by PyTorch's names."""
    if arrays and all(map(_UNNAMED.fullmatch, arrays)):
        what = f"its arrays have no names: {listed(arrays)}"
        hint = "write them by names: numpy.savez(file, W_xh=..., W_hh=...)"
        raise InputError(path, what, hint)
    stems = sorted({name[:-4] for name in arrays if re.search(r"(^|[./_])W_hh\Z", name)})
    if not stems:
        from rnncli.model.formats.names import find_arrays  # 5 ms that our own files do not need

        found = find_arrays(arrays, path)
        more = found.expected.removeprefix(": expected ")
        return found._replace(expected=f": {_EXPECTED}; or {more}")
    parts = []
    for stem in stems:
        own = {n: a for n, a in arrays.items() if n.removeprefix(stem) in Weights._fields}
        draft = Draft((_cell(path, own, stem),))
        parts.append(Part(stem.rstrip("._/"), kind_of(draft), own, [draft]))
    known = {name for part in parts for name in part.arrays}
    others = [name for name in arrays if name not in known]
    if others and "" in stems:
        raise InputError(path, f"{_EXPECTED}, got {listed(others)}")
    why = "rnncli.save writes layers without state, and says what they are"
    parts += [Part(name, "", {name: arrays[name]}, why=why, needed=True) for name in others]
    return Found(parts, ordered=False)


def _layers(
    path: str, arrays: Mapping[str, NDArray[Any]], matches: Mapping[str, re.Match[str]]
) -> list[Draft | dict[str, Floats]]:
    """Make the layers of the long names; one without state is its arrays."""
    layers: list[Draft | dict[str, Floats]] = []
    for number in range(1, max((int(match[1]) for match in matches.values()), default=0) + 1):
        own = [match for match in matches.values() if int(match[1]) == number]
        ways = {match[2] for match in own if match[2]}
        if not ways:
            layers.append({m[4]: read_floats(path, m[0], arrays[m[0]]) for m in own})
            continue
        if stray := next((match[0] for match in own if match[4]), ""):
            raise InputError(f"{path}: {stray}", "a recurrent layer has none")
        direction, order = next(item for item in DIRECTIONS.items() if {*item[1]} == ways)
        cells = [_cell(path, arrays, f"layer_{number}.{way}.") for way in order]
        layers.append(Draft(tuple(cells), {"direction": direction}))
    return layers


def _cell(path: str, arrays: Mapping[str, NDArray[Any]], stem: str) -> CellDraft:
    names = {role: f"{stem}{role}" for role in Weights._fields if f"{stem}{role}" in arrays}
    for role in ("W_xh", "W_hh"):
        if role not in names:
            raise InputError(path, f"has no {shown(stem + role)}")
    weights = {role: read_floats(path, name, arrays[name]) for role, name in names.items()}
    kind = find_kind(path, weights["W_hh"], names)
    if kind == "gru" and "b_h" in weights and weights["b_h"].ndim == 2:
        what = "expected a single bias, got two axes, as Keras's GRU has it"
        hint = "save the model as .keras, which is read"
        raise InputError(f"{path}: {shown(names['b_h'])}", what, hint)
    W_hh = weights["W_hh"]
    weights.setdefault("b_h", np.zeros(W_hh.shape[1], W_hh.dtype))
    # Only a GRU that resets after the product has this bias.
    settings = {"reset": "after"} if "b_n" in names else {}
    return CellDraft(kind, Weights(**weights), settings, names=names)
