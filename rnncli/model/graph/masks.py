"""Masks that a graph computes itself, ``x != 0`` in any feature, as a layer that masks rows."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from math import prod
from typing import Any, NamedTuple

import numpy as np

from rnncli.model.graph import Emitter, Node, RefusedError
from rnncli.model.graph.operators import MOVERS, find_ancestors
from rnncli.model.graph.walk import Walk
from rnncli.model.layers import Embedding, Masking, Stateless

_MASKING = ("Gather", "Add", "Mul", "Where")
_SIZES = (3, 4)  # of the rows that masks are tried with, where the file leaves them open


class MaskedNode(NamedTuple):
    """The values of all steps that a recurrent node takes, with its mask, and those it gives."""

    x: str
    mask: str
    outputs: Sequence[str]
    width: int  # of what it gives


class _Trial(NamedTuple):
    """A layer that may mask the rows that a comparison takes, and rows to try it with."""

    layer: Stateless
    rows: str
    number: float  # which they are compared with
    x: Any  # what the graph takes
    features: Any  # what the layer takes


def add_masking(walk: Walk, nodes: list[Node], masked: Sequence[MaskedNode]) -> list[Node]:
    """Return nodes with the layer that masks the rows of recurrent nodes."""
    ancestors = find_ancestors(nodes, [each.x for each in masked])
    below = {k: node for k, node in enumerate(nodes) if ancestors.intersection(node.outputs)}
    trial = _choose_layer(walk, below.values(), masked)
    above = _find_above(walk, nodes, trial)
    if above.intersection(each.mask for each in masked):
        raise RefusedError("takes a mask of more than one comparison")
    k = _find_rows(walk, below, trial, above)
    node, made = nodes[k], Emitter(f"{trial.rows}/masked")
    wide = trial.features.ndim > trial.x.ndim
    x = made.emit("Unsqueeze", [trial.rows], axes=[-1]) if wide else trial.rows
    made.emit("Layer", [x], node.outputs[:1], layer=trial.layer)
    made.nodes[-1] = made.nodes[-1]._replace(name=node.name if wide else "masking")
    nodes = [*nodes[:k], *made.nodes, *nodes[k + 1 :]]
    _check_masks(walk, nodes, masked, trial)
    return nodes


def _find_above(walk: Walk, nodes: Sequence[Node], trial: _Trial) -> set[str]:
    """Find the values that depend on rows by more than the comparison and their sizes."""
    above, known = {trial.rows}, (trial.rows, trial.number)
    for node in nodes:
        if node.op != "Shape" and above.intersection(node.inputs):
            above.update(node.outputs if _read_comparison(walk, node) != known else ())
    return above


def _find_rows(walk: Walk, below: dict[int, Node], trial: _Trial, above: Collection[str]) -> int:
    """Find the last node that gives what the layer gives, for any rows."""
    known, expected = {trial.rows: trial.x}, trial.layer(trial.features)
    for k, node in reversed(below.items()):
        if node.op in _MASKING:
            ancestors = find_ancestors([*below.values()], node.outputs[:1]).intersection(above)
            path = [each for each in below.values() if ancestors.intersection(each.outputs)]
            if not all(_is_steady(walk, each) for each in path):
                continue
            with suppress(RefusedError):
                (value,) = walk.compute(node.outputs[:1], known, [*below.values()])
                if np.array_equal(value, expected):
                    return k
    raise RefusedError("masks no rows that are read")


def _is_steady(walk: Walk, node: Node) -> bool:
    """Return whether a node does the same with all rows, or looks for numbers below 0."""
    if node.op == "Less":
        return not np.any(walk.constants.get(node.inputs[1], 1))
    return node.op in ("Cast", "Not", *_MASKING, *MOVERS)


def _choose_layer(walk: Walk, below: Collection[Node], masked: Sequence[MaskedNode]) -> _Trial:
    """Choose the layer: a lookup of whole numbers, or else a mask of features."""
    comparisons = {_find_comparison(walk, each.mask) for each in masked}
    if len(comparisons) > 1:
        raise RefusedError("takes several masks")
    ((rows, number),) = comparisons
    draws, declared = np.random.default_rng(0), walk.graph.inputs.get(rows) or ()
    pairs = zip(declared[:2], _SIZES, strict=False)
    shape = tuple(size if isinstance(size, int) else n for size, n in pairs)
    tables = [walk.constants.get(node.inputs[0]) for node in below if node.op == "Gather"]
    if tables and tables[0] is not None and tables[0].ndim == 2:
        table = tables[0]
        walk.spend(prod(shape))
        numbers = draws.integers(len(table), size=shape) * draws.integers(2, size=shape)
        layer = Embedding(table, mask_zero=True)
        return _Trial(layer, rows, number, numbers, numbers[..., None])
    width = (*declared, "")[-2]
    if len(declared) != 3 or not isinstance(width, int) or width < 1:
        raise RefusedError("masks rows whose number of features is not known")
    walk.spend(prod(shape) * width)
    x = draws.uniform(-1, 1, (*shape, width))
    x[draws.integers(3, size=x.shape) == 0] = number
    x[draws.integers(2, size=shape) == 0] = number
    return _Trial(Masking(number, width), rows, number, x, x)


def _find_comparison(walk: Walk, mask: str) -> tuple[str, float]:
    """Find the rows that a mask comes from, and the number that it compares them with."""
    ancestors = find_ancestors([*walk.nodes.values()], [mask])
    for node in walk.nodes.values():
        compared = _read_comparison(walk, node)
        if compared and ancestors.intersection(node.outputs):
            return compared
    raise RefusedError("takes a mask that is not read")


def _read_comparison(walk: Walk, node: Node) -> tuple[str, float] | None:
    """Read the value and the number that a node compares for being equal, if it does."""
    number = walk.values.get((*node.inputs, "", "")[1])
    if node.op != "Equal" or not isinstance(number, np.ndarray) or number.size != 1:
        return None
    return node.inputs[0], float(number.item())


def _check_masks(
    walk: Walk, nodes: Sequence[Node], masked: Sequence[MaskedNode], trial: _Trial
) -> None:
    """Check that recurrent nodes take masks of just the rows that are masked.

    A row of the lowest layer is masked in one of two runs: x and the mask change for one row. A
    recurrent node gives functions of a row of x there, which change for the same row.
    """
    fill = trial.layer.settings.get("value", 0)
    rows = np.abs(trial.x) + abs(fill) + 1 if trial.features is trial.x else np.ones_like(trial.x)
    runs = [trial.x, rows, rows.copy()]
    runs[2][-1, -1] = fill
    known: list[dict[str, Any]] = [{trial.rows: x} for x in runs]
    count = np.count_nonzero(trial.layer.masked(trial.features))
    for node in masked:
        names = [node.x, node.mask]
        x, masks = zip(*(walk.compute(names, each, nodes) for each in known), strict=True)
        changes = (x[1] != x[2]).any(-1)
        fits = masks[1].all() and np.array_equal(changes[..., None], ~masks[2])
        if not fits or changes.sum() != 1 or np.count_nonzero(~masks[0]) != count:
            raise RefusedError("takes a mask of other rows than those that are masked")
        for each, rows in zip(known, x, strict=True):
            waves = np.sin(rows.sum(-1, keepdims=True) * np.arange(1, 1 + node.width))
            each.update(dict.fromkeys(node.outputs, waves))
