"""PyTorch's own files: ``.pt`` and its kin, as ``torch.save`` and ``torch.jit.save`` write them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import prod

from rnncli.model.errors import InputError
from rnncli.model.formats import names
from rnncli.model.formats.parts import Find, Model, Part
from rnncli.model.formats.tensors import Entry, Tensors
from rnncli.model.formats.torch import modules
from rnncli.model.formats.torch.names import find_stacks
from rnncli.model.formats.torch.objects import Objects
from rnncli.model.formats.torch.stored import opened_file

# How much memory tensors may take: so many times the file, since some share their values, or so
# many bytes if that is more.
_MOST_TIMES = 2
_MOST_BYTES = 16 * 2**20


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open a file that PyTorch wrote; see `FORMATS`."""
    with opened_file(path) as stored:
        objects = Objects(path, stored.value, stored.code)
        total = sum(
            prod(tensor.entry.shape) * tensor.storage.width for tensor in objects.tensors.values()
        )
        if total > max(_MOST_BYTES, _MOST_TIMES * os.path.getsize(path)):
            what = f"holds tensors of {total:,} bytes, over {_MOST_TIMES} times its own"
            raise InputError(path, what, "save those that share their values alone")
        entries = {name: tensor.entry for name, tensor in objects.tensors.items()}
        tensors = Tensors(
            path, entries, lambda names: [stored.read(objects.tensors[name]) for name in names]
        )
        yield partial(_find, tensors, objects)


def _find(tensors: Tensors, objects: Objects, layer: str | None) -> Model:
    """Find the model: modules, if some of them are recurrent, or else a state dict."""
    if any(modules.is_recurrent(tensors, module) for module in objects.modules):
        return modules.find_model(tensors, objects.modules, layer)
    below = tensors.under(layer)
    dicts = {owner: below._replace(entries=held) for owner, held in _held(below, objects)}
    found = {owner: each for owner, each in dicts.items() if find_stacks(each)}
    chosen = next(iter(found.values())) if len(found) == 1 else below
    model = names.find_model(chosen, ordered=True)
    beside = [part for part in objects.others if part.name.startswith(below.prefix)]
    beside += [
        Part(owner, "", list(each.entries), why="is no recurrent layer by its names")
        for owner, each in dicts.items()
        if chosen is not below and chosen is not each
    ]
    return model._replace(tensors=below, parts=[*model.parts, *beside], title="PyTorch")


def _held(tensors: Tensors, objects: Objects) -> Iterator[tuple[str, dict[str, Entry]]]:
    """Return the tensors that each state dict holds."""
    for owner, own in objects.owners.items():
        short = [
            name.removeprefix(tensors.prefix) for name in own if name.startswith(tensors.prefix)
        ]
        if short:
            yield owner, {name: tensors.entries[name] for name in short}
