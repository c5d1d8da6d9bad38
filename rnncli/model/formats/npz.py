"""NumPy's ``.npz``: an archive of arrays, under names of our own.

They are ``W_xh``, ``W_hh`` and ``b_h``, or ``layer_1.forward.W_xh`` and so on;
those of a layer without state ``layer_2.W``.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.errors import InputError, listed, verbatim
from rnncli.model.formats.containers.archive import MOST_MEMBERS, opened
from rnncli.model.formats.metadata import metadata_text, with_metadata
from rnncli.model.formats.parts import Find, Model, Part
from rnncli.model.formats.spec import CellSpec, LayerSpec, cell_of
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import DIRECTIONS, LAYERS, Layer
from rnncli.model.network import Network

# The array of text that holds our metadata.
_METADATA = "about"
# Enough for 9,999 layers; as JSON the characters may take several times as much.
_METADATA_MOST = 4 * 2**20
_STATELESS = dict.fromkeys(name for layer in LAYERS.values() for name in layer.array_names)
_LONG = re.compile(
    r"layer_([1-9][0-9]{0,3})\."
    rf"(?:(forward|backward)\.(?:{'|'.join(Weights._fields)})|({'|'.join(_STATELESS)}))"
)
_EXPECTED = (
    "expected W_xh, W_hh and b_h, or for several layers or directions layer_1.forward.W_xh, "
    "layer_1.backward.W_hh, layer_2.forward.b_h, ..."
)


# What NumPy calls arrays that are given without a name.
_UNNAMED = re.compile(r"arr_[0-9]+")


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open an ``.npz`` file; see `FORMATS`."""
    with opened(path) as archive:
        entries = {name: member.entry for name, member in archive.members.items()}
        metadata = None
        if entries.pop(_METADATA, None):
            metadata = archive.place(_METADATA), archive.text(_METADATA, _METADATA_MOST)

        taken: set[str] = set()

        def read(names: Sequence[str]) -> list[NDArray[Any]]:
            taken.update(names)
            archive.check_sizes(taken)
            return [archive.array(name) for name in names]

        tensors = Tensors(path, entries, read, metadata)
        yield lambda layer: _find(tensors.under(layer))


def _find(tensors: Tensors) -> Model:
    """Find the layers that names and metadata tell of."""
    if not _ours(tensors):
        return _find_others(tensors)
    specs, last = with_metadata(tensors, _layers(tensors))
    parts = []
    for number, spec in enumerate(specs, start=1):
        kind = spec.kind or " ".join(dict.fromkeys(cell.cell for cell in spec.cells))
        parts.append(Part(f"layer_{number}", kind, spec.names, [spec]))
    return Model(tensors, parts, last=last)


def _ours(tensors: Tensors) -> bool:
    """Return whether names are our own, or would be where `layer` is given."""
    names = tensors.entries.keys()
    short = "W_xh" in names or (bool(names) and names <= set(Weights._fields))
    own = short or any(map(_LONG.fullmatch, names)) or bool(_layer_hint(names))
    return own or tensors.metadata is not None


def _find_others(tensors: Tensors) -> Model:
    """Find the layers that names of others tell of, as in ``.safetensors``."""
    if tensors.entries and all(map(_UNNAMED.fullmatch, tensors.entries)):
        what = f"its arrays have no names: {listed(tensors.entries)}"
        raise InputError(
            tensors.path, what, "write them by names: numpy.savez(file, W_xh=..., W_hh=...)"
        )
    from rnncli.model.formats.names import find_model  # 5 ms that our own files do not need

    model = find_model(tensors)
    return model._replace(
        expected=f": {_EXPECTED}; or {model.expected.removeprefix(': expected ')}"
    )


def _layers(tensors: Tensors) -> list[LayerSpec]:
    """Find the layers that these names tell of.

    A single cell by the short names leaves its direction open. Only with
    metadata, there may be layers without state.
    """
    ours = tensors.metadata is not None
    short = [name for name in tensors.entries if name in Weights._fields]
    matches = {name: _LONG.fullmatch(name) for name in tensors.entries if name not in short}
    unknown = [name for name, match in matches.items() if not match or not (match[2] or ours)]
    if unknown or not (tensors.entries or ours):
        stateless = any(matches[name] for name in unknown)
        hint = "rnncli.save writes layers without state" if stateless else _layer_hint(unknown)
        raise InputError(tensors.path, f"{_EXPECTED}, got {listed(unknown)}", hint)
    if short and matches:
        raise tensors.both(short[0], next(iter(matches)))
    if short:
        return [LayerSpec((_cell(tensors, ""),))]
    layers: dict[int, list[re.Match[str]]] = {}
    for match in filter(None, matches.values()):
        layers.setdefault(int(match[1]), []).append(match)
    top = max(layers, default=0)
    for number in range(1, top):
        if number not in layers and not ours:
            what = f"has layer_{top}, but no layer_{number}: layers are counted from 1"
            raise InputError(tensors.path, what)
    return [_layer(tensors, number, layers.get(number, [])) for number in range(1, top + 1)]


def save_model(file: BinaryIO, network: Network) -> list[str]:
    """Write layers as an uncompressed ``.npz`` file, under our own names."""
    named = _name_arrays(network.layers)
    arrays: dict[str, Any] = {_METADATA: np.array(metadata_text(network, named)), **named}
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


def _layer(tensors: Tensors, number: int, matches: Sequence[re.Match[str]]) -> LayerSpec:
    own = {match[3]: match[0] for match in matches if match[3]}
    ways = {match[2] for match in matches if match[2]}
    if not ways:
        return LayerSpec(tensors=own)
    direction, found = next(item for item in DIRECTIONS.items() if set(item[1]) == ways)
    cells = (_cell(tensors, f"layer_{number}.{each}.") for each in found)
    return LayerSpec(tuple(cells), {"direction": direction}, tensors=own)


def _cell(tensors: Tensors, stem: str) -> CellSpec:
    """Name a cell's arrays, also those that should be there and are not."""
    optional = [role for role in Weights._fields[2:] if f"{stem}{role}" in tensors.entries]
    names = {role: f"{stem}{role}" for role in ("W_xh", "W_hh", *optional)}
    # Only a GRU that resets after the product keeps this bias apart.
    settings = {"reset": "after"} if "b_n" in names else {}
    kind = cell_of(tensors, names)
    if kind == "gru" and "b_h" in names and len(tensors.entries[names["b_h"]].shape) == 2:
        what = "expected a single bias, got two axes, as Keras's GRU has it"
        hint = "save the model as .keras, which is read"
        raise InputError(tensors.place(names["b_h"]), what, hint)
    return CellSpec(names, kind, settings)


def _layer_hint(names: Iterable[str]) -> str:
    """Return what to pick, where names hold ours under another."""
    stems = {name[:-5] for name in names if re.search(r"[./]W_hh\Z", name)}
    return f" (`layer` {verbatim(listed(sorted(stems)))}?)" if stems else ""
