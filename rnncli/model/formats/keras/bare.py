"""Weights of Keras without a config: recurrent layers by the names and shapes of their arrays."""

from collections.abc import Container, Iterator
from itertools import chain

from rnncli.model.activations import SIGMOID, TANH, parse
from rnncli.model.errors import InputError, listed, verbatim
from rnncli.model.formats.keras.layouts import of_cudnn
from rnncli.model.formats.keras.names import ROLES, find_owners, find_stacks
from rnncli.model.formats.keras.places import SEEDS, Stored, listed_arrays, version_of
from rnncli.model.formats.keras.recurrent import SIGMOID_SINCE
from rnncli.model.formats.keras.settings import HARD_SIGMOID
from rnncli.model.formats.names import find_model
from rnncli.model.formats.parts import Model
from rnncli.model.formats.spec import LayerSpec, cell_of
from rnncli.model.formats.tensors import Derived, Tensors

_GATED = ("lstm", "gru")
_EXPECTED = ": expected Keras's names (.../kernel, .../recurrent_kernel, ...)"
_ALONE = "holds weights alone: directions (`direction`) and activations are not in the file"


def find(stored: Stored, layer: str | None) -> Model:
    """Find the recurrent layers in a file of weights, or one of them."""
    try:
        tensors = _renamed(stored).under(layer)
    except InputError as error:
        raise InputError(error.place or stored.tensors.path, error.what, error.hint) from error
    packed = dict(_from_cudnn(tensors))
    tensors = tensors.with_derived(packed)
    hard = version_of(stored) < SIGMOID_SINCE
    stacks = find_stacks(tensors, ordered=listed_arrays(stored) is not None)
    model = find_model(tensors, stacks=stacks)
    parts = [
        part._replace(layers=[_completed(spec, packed, hard=hard) for spec in part.layers])
        for part in model.parts
    ]
    notes, taken = [_ALONE, *model.notes], [part.name for part in parts if part.recurrent]
    if model.ordered and len(taken) > 1:
        named = verbatim(listed(taken))
        notes.append(f"takes {named} one above the other: names do not tell how they are joined")
    title = f"Keras {stored.version}".rstrip()
    return model._replace(parts=parts, title=title, notes=notes, expected=_EXPECTED)


def _completed(spec: LayerSpec, packed: Container[str], *, hard: bool) -> LayerSpec:
    """Add what is known of cuDNN's cells, and what was usual in others before `SIGMOID_SINCE`."""
    cells = []
    for cell in spec.cells:
        if cell.tensors["W_xh"] in packed:
            usual = {"activation": TANH, "recurrent_activation": SIGMOID}
            cells.append(cell._replace(settings={**usual, **cell.settings}))
        elif hard and cell.cell in _GATED:
            assumed = {"recurrent_activation": parse(HARD_SIGMOID[True])}
            cells.append(cell._replace(assumed=assumed))
        else:
            cells.append(cell)
    return spec._replace(cells=tuple(cells))


def _renamed(stored: Stored) -> Tensors:
    """Name tensors as attributes list them, where there are such: as `Variable.path`."""
    entries, arrays = stored.tensors.entries, listed_arrays(stored)
    if arrays is None:
        named = {name: entry for name, entry in entries.items() if SEEDS not in name}
        return stored.tensors._replace(entries=named)
    paths: dict[str, str] = {}
    for name, path in chain.from_iterable(arrays.values()):
        paths[path if name in paths else name] = path
    return Tensors(
        stored.tensors.path,
        {name: entries[path] for name, path in paths.items() if path in entries},
        lambda names: stored.tensors.read([paths[name] for name in names]),
    )


def _from_cudnn(tensors: Tensors) -> Iterator[tuple[str, Derived]]:
    """Yield today's arrays in place of cuDNN's, whose bias is two in one row."""
    for names in find_owners(tensors).values():
        if len(names) == len(ROLES):
            kernel, recurrent, bias = (names[role] for role in ROLES)
            cell = cell_of(tensors, {"W_xh": kernel, "W_hh": recurrent})
            width = tensors.entries[recurrent].shape[-1:]
            if cell in _GATED and tensors.entries[bias].shape == (2 * width[0],):
                each = (kernel, recurrent, bias)
                yield from zip(each, of_cudnn(cell, each, tensors.entries), strict=True)
