"""Random ONNX graphs around recurrent nodes, some of which make no sense.

A graph knows what each of its axes is, so that most of what is drawn is what
programs write; a graph with faults also takes axes for others.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx_graphs import Graph

from peers.models_onnx import parse
from peers.nets import Array

FAR = 2**31 - 1
# Activations of cells, and how many parameters each takes.
ACTIVATIONS = {
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus"), 0),
    **dict.fromkeys(("LeakyRelu", "ThresholdedRelu", "Elu"), 1),
    **dict.fromkeys(("Affine", "ScaledTanh", "HardSigmoid"), 2),
}
POINTWISE = ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "Elu", "Softplus", "Softsign", "HardSigmoid")
OPERATORS = {"RNN": (1, 1), "LSTM": (4, 3), "GRU": (3, 2)}  # gates, activations


class Rows(NamedTuple):
    """A value: its name, what its axes are (T, N, F, D; 1 for one that was added), their sizes."""

    name: str
    axes: str
    shape: tuple[int, ...]

    def moved(self, name: str, order: Sequence[int]) -> "Rows":
        axes = "".join(self.axes[place] for place in order)
        return Rows(name, axes, tuple(self.shape[place] for place in order))

    def without(self, name: str, place: int) -> "Rows":
        kept = [each for each in range(len(self.axes)) if each != place]
        return self.moved(name, kept)

    def sized(self, name: str, place: int, size: int, axis: str = "") -> "Rows":
        axes = self.axes[:place] + (axis or self.axes[place]) + self.axes[place + 1 :]
        return Rows(name, axes, (*self.shape[:place], size, *self.shape[place + 1 :]))


class Draw:
    """A random graph; in a faulty one some nodes take axes for others."""

    def __init__(self, seed: int, *, faulty: bool = False) -> None:
        self.random, self.faulty = np.random.RandomState(seed), faulty
        self.opset = int(self.one_of(10, 12, 13, 15, 17, 18, 20))
        self.graph = Graph()
        self.array = self.graph.array

    def one_of(self, *values: Any) -> Any:
        return values[self.random.randint(len(values))]

    def chance(self, share: float) -> bool:
        return bool(self.random.uniform() < share)

    def draw(self, *shape: int, least: float | None = None) -> str:
        values = self.random.normal(scale=0.7, size=shape).astype(np.float32)
        return self.array(values if least is None else np.abs(values) + np.float32(least))

    def node(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add a node; some have no name."""
        return self.graph.add(op, *inputs, named=None if self.chance(0.8) else "", **attributes)

    def whole(self, op: str, rows: str, since: int, name: str, *places: int, **more: Any) -> Any:
        """Add a node with a list that is an input since some opset, an attribute before."""
        if self.opset >= since:
            return self.node(op, rows, self.array(list(places)), **more)
        attributes: dict[str, Any] = {name: list(places)} | more
        return self.node(op, rows, **attributes)

    # What programs write around recurrent nodes.

    def transposed(self, rows: Rows, order: Sequence[int] | None = None) -> Rows:
        drawn = self.random.permutation(len(rows.axes)) if order is None else order
        places = [int(place) for place in drawn]
        return rows.moved(self.node("Transpose", rows.name, perm=places), places)

    def ordered(self, rows: Rows, axes: str) -> Rows:
        places = [rows.axes.index(axis) for axis in axes]
        return rows if places == sorted(places) else self.transposed(rows, places)

    def unsqueezed(self, rows: Rows) -> Rows:
        place = self.random.randint(len(rows.axes) + 1)
        name = self.whole("Unsqueeze", rows.name, 13, "axes", place)
        axes = rows.axes[:place] + "1" + rows.axes[place:]
        return Rows(name, axes, (*rows.shape[:place], 1, *rows.shape[place:]))

    def squeezed(self, rows: Rows, place: int | None = None) -> Rows:
        ones = [k for k, size in enumerate(rows.shape) if size == 1 and rows.axes[k] in "1D"]
        if place is None:
            if not ones:
                return rows
            place = self.one_of(*ones)
        return rows.without(self.whole("Squeeze", rows.name, 13, "axes", place), place)

    def sliced(self, rows: Rows, place: int, begin: int, end: int, step: int = 1) -> Rows:
        lists = (self.array([each]) for each in (begin, end, place, step))
        last = None if step < 0 else end
        size = len(range(rows.shape[place])[slice(begin, last, step)])
        return rows.sized(self.node("Slice", rows.name, *lists), place, size)

    def turned(self, rows: Rows) -> Rows:
        place = self.axis(rows, "T")
        return rows if place is None else self.sliced(rows, place, -1, -FAR, -1)

    def one_step(self, rows: Rows) -> Rows:
        place = self.axis(rows, "T")
        if place is None:
            return rows
        at = self.one_of(-1, -1, -1, 0)
        if self.chance(0.5):
            name = self.node("Gather", rows.name, self.array(np.int64(at)), axis=place)
            return rows.without(name, place)
        found = self.sliced(rows, place, at, FAR if at else 1)
        return found.sized(found.name, place, 1, "1")

    def flat(self, rows: Rows) -> Rows:
        """Make one axis of two."""
        if len(rows.axes) < 2:
            return rows
        place = self.random.randint(len(rows.axes) - 1)
        pair = rows.axes[place : place + 2]
        if not self.faulty and pair not in ("TN", "NT", "DF", "1T", "1F", "F1", "1N"):
            return rows
        size = rows.shape[place] * rows.shape[place + 1]
        shape = [*rows.shape[:place], self.one_of(size, -1), *rows.shape[place + 2 :]]
        axis = next((axis for axis in "FTND" if axis in pair), "1")
        name = self.node("Reshape", rows.name, self.array(shape))
        return rows.without(name, place + 1).sized(name, place, size, axis)

    def scrambled(self, rows: Rows) -> Rows:
        order = self.random.permutation(len(rows.axes)).tolist()
        shape = [rows.shape[place] for place in order]
        return rows.moved(self.node("Reshape", rows.name, self.array(shape)), order)

    def merged(self, rows: Rows) -> Rows:
        """Bring directions together."""
        if "D" not in rows.axes:
            return rows
        place = rows.axes.index("D")
        if rows.shape[place] == 1:
            return self.squeezed(rows, place)
        kind = self.random.randint(5)
        if kind == 0:
            op = self.one_of("ReduceSum", "ReduceMean", "ReduceProd")
            since = 13 if op == "ReduceSum" else 18
            return rows.without(self.whole(op, rows.name, since, "axes", place, keepdims=0), place)
        if kind == 1 and "F" in rows.axes:
            rows = self.ordered(rows, rows.axes.replace("D", "").replace("F", "") + "DF")
            shape = [0] * (len(rows.axes) - 2) + [-1]
            name = self.node("Reshape", rows.name, self.array(shape))
            return rows.without(name, len(shape) - 1).sized(
                name, len(shape) - 1, 2 * rows.shape[-1]
            )
        halves = [
            self.squeezed(self.sliced(rows, place, d, d + 1), place)
            if self.chance(0.5)
            else rows.without(
                self.node("Gather", rows.name, self.array(np.int64(d)), axis=place), place
            )
            for d in (0, 1)
        ]
        first, second = halves
        if kind == 3 and "F" in first.axes:
            axis = first.axes.index("F")
            name = self.node("Concat", first.name, second.name, axis=axis)
            return first.sized(name, axis, 2 * first.shape[axis])
        return first._replace(name=self.node(self.one_of("Add", "Mul"), first.name, second.name))

    # Layers without state.

    def axis(self, rows: Rows, axis: str) -> int | None:
        """Return where an axis is; in a faulty graph sometimes where another is."""
        if self.faulty and self.chance(0.2):
            return int(self.random.randint(len(rows.axes)))
        return rows.axes.index(axis) if axis in rows.axes else None

    def activated(self, rows: Rows) -> Rows:
        return rows._replace(name=self.node(self.one_of(*POINTWISE), rows.name))

    def shifted(self, rows: Rows) -> Rows:
        place = self.axis(rows, "F")
        if place is None:
            return rows
        ones = (1,) * (len(rows.axes) - 1 - place)
        shape = self.one_of((), (1,), (rows.shape[place], *ones))
        op = self.one_of("Add", "Sub", "Mul", "Div")
        names = [rows.name, self.draw(*shape, least=0.5 if op == "Div" else None)]
        if op != "Div" and self.chance(0.3):
            names.reverse()
        return rows._replace(name=self.node(op, *names))

    def dense(self, rows: Rows) -> Rows:
        place, size = len(rows.axes) - 1, int(self.random.randint(1, 5))
        if self.axis(rows, "F") != place or len(rows.axes) < 2:
            return rows
        W, b = self.draw(rows.shape[-1], size), self.draw(size)
        if len(rows.axes) == 2 and self.chance(0.5):
            name = self.node("Gemm", rows.name, W, b, alpha=0.5, beta=2.0)
        else:
            name = self.node("Add", b, self.node("MatMul", rows.name, W))
        return rows.sized(name, place, size, "F")

    def softmax(self, rows: Rows) -> Rows:
        place = self.axis(rows, "F")
        if place is None or (self.opset < 13 and place < len(rows.axes) - 1):
            return rows
        return rows._replace(
            name=self.node(self.one_of("Softmax", "LogSoftmax"), rows.name, axis=place)
        )

    def statistics(self, rows: Rows) -> Rows:
        if self.axis(rows, "F") != 1 or len(rows.axes) < 2:
            return rows
        size = rows.shape[1]
        arrays = (*(self.draw(size) for _ in range(3)), self.draw(size, least=0.3))
        return rows._replace(name=self.node("BatchNormalization", rows.name, *arrays, epsilon=1e-3))

    # Recurrent nodes.

    def recurrent(self, rows: Rows) -> Rows:
        """Add a node with all that it may have; return its rows or its final states."""
        rows = self.ordered(rows, "TNF")
        op, size = self.one_of(*OPERATORS), int(self.random.randint(1, 5))
        gates, count = OPERATORS[op]
        direction = self.one_of("forward", "reverse", "bidirectional")
        D = 2 if direction == "bidirectional" else 1
        width = gates * size
        attributes: dict[str, Any] = {"hidden_size": size, "direction": direction}
        if self.chance(0.5):
            attributes |= self.functions(D * count)
        if self.chance(0.3):
            attributes["clip"] = float(self.random.uniform(0.1, 2))
        if op == "GRU":
            attributes["linear_before_reset"] = self.one_of(0, 1)
        inputs = [self.draw(D, width, rows.shape[2]), self.draw(D, width, size)]
        inputs.append(self.draw(D, 2 * width) if self.chance(0.7) else "")
        if op == "LSTM" and self.chance(0.4):
            inputs += ["", "", "", self.draw(D, 3 * size)]
        y = self.node(op, rows.name, *inputs, **attributes)
        T, N, _ = rows.shape
        every, final = Rows(y, "TDNF", (T, D, N, size)), Rows(f"{y}.1", "DNF", (D, N, size))
        return every if self.chance(0.8) else final

    def functions(self, count: int) -> dict[str, Any]:
        # ONNX Runtime's Softplus overflows where a state grows.
        drawn_of = [name for name in ACTIVATIONS if name != "Softplus"]
        names = [self.one_of(*drawn_of) for _ in range(count)]
        takes = [ACTIVATIONS[name] for name in names]
        found: dict[str, Any] = {"activations": names}
        for number, name in enumerate(("activation_alpha", "activation_beta"), start=1):
            drawn = self.random.uniform(0.1, 0.9, sum(each >= number for each in takes))
            if len(drawn):
                found[name] = drawn.tolist()
        return found

    # The whole.

    def model(self) -> tuple[Any, str, Array]:
        """Return a model, what the axes of its input are, and an input."""
        T, N, F = (4, 3, 2) if self.faulty else self.one_of((5, 2, 3), (4, 3, 2), (5, 1, 3))
        axes = self.one_of("TNF", "NTF", "NFT")
        sizes = {"T": T, "N": N, "F": F}
        shape = tuple(sizes[axis] for axis in axes)
        rows = Rows("x", axes, shape)
        free = self.chance(0.6)
        declared = [axis if free and axis != "F" else sizes[axis] for axis in axes]
        rows = self.some(rows, 2, self.activated, self.shifted, self.dense, self.statistics)
        turned = self.chance(0.1)
        rows = self.turned(rows) if turned else rows
        for _ in range(self.one_of(1, 2)):
            if sorted(rows.axes) != ["F", "N", "T"]:
                break
            rows = self.recurrent(rows)
            rows = self.some(rows, 1, self.transposed)
            rows = self.merged(rows) if self.chance(0.9) else rows
        rows = self.turned(rows) if turned else rows
        moves = (self.transposed, self.unsqueezed, self.squeezed, self.flat, self.one_step)
        layers = (self.activated, self.shifted, self.dense, self.softmax, self.statistics)
        rows = self.some(rows, 6, *moves, *layers, self.merged)
        inputs: dict[str, Any] = {"x": declared}
        model = parse(self.graph.model(rows.name, inputs=inputs, opset=self.opset))
        x = self.random.normal(scale=0.7, size=shape).astype(np.float32)
        return model, axes, x

    def some(self, rows: Rows, most: int, *steps: Callable[[Rows], Rows]) -> Rows:
        faults = (self.scrambled, self.turned) if self.faulty else ()
        for _ in range(self.random.randint(most + 1)):
            rows = self.one_of(*steps, *faults)(rows)
        return rows
