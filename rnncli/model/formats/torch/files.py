"""PyTorch's own files: ``.pt`` and its kin, as ``torch.save`` and ``torch.jit.save`` write them."""

import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod

from rnncli.model.errors import InputError, listed, verbatim
from rnncli.model.formats import names
from rnncli.model.formats.containers import MOST_TIMES, most_unpacked
from rnncli.model.formats.parts import Find, Model, Part
from rnncli.model.formats.tensors import FLOATS, Entry, Tensors
from rnncli.model.formats.torch import modules
from rnncli.model.formats.torch.heads import way_out
from rnncli.model.formats.torch.names import find_stacks
from rnncli.model.formats.torch.objects import SCRIPT, Objects
from rnncli.model.formats.torch.script import read_forward
from rnncli.model.formats.torch.stored import opened_file


@contextmanager
def open_model(path: str) -> Iterator[Find]:
    """Open a file that PyTorch wrote; see `FORMATS`."""
    with opened_file(path) as stored:
        objects = Objects(path, stored.value, stored.code)
        total = sum(
            prod(tensor.entry.shape) * tensor.storage.width for tensor in objects.tensors.values()
        )
        if total > most_unpacked(os.path.getsize(path)):  # some share their values
            what = f"holds tensors of {total:,} bytes, over {MOST_TIMES} times its own"
            raise InputError(path, what, "save those that share their values alone")
        entries = {name: tensor.entry for name, tensor in objects.tensors.items()}
        tensors = Tensors(
            path, entries, lambda names: [stored.read(objects.tensors[name]) for name in names]
        )
        yield partial(_find, tensors, objects)


def _find(tensors: Tensors, objects: Objects, layer: str | None) -> Model:
    """Find the model: modules, if some of them are recurrent, or else a state dict."""
    own = {name for module in objects.modules for name in module.tensors}
    picked = layer and f"{layer.rstrip('./')}."
    loose = picked and any(name.startswith(picked) for name in tensors.entries.keys() - own)
    if not loose and any(modules.is_recurrent(tensors, module) for module in objects.modules):
        read = partial(read_forward, objects.classes, objects.code, objects.modules)
        scripted = all(kind.startswith(SCRIPT) for kind in objects.classes.values())
        model = modules.find_model(
            tensors, objects.modules, objects.classes, layer, read if scripted else None
        )
        beside = [] if layer else _beside(objects, tensors, own)
    else:
        tensors = tensors.under(layer)
        dicts = [tensors._replace(entries=held) for _, held in _held(objects, tensors)]
        found = [each for each in dicts if find_stacks(each)]
        model = names.find_model(found[0] if len(found) == 1 else tensors, ordered=True)
        beside = _beside(objects, tensors, model.tensors.entries)
        model = model._replace(tensors=tensors, title="PyTorch")
    beside = _needed(tensors, model, beside)
    notes = [*model.notes, *_passed_over(tensors, beside)]
    return model._replace(parts=[*model.parts, *beside], notes=notes)


def _needed(tensors: Tensors, model: Model, beside: Sequence[Part]) -> list[Part]:
    """Refuse to pass over matrices, which may be other modules of the model."""
    inner = [part.name for part in model.parts if part.recurrent]
    parts = []
    for part in beside:
        entries = [tensors.entries[name] for name in part.tensors]
        if inner and any(len(each.shape) > 1 and each.dtype in FLOATS for each in entries):
            tops = {name.partition(".")[0] for name in inner}
            names = inner if part.name.partition(".")[0] in tops else sorted(tops)
            part = part._replace(hint=way_out(names), needed=True)
        parts.append(part)
    return parts


def _held(objects: Objects, tensors: Tensors) -> Iterator[tuple[str, dict[str, Entry]]]:
    """Return the tensors that each state dict holds, by the names they have under a prefix."""
    for owner, own in objects.owners.items():
        cut = [name.removeprefix(tensors.prefix) for name in own if name.startswith(tensors.prefix)]
        if cut:
            yield owner, {name: tensors.entries[name] for name in cut}


def _beside(objects: Objects, tensors: Tensors, known: Container[str]) -> list[Part]:
    """Return what is in a file beside the model."""
    parts = [part for part in objects.others if part.name.startswith(tensors.prefix)]
    for owner, held in _held(objects, tensors):
        left = [name for name in held if name not in known]
        groups = [(owner, left)] if owner and left else [(name, [name]) for name in left]
        parts += [Part(name, "", group, why="stands beside the model") for name, group in groups]
    return parts


def _passed_over(tensors: Tensors, beside: Sequence[Part]) -> list[str]:
    """Return a sentence for what may be weights too, and not a count or what a generator knows."""
    names = [
        part.name
        for part in beside
        if not part.needed
        and any(
            tensors.entries[name].shape and tensors.entries[name].dtype in FLOATS
            for name in part.tensors
        )
    ]
    what = "which the file has beside the model"
    return [f"passes over {verbatim(listed(names))}, {what}"] if names else []
