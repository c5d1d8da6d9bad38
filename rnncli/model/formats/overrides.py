"""What the caller says of a network where its file is silent, and what is assumed then."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any

from rnncli.model.activations import SIGMOID, TANH
from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError
from rnncli.model.formats.spec import LayerSpec, cell_setting
from rnncli.model.formats.tensors import Tensors
from rnncli.model.layers import MERGES, merged_size, per_cell

# Merges that give as many values as one direction.
_NARROW = ", ".join(name for name in MERGES if merged_size(1, "bidirectional", name) == 1)
# What is not said of settings that frameworks leave out of their files, and what is taken.
_ASSUMED: dict[str, tuple[str, Any]] = {
    "activation": ("does not name the activation", TANH),
    "recurrent_activation": ("does not name the activation of the gates", SIGMOID),
    "reset": ("does not say whether r multiplies after or before the product", "after"),
}


def with_overrides(
    tensors: Tensors,
    layers: Sequence[LayerSpec],
    sizes: Sequence[tuple[int, int] | None],
    overrides: Mapping[str, Any],
) -> list[LayerSpec]:
    """Fill in what the caller says where the file is silent."""
    given = _given(tensors.path, layers, overrides)
    done = []
    for number, (layer, size, above) in enumerate(
        zip(layers, sizes, [*sizes[1:], None], strict=True), start=1
    ):
        if size is None:
            done.append(layer)
            continue
        place, H, taken = f"{tensors.path}: layer {number}", size[1], above[0] if above else None
        settings = _layer_settings(place, layer, H, taken, overrides)
        cells = tuple(
            cell._replace(settings=_agreed(place, cell.settings, next(given)))
            for cell in layer.cells
        )
        width = merged_size(H, settings["direction"], settings.get("merge", "concat"))
        if taken not in (None, width):
            raise InputError(
                tensors.place(layers[number].cells[0].tensors["W_xh"]),
                f"expected an input size of {width}, as the layer below gives so many values a "
                f"step, got {taken}",
            )
        done.append(layer._replace(cells=cells, settings=settings))
    if "merge" in overrides and all(len(layer.cells) < 2 for layer in layers):
        raise InputError(tensors.path, "has no bidirectional layer", "leave `merge` out")
    return done


def assumptions(layers: Sequence[LayerSpec]) -> list[str]:
    """Return a sentence for each thing that nothing tells of complete layers."""
    cells = [cell for layer in layers for cell in layer.cells]
    found = []
    for name, (sentence, default) in _ASSUMED.items():
        silent = [
            cell
            for cell in cells
            if name in CELLS[cell.cell].setting_names and name not in cell.settings
        ]
        taken = dict.fromkeys(str(cell.assumed.get(name, default)) for cell in silent)
        if taken:
            found.append(f"{sentence}: {', '.join(taken)} is taken (`{name}`)")
    if any(len(layer.cells) == 2 and "merge" not in layer.settings for layer in layers):
        found.append("does not say how directions are merged: concat is taken (`merge`)")
    return found


def _given(
    path: str, layers: Sequence[LayerSpec], overrides: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Return what the caller says of each cell, layer by layer."""
    recurrent = [layer.cells for layer in layers if layer.cells]
    cells = [cell for each in recurrent for cell in each]
    given: list[dict[str, Any]] = [{} for _ in cells]
    for name in overrides.keys() - {"direction", "merge"}:
        having = [kind for kind in CELLS if name in CELLS[kind].setting_names]
        if not any(cell.cell in having for cell in cells):
            kinds = " or ".join(CELLS[kind].__name__ for kind in having)
            raise InputError(path, f"has no {kinds}", f"leave `{name}` out")
        values = per_cell(f"{path}: {name}", overrides[name], list(map(len, recurrent)))
        for known, cell, value in zip(given, cells, values, strict=True):
            if cell.cell in having:
                known[name] = cell_setting(cell.cell, name, value)
    return iter(given)


def _layer_settings(
    place: str, layer: LayerSpec, H: int, taken: int | None, overrides: Mapping[str, Any]
) -> dict[str, Any]:
    """Complete the settings of a layer; `taken` is the input size of the one above, if any."""
    known, given = dict(layer.settings), {"direction", "merge"} & overrides.keys()
    two = len(layer.cells) == 2
    if not two:
        given -= {"merge"}
    elif "merge" not in known and taken == 2 * H:
        known["merge"] = "concat"
    elif "merge" not in known and taken == H and overrides.get("merge", "concat") == "concat":
        raise InputError(
            place,
            f"the layer above takes {taken} values a step, as many as one direction gives, so the "
            "two are not concatenated",
            f"give `merge`, one of {_NARROW}",
        )
    settings = _agreed(place, known, {name: overrides[name] for name in given})
    if not two and settings.get("direction") == "bidirectional":
        hint = " `direction` bidirectional was given: leave it out"
        raise InputError(place, "the file holds one direction,", hint)
    return {"direction": "forward"} | settings


def _agreed(place: str, known: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file says, and else what is given."""
    for name in known.keys() & given.keys():
        if known[name] != given[name]:
            text = "none" if known[name] == inf else known[name]
            hint = f" `{name}` {given[name]} was given: leave it out"
            raise InputError(place, f"the file says {name} {text},", hint)
    return {**given, **known}
