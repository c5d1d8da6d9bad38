"""Our own names: ``W_xh``, ``W_hh``, ``b_h``, or ``layer_1.forward.W_xh`` and so on."""

import re
from collections.abc import Mapping

from rnncli.model.arrays import Floats
from rnncli.model.cells import WEIGHT_NAMES
from rnncli.model.formats.tensors import Entry, NamedCell, NamedLayer, NamedNetwork, listed
from rnncli.model.layers import DIRECTIONS
from rnncli.model.network import Network

_LONG = re.compile(r"layer_([1-9][0-9]{0,3})\.(forward|backward)\.(W_xh|W_hh|b_h)")
_EXPECTED = (
    "expected W_xh, W_hh and b_h, or for several layers or directions layer_1.forward.W_xh, "
    "layer_1.backward.W_hh, layer_2.forward.b_h, ..."
)


def name_tensors(network: Network) -> dict[str, Floats]:
    """Name a network's arrays; those of a single cell by the short names."""
    single = len(network.cells) == 1
    return {
        name if single else f"layer_{part.layer}.{part.direction}.{name}": array
        for part in network.parts()
        for name, array in zip(WEIGHT_NAMES, part.cell.weights, strict=True)
    }


def find_network(entries: Mapping[str, Entry]) -> NamedNetwork:
    """Find the network that these names tell of.

    A single cell by the short names leaves its direction open.

    Raises
    ------
    ValueError
        A name is none of ours, or one that must stand beside others is
        missing.
    """
    short = [name for name in entries if name in WEIGHT_NAMES]
    matches = {name: _LONG.fullmatch(name) for name in entries}
    unknown = [name for name, match in matches.items() if not match and name not in short]
    if unknown or not entries:
        hint = _layer_hint(unknown)
        raise ValueError(f"{_EXPECTED}, got {listed(unknown)}{hint}")
    if short and len(short) < len(entries):
        other = next(name for name in entries if name not in short)
        raise ValueError(f"expected one of the two, {short[0]} or {other}, got both")
    if short:
        return NamedNetwork((NamedLayer((_cell(entries, ""),)),))
    places = {(int(m[1]), m[2]) for m in matches.values() if m}
    top = max(number for number, _ in places)
    if len({number for number, _ in places}) < top:
        first = next(n for n in range(1, top + 1) if not {(n, "forward"), (n, "backward")} & places)
        raise ValueError(f"has layer_{top}, but no layer_{first}: layers are counted from 1")
    return NamedNetwork(tuple(_layer(entries, places, n) for n in range(1, top + 1)))


def _layer(entries: Mapping[str, Entry], places: set[tuple[int, str]], number: int) -> NamedLayer:
    found = tuple(each for each in ("forward", "backward") if (number, each) in places)
    direction = next(name for name, cells in DIRECTIONS.items() if cells == found)
    return NamedLayer(tuple(_cell(entries, f"layer_{number}.{each}.") for each in found), direction)


def _cell(entries: Mapping[str, Entry], stem: str) -> NamedCell:
    bias = f"{stem}b_h"
    return NamedCell(f"{stem}W_xh", f"{stem}W_hh", (bias,) if bias in entries else ())


def _layer_hint(names: list[str]) -> str:
    """Point to --layer, where names hold ours under another."""
    stems = {name[:-5] for name in names if re.search(r"[./]W_hh\Z", name)}
    return f" (--layer {listed(sorted(stems))}?)" if stems else ""
