"""Layers that are a piece of a graph: nodes that are computed as they are."""

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats
from rnncli.model.cells import Multiply
from rnncli.model.errors import InputError
from rnncli.model.graph import Node, RefusedError, evaluate
from rnncli.model.graph.labels import CONSTANT, labels, plain
from rnncli.model.graph.operators import MOVERS
from rnncli.model.graph.rows import Operand, Step, run
from rnncli.model.layers import Convert, Stateless

Axes = tuple[int | None, int | None]
_LISTED = 6  # operators that a name lists


def _list_operators(names: Sequence[str]) -> dict[str, str]:
    more = [] if len(names) <= _LISTED else [f"and {len(names) - _LISTED} more"]
    return {"operators": " ".join([*names[:_LISTED], *more])}


class Piece(Stateless):
    """Steps over rows, such as a graph has between its recurrent nodes.

    The steps stand by the register that each fills. The inputs are registers that hold what the
    layers below give, in order, with their widths. It gives `size` values, the target.
    """

    def __init__(
        self, steps: Mapping[int, Step], inputs: Mapping[int, int], target: Operand, size: int
    ) -> None:
        self.steps, self.inputs, self.target = dict(steps), dict(inputs), target
        self.input_size, self.output_size = sum(inputs.values()), size
        names = [step.op for step in self.steps.values()]
        bare = "Identity" if target.columns is None else "Slice"
        self.settings = _list_operators(names or [bare])

    def __repr__(self) -> str:
        return f"rows: {self.settings['operators']}"

    @property
    def arrays(self) -> dict[str, Floats]:
        """Its constants."""
        return {
            f"{step.op}_{register}_{place}": operand.values
            for register, step in self.steps.items()
            for place, operand in enumerate(step.operands)
            if operand.values is not None and operand.values.dtype.kind == "f"
        }

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:
        """Compute the rows."""
        rows = x.reshape(-1, self.input_size)
        parts = np.split(rows, np.cumsum([*self.inputs.values()])[:-1], axis=1)
        registers = run(self.steps, dict(zip(self.inputs, parts, strict=True)), multiply)
        found = registers[self.target.register]
        found = found if self.target.columns is None else found[:, self.target.columns]
        wide = np.broadcast_to(found, (len(rows), self.output_size))
        made = np.require(wide, x.dtype, ["C", "W"])
        return made.reshape(*x.shape[:-1], self.output_size)

    def converted(self, convert: Convert) -> "Piece":
        """Return the same piece with its constants converted."""
        layer = copy(self)
        layer.steps = {
            register: step._replace(
                operands=tuple(
                    each._replace(values=_convert(convert, step.name, each.values))
                    for each in step.operands
                )
            )
            for register, step in self.steps.items()
        }
        return layer


def _convert(convert: Convert, name: str, values: Any) -> Any:
    """Convert an array of floats, which may hold infinities."""
    if values is None or values.dtype.kind != "f":
        return values
    if np.isfinite(values).all():
        return convert(name, values)
    return values.astype(convert(name, np.zeros(1, values.dtype)).dtype)


class Root(NamedTuple):
    """A value that a `Whole` piece takes: which columns of the rows, and how the graph has it.

    Its shape has 1 for the axes of steps and sequences, which are `axes`. A final state has
    `ends`, the row of each column, -1 or 0. The last step stands first for a `step` of -1.
    """

    name: str
    columns: NDArray[Any]
    shape: tuple[int, ...]
    axes: Axes
    ends: NDArray[Any] | None = None
    step: int = 1

    def lay(self, x: Floats) -> NDArray[Any]:
        """Lay the rows of a sequence, (T, I), as the graph has them."""
        if self.ends is not None:
            return np.asarray(x[self.ends, self.columns].reshape(self.shape))
        along = self.axes[0] or 0
        rest = [size for k, size in enumerate(self.shape) if k != along]
        steps = x[:: self.step, self.columns].reshape(len(x), *rest)
        return np.asarray(np.moveaxis(steps, 0, along))


