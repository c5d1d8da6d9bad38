"""Labels follow values as sets of rows do."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnncli.model.graph.labels import CONSTANT, SEVERAL, Labels, labels, row_label

RANDOM = np.random.RandomState(0)
Rows = frozenset[tuple[int, int]]  # steps and sequences that a value comes from


def label(rows: Rows) -> Any:
    if not rows:
        return CONSTANT
    halves = (set(each) for each in zip(*rows, strict=True))
    return row_label(*(half.pop() if len(half) == 1 else SEVERAL for half in halves))


def draw(*shape: int) -> tuple[Any, Labels]:
    """Sets of no row, of one or of two rows, and their labels."""
    sets = np.empty(shape, object)
    for index in np.ndindex(shape):
        rows = RANDOM.randint(0, 2, (RANDOM.randint(0, 3), 2)).tolist()
        sets[index] = frozenset(map(tuple, rows))
    return sets, as_labels(sets)


def as_labels(sets: Any) -> Labels:
    return labels(np.vectorize(label, otypes=[np.int64])(sets))


def union(sets: Any, axes: tuple[int, ...]) -> Any:
    return np.bitwise_or.reduce(sets, axis=axes)


OPERATIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sum of two": (lambda a, b: a + b, lambda a, b: a | b),
    "sum of rows and a constant": (lambda a, _: a + np.ones((5, 3, 4)), lambda a, _: a),
    "choice": (
        lambda a, b: np.where(np.ones((3, 4), bool), a, b),
        lambda a, b: a | b,
    ),
    "sum along axes": (
        lambda a, _: np.sum(a, axis=(0, 2), keepdims=True),
        lambda a, _: union(union(a, (0,))[None], (2,))[..., None],
    ),
    "greatest of all": (lambda a, _: np.max(a, axis=None), lambda a, _: union(a.ravel(), (0,))),
    "running sum": (
        lambda a, _: np.cumsum(a, 1),
        lambda a, _: np.bitwise_or.accumulate(a, axis=1),
    ),
    "product": (
        lambda a, b: np.matmul(a, np.moveaxis(b, -1, -2)),
        lambda a, b: union(a, (2,))[..., None] | union(b, (2,))[..., None, :],
    ),
    "product with weights": (
        lambda a, _: np.matmul(a, np.ones((4, 2))),
        lambda a, _: union(a, (2,))[..., None].repeat(2, -1),
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_labels_are_joined_as_rows_are(name: str) -> None:
    (a, of_a), (b, of_b) = draw(5, 3, 4), draw(5, 3, 4)
    of_labels, of_sets = OPERATIONS[name]
    expected = as_labels(np.asarray(of_sets(a, b), object))
    np.testing.assert_array_equal(
        np.asarray(of_labels(of_a, of_b)).view(np.ndarray), expected.view(np.ndarray)
    )