class Whole(Stateless):
    """Nodes of a graph that make something of several steps: a convolution, a mean.

    They are computed for one sequence at a time, all of its rows. One that is not `whole` makes
    something of each row alone, for which its graph has an axis of sequences.

    Parameters
    ----------
    nodes, constants, opset
        What is computed, with arrays by name.
    roots : sequence of Root
    target : str
        The value that it gives.
    axes : tuple of int or None
        Those of the target that are steps and sequences. Without steps every row is the same.
    sizes : tuple of int
        Number of values that a row has: taken, and given.
    """

    whole = True
    steps = 0  # for how many the graph was frozen; 0 if it was not

    def __init__(
        self, nodes: Sequence[Node], constants: Mapping[str, NDArray[Any]], opset: int,
        roots: Sequence[Root], target: str, axes: Axes, sizes: tuple[int, int],
    ) -> None:  # fmt: skip
        self.nodes, self.constants, self.opset = list(nodes), dict(constants), opset
        self.roots, self.target, self.axes = list(roots), target, axes
        self.input_size, self.output_size = sizes
        ops = [node.op for node in nodes]
        self.settings = _list_operators([op for op in ops if op not in MOVERS] or ops)

    def __repr__(self) -> str:
        return f"{'whole sequences' if self.whole else 'rows'}: {self.settings['operators']}"

    @property
    def arrays(self) -> dict[str, Floats]:
        """Its constants."""
        return {n: array for n, array in self.constants.items() if array.dtype.kind == "f"}

    def __call__(self, x: Floats, multiply: Multiply = np.matmul) -> Floats:  # noqa: ARG002
        """Compute the rows (T, O) of a sequence (T, I)."""
        T, shape = len(x.reshape(-1, self.input_size)), x.shape
        if not T:
            return np.empty((*shape[:-1], self.output_size), x.dtype)
        place = self.nodes[0].name
        if self.steps not in (0, T):
            what = f"takes sequences of {self.steps} steps, as the graph was exported, got {T}"
            raise InputError(place, what)
        try:
            found = self._compute(x.reshape(T, self.input_size))
        except RefusedError as error:
            what = f"cannot be computed for a sequence of {T} steps: {error.why}"
            raise InputError(place, what) from error
        along, n = self.axes
        one = n is None or found.shape[n] == 1
        rows = found.reshape(1, -1) if along is None else np.moveaxis(found, along, 0)
        rows = rows.reshape(len(rows), -1)
        if along is None:
            rows = np.broadcast_to(rows, (T, rows.shape[1]))
        fits = len(rows) == T or (self.shortens and 0 < len(rows) < T)
        if not one or not fits or rows.shape[1] != self.output_size:
            what = f"expected {T} rows of {self.output_size} values, got shape {rows.shape}"
            raise InputError(place, what)
        rows = np.ascontiguousarray(rows, x.dtype)
        return rows.reshape(*shape[:-1], -1) if len(rows) == T else rows

    def _compute(self, x: NDArray[Any]) -> NDArray[Any]:
        laid: dict[str, Any] = {
            root.name: root.lay(x) if x.dtype.kind == "f" else labels(root.lay(x))
            for root in self.roots
        }
        values = evaluate(self.nodes, {**self.constants, **laid}, self.opset)
        return np.asarray(plain(values[self.target]))

    def grows(self, steps: int) -> bool:
        """Return whether it gives two more rows where it takes two more."""
        try:
            found = self._compute(np.zeros((steps + 2, self.input_size), np.float32))
        except RefusedError:
            return False
        return bool(found.shape[self.axes[0] or 0] == steps + 2)

    def is_local(self, steps: int) -> bool:
        """Return whether the last row of a sequence does not depend on the first."""
        first = np.full((steps, self.input_size), CONSTANT)
        first[0] = 0
        found, along = self._compute(first), self.axes[0]
        return along is not None and bool((found.take(-1, along) == CONSTANT).all())

    def converted(self, convert: Convert) -> "Whole":
        """Return the same piece with its constants converted."""
        layer = copy(self)
        layer.constants = {
            name: array
            if array.dtype.kind == "f" and not np.isfinite(array).all()
            else _convert(convert, name, array.reshape(-1)).reshape(array.shape)
            for name, array in self.constants.items()
        }
        return layer
