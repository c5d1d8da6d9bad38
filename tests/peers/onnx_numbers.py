"""Random ONNX graphs that compute with numbers of their sizes, around a recurrent node.

Rows meet whole numbers from Shape, their powers and quotients, casts to all types, positions,
masks, reductions, products, convolutions and moves, at sizes that are no squares.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from onnx_graphs import Graph

from peers.models_onnx import parse

# Sizes (N, T) at which graphs run; the first are those of frozen graphs.
SIZES = ((3, 7), (2, 11), (1, 6), (4, 13))
FLOAT, HALF, DOUBLE, BFLOAT16, INT32, INT64, BOOL = 1, 10, 11, 16, 6, 7, 9
RECURRENT = {"RNN": 1, "LSTM": 4, "GRU": 3}
BOUNDED = ("Cos", "Erf", "HardSigmoid", "Sigmoid", "Sin", "Softsign", "Tanh")
POINTWISE = (
    *("Abs", "Ceil", "Elu", "Floor", "Identity", "LeakyRelu", "Neg", "Relu", "Round", "Selu"),
    *("Sign", "Softplus", "ThresholdedRelu", "Dropout"),
)
SINCE = {"HardSwish": 14, "Mish": 18, "Gelu": 20}
REDUCTIONS = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd")


class Rows(NamedTuple):
    """Floats: their name, and what their axes are: T, N, or a number of features."""

    name: str
    axes: tuple[str | int, ...]


class Numbers:
    """A random graph."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.RandomState(seed)
        self.opset = self.one_of(13, 17, 18, 20)
        self.graph = Graph(seed)
        self.add, self.array, self.draw = self.graph.add, self.graph.array, self.graph.draw
        self.rounds = False  # whether it casts to fewer digits
        self.past: list[Rows] = []  # values that may be taken again

    def one_of(self, *values: Any) -> Any:
        return values[self.random.randint(len(values))]

    def chance(self, share: float) -> bool:
        return bool(self.random.uniform() < share)

    def number(self, value: float) -> str:
        return self.array(np.float32(value))

    def cast(self, name: str, to: int) -> str:
        self.rounds |= to in (HALF, BFLOAT16)
        return self.add("Cast", name, to=to)

    def along(self, op: str, name: str, *axes: int, since: int = 18, **attributes: Any) -> str:
        """Add a node with a list of axes, which is an input since some opset."""
        if self.opset >= since:
            return self.add(op, name, self.array(list(axes)), **attributes)
        return self.add(op, name, axes=list(axes), **attributes)

    # Numbers that depend on sizes.

    def size(self, rows: Rows) -> str:
        """Return a whole number of the shape of rows."""
        shape = self.add("Shape", rows.name)
        if self.chance(0.06):
            op = self.one_of("ReduceMean", "ReduceMax", "ReduceProd", "ReduceSum")
            since = 13 if op == "ReduceSum" else 18
            return self.along(op, shape, 0, since=since, keepdims=0)
        if self.chance(0.03):
            return self.add("Size", rows.name)
        places = [k for k, axis in enumerate(rows.axes) if axis != "N" or self.chance(0.1)]
        place = self.one_of(*(places or [0]))
        kind = self.random.randint(3)
        if kind == 0:
            return self.add("Gather", shape, self.array(np.int64(place)), axis=0)
        if kind == 1 or self.opset < 15:
            ends = self.array([place]), self.array([place + 1])
            return self.add("Squeeze", self.add("Slice", shape, *ends), self.array([0]))
        one = self.add("Shape", rows.name, start=place, end=place + 1)
        return self.add("Squeeze", one, self.array([0]))

    def whole(self, rows: Rows) -> str:
        """Return a whole number that is computed from sizes."""
        value = self.size(rows)
        for _ in range(self.random.randint(3)):
            kind, by = self.random.randint(9), self.array(np.int64(self.one_of(2, 3, 5, -2, 7)))
            if kind < 3:
                value = self.add(("Add", "Sub", "Mul")[kind], value, by)
            elif kind == 3:
                value = self.add("Div", value, by)
            elif kind == 4:  # of what rnncli cannot know for every size
                op, limit = self.one_of("Mod", "Min", "Max"), self.array(np.int64(5))
                value = self.add(op, value, limit) if self.chance(0.2) else value
            elif kind == 5:
                power = self.one_of(self.array(np.int64(2)), self.number(0.5), self.number(1.5))
                value = self.add("Pow", value, power)
            elif kind == 6:
                value = self.add(self.one_of("Neg", "Abs"), value)
            elif kind == 7:
                value = self.cast(self.cast(value, INT32), INT64)
            else:
                value = self.add(self.one_of("Add", "Mul"), value, self.size(rows))
        return value

    def real(self, rows: Rows) -> str:
        """Return a float that is computed from sizes."""
        to = self.one_of(FLOAT, FLOAT, FLOAT, DOUBLE, HALF)
        value = self.cast(self.whole(rows), to)
        value = value if to == FLOAT else self.cast(value, FLOAT)
        for _ in range(self.random.randint(1, 4)):
            value = self.scale(value)
        return value

    def scale(self, value: str) -> str:
        """Compute a power, a root, a quotient or the like of a float."""
        positive = self.add("Add", self.add("Abs", value), self.number(0.75))
        power = self.number(self.one_of(0.5, -0.5, -1, 2, 0.33))
        return {
            0: lambda: self.add("Pow", positive, power),
            1: lambda: self.add("Sqrt", positive),
            2: lambda: self.add("Reciprocal", positive),
            3: lambda: self.add("Log", positive),
            4: lambda: self.add("Div", value, self.number(self.one_of(3, -7))),
            5: lambda: self.add("Div", self.number(1.5), positive),
            6: lambda: self.add(self.one_of("Floor", "Ceil", "Round", *BOUNDED), value),
            7: lambda: self.add(self.one_of("Sub", "Add", "Mul"), value, self.number(0.3)),
            8: lambda: self.add(self.one_of("Exp", "Tan"), self.add("Tanh", value)),
        }[self.random.randint(9)]()

    # Rows.

    def join(self, rows: Rows) -> Rows:
        """Join rows and a number by an operator of two operands."""
        value = self.real(rows) if self.chance(0.8) else self.number(self.random.normal())
        return rows._replace(name=self.combine(rows.name, value))

    def combine(self, name: str, value: str) -> str:
        op = self.one_of("Add", "Sub", "Mul", "Div", "Min", "Max", "Sum", "PRelu", "Pow")
        if op == "Div" or op == "Pow":
            positive = self.add("Add", self.add("Abs", value), self.number(0.75))
            if op == "Div":
                return self.add(op, name, positive)
            base = self.add("Add", self.add("Sigmoid", name), self.number(0.5))
            return self.add(op, base, self.add("Softsign", value))
        if op != "PRelu" and self.chance(0.4):
            name, value = value, name
        return self.add(op, name, value)

    def positioned(self, rows: Rows) -> Rows:
        """Join rows and their positions."""
        if "T" not in rows.axes:
            return rows
        place = rows.axes.index("T")
        count = self.add("Gather", self.add("Shape", rows.name), self.array(np.int64(place)))
        value = self.add("Range", self.array(np.int64(0)), count, self.array(np.int64(1)))
        value = self.cast(value, self.one_of(FLOAT, FLOAT, DOUBLE))
        value = self.cast(value, FLOAT)
        total = self.cast(count, FLOAT)
        value = self.one_of(self.add("Div", value, total), self.scale(value), value)
        shape = [1] * len(rows.axes)
        shape[place] = -1
        value = self.add("Reshape", value, self.array(shape))
        return rows._replace(name=self.combine(rows.name, value))

    def pointwise(self, rows: Rows) -> Rows:
        new = [op for op, since in SINCE.items() if self.opset >= since]
        op = self.one_of(*POINTWISE, *BOUNDED, *new)
        name = rows.name
        if op in ("Floor", "Ceil", "Round", "Sign"):
            name = self.add("Mul", name, self.number(3.3))
        elif self.chance(0.15):
            return rows._replace(name=self.scale(self.add("Tanh", name)))
        attributes: dict[str, Any] = (
            {"alpha": 0.3} if op in ("Elu", "LeakyRelu", "ThresholdedRelu") else {}
        )
        return rows._replace(name=self.add(op, name, **attributes))

    def clipped(self, rows: Rows) -> Rows:
        ends = self.one_of((-0.2, 0.3), (-0.1, None), (None, 0.25))
        names = [self.number(each) if each is not None else "" for each in ends]
        return rows._replace(name=self.add("Clip", rows.name, *names))

    def casted(self, rows: Rows) -> Rows:
        """Cast rows to another type, and back."""
        to = self.one_of(HALF, BFLOAT16, DOUBLE, INT32, INT64, BOOL, FLOAT)
        name = rows.name
        if to in (INT32, INT64):
            name = self.add("Mul", name, self.number(7.7))
        elif to == BOOL:
            name = self.add("Relu", name)
        name = self.cast(name, to)
        if to in (DOUBLE, INT64, INT32) and self.chance(0.5):
            name = self.add(self.one_of("Neg", "Abs"), name)
        if to == INT64 and self.chance(0.7):
            op = self.one_of("Div", "Mod", "Mul", "Add", "Sub")
            value = self.array(np.int64(self.one_of(2, 3)))
            name = self.add(
                op, name, value if op in ("Div", "Mod") or self.chance(0.5) else self.whole(rows)
            )
        if to == BOOL and self.chance(0.5):
            name = self.add("Not", name)
        return rows._replace(name=self.cast(name, FLOAT))

    def masked(self, rows: Rows) -> Rows:
        """Choose values by a comparison."""
        value = self.number(0.1) if self.chance(0.6) else self.real(rows)
        op = self.one_of("Less", "Greater", "Equal", "LessOrEqual", "GreaterOrEqual")
        mask = self.add(op, rows.name, value)
        if self.chance(0.4):
            other = self.add("Less", rows.name, self.number(-0.2))
            mask = self.add(self.one_of("And", "Or"), mask, other)
        if self.chance(0.3):
            return rows._replace(name=self.cast(mask, FLOAT))
        other = self.number(0.5) if self.chance(0.5) else self.add("Neg", rows.name)
        return rows._replace(name=self.add("Where", mask, rows.name, other))

    def met(self, rows: Rows) -> Rows:
        """Join rows and rows from before."""
        fitting = [each for each in self.past if each.axes == rows.axes]
        if not fitting:
            return rows
        other = self.one_of(*fitting)
        return rows._replace(name=self.combine(rows.name, other.name))

    def scored(self, rows: Rows) -> Rows:
        """Compare all steps with each other, as attention does."""
        if "T" not in rows.axes or "N" not in rows.axes or len(rows.axes) != 3:
            return rows
        F = next(axis for axis in rows.axes if isinstance(axis, int))
        rows = self.ordered(rows, "N", "T", F)
        scores = self.add("MatMul", rows.name, self.add("Transpose", rows.name, perm=[0, 2, 1]))
        scores = self.add(self.one_of("Div", "Mul"), scores, self.real(rows))
        scores = self.add("Softmax", self.add("Softsign", scores), axis=-1)
        return rows._replace(name=self.add("MatMul", scores, rows.name))

    def multiplied(self, rows: Rows) -> Rows:
        """Multiply the last axis and weights."""
        size, width = rows.axes[-1], self.one_of(2, 3, 5)
        if not isinstance(size, int) or len(rows.axes) < 2:
            return rows
        if len(rows.axes) == 2 and self.chance(0.5):
            W, b = self.draw(width, size), self.draw(width)
            name = self.add("Gemm", rows.name, W, b, alpha=0.5, transB=1)
        else:
            name = self.add("MatMul", rows.name, self.draw(size, width))
        return Rows(name, (*rows.axes[:-1], width))

    def normalized(self, rows: Rows) -> Rows:
        place = self.random.randint(len(rows.axes))
        if rows.axes[place] == "N" and self.chance(0.9):
            return rows
        if self.chance(0.3) and self.opset >= 17 and isinstance(rows.axes[-1], int):
            name = self.add("LayerNormalization", rows.name, self.draw(rows.axes[-1]), axis=-1)
            return rows._replace(name=name)
        if self.chance(0.3) and len(rows.axes) == 3 and {"T", "N"} <= {*rows.axes}:
            C = next(axis for axis in rows.axes if isinstance(axis, int))
            rows = self.ordered(rows, "N", C, "T")
            variance = self.array(np.abs(self.random.normal(size=C)).astype("f") + np.float32(0.5))
            arrays = (self.draw(C), self.draw(C), self.draw(C), variance)
            return rows._replace(name=self.add("BatchNormalization", rows.name, *arrays))
        op = self.one_of("Softmax", "LogSoftmax")
        return rows._replace(name=self.add(op, rows.name, axis=place))

    def reduced(self, rows: Rows) -> Rows:
        place = self.random.randint(len(rows.axes))
        if (rows.axes[place] == "N" and self.chance(0.9)) or len(rows.axes) < 3:
            return rows
        if self.chance(0.1):
            name = self.add("ArgMax", rows.name, axis=place, keepdims=0)
            name = self.cast(name, FLOAT)
        else:
            op = self.one_of(*REDUCTIONS)
            since = 13 if op == "ReduceSum" else 18
            name = self.along(op, rows.name, place, since=since, keepdims=0)
        return Rows(name, (*rows.axes[:place], *rows.axes[place + 1 :]))

    def centered(self, rows: Rows) -> Rows:
        """Subtract a mean over an axis."""
        place = self.random.randint(len(rows.axes))
        if rows.axes[place] == "N" and self.chance(0.9):
            return rows
        mean = self.along("ReduceMean", rows.name, place, keepdims=1)
        return rows._replace(name=self.add("Sub", rows.name, mean))

    # Moves.

    def transposed(self, rows: Rows) -> Rows:
        order = [int(place) for place in self.random.permutation(len(rows.axes))]
        name = self.add("Transpose", rows.name, perm=order)
        return Rows(name, tuple(rows.axes[place] for place in order))

    def ordered(self, rows: Rows, *axes: Any) -> Rows:
        order = [rows.axes.index(axis) for axis in axes]
        return Rows(self.add("Transpose", rows.name, perm=order), axes)

    def turned(self, rows: Rows) -> Rows:
        """Turn an axis, seldom the one of sequences."""
        places = [k for k, axis in enumerate(rows.axes) if axis != "N" or self.chance(0.15)]
        place = self.one_of(*(places or [0]))
        lists = (self.array([each]) for each in (-1, -(2**31), place, -1))
        return rows._replace(name=self.add("Slice", rows.name, *lists))

    def delayed(self, rows: Rows) -> Rows:
        """Shift rows by a step, or roll them."""
        if "T" not in rows.axes:
            return rows
        place = rows.axes.index("T")
        before = [self.array([each]) for each in (0, -1, place)]
        less = self.add("Slice", rows.name, *before)
        if self.chance(0.5):
            pads = [0] * 2 * len(rows.axes)
            pads[place] = 1
            return rows._replace(name=self.add("Pad", less, self.array(pads), self.number(0.5)))
        last = self.add("Slice", rows.name, *(self.array([e]) for e in (-1, 2**31 - 1, place)))
        return rows._replace(name=self.add("Concat", last, less, axis=place))

    def chosen(self, rows: Rows) -> Rows:
        """Take the last step or some features."""
        if "T" in rows.axes and len(rows.axes) > 2 and self.chance(0.5):
            place = rows.axes.index("T")
            at = self.array(np.int64(self.one_of(-1, -1, 0, -2)))
            name = self.add("Gather", rows.name, at, axis=place)
            return Rows(name, (*rows.axes[:place], *rows.axes[place + 1 :]))
        place = self.random.randint(len(rows.axes))
        size = rows.axes[place]
        if not isinstance(size, int) or size < 2:
            return rows
        if self.chance(0.3):
            first = self.add("Split", rows.name, self.array([1, size - 1]), axis=place)
            return rows._replace(name=self.add("Concat", f"{first}.1", first, axis=place))
        count = int(self.random.randint(1, size + 1))
        indices = self.array(self.random.randint(-size, size, count))
        name = self.add("Gather", rows.name, indices, axis=place)
        return Rows(name, (*rows.axes[:place], count, *rows.axes[place + 1 :]))

    def widened(self, rows: Rows) -> Rows:
        """Repeat features, or join rows from before, or constants."""
        place = self.random.randint(len(rows.axes))
        size = rows.axes[place]
        if not isinstance(size, int) or size > 12:
            return rows
        if self.chance(0.3):
            repeats = [1] * len(rows.axes)
            repeats[place] = 2
            name = self.add("Tile", rows.name, self.array(repeats))
        else:
            name = self.add("Concat", rows.name, self.add("Tanh", rows.name), axis=place)
        return Rows(name, (*rows.axes[:place], 2 * size, *rows.axes[place + 1 :]))

    def filled(self, rows: Rows) -> Rows:
        """Join rows and constants of their shape."""
        shape = self.add("Shape", rows.name)
        if self.chance(0.2):
            value = self.add("Constant", value_float=0.4)
        elif self.chance(0.5) and isinstance(rows.axes[-1], int):
            value = self.add("Expand", self.draw(rows.axes[-1]), shape)
        else:
            value = self.add("Cos", self.add("ConstantOfShape", shape))
        return rows._replace(name=self.combine(rows.name, value))

    def reshaped(self, rows: Rows) -> Rows:
        """Divide the features into two axes by Reshape, or join two axes of features."""
        for place, (a, b) in enumerate(zip(rows.axes, rows.axes[1:], strict=False)):
            if isinstance(a, int) and isinstance(b, int):
                shape = [0] * place + [a * b] + [-1] * (len(rows.axes) > place + 2)
                if len(rows.axes) > place + 3:
                    return rows
                is_flat = rows.axes[:1] == ("N",) and len(rows.axes) == 3
                if is_flat and self.chance(0.5):
                    return Rows(self.add("Flatten", rows.name), ("N", a * b))
                name = self.add("Reshape", rows.name, self.array(shape))
                return Rows(name, (*rows.axes[:place], a * b, *rows.axes[place + 2 :]))
        size = rows.axes[-1]
        if not isinstance(size, int) or size % 2:
            return rows
        shape = [0] * (len(rows.axes) - 1) + [2, size // 2]
        name = self.add("Reshape", rows.name, self.array(shape))
        return Rows(name, (*rows.axes[:-1], 2, size // 2))

    def squeezed(self, rows: Rows) -> Rows:
        """Add an axis of one, or take one away."""
        ones = [k for k, axis in enumerate(rows.axes) if axis == 1]
        if ones and len(rows.axes) > 2:
            name = self.along("Squeeze", rows.name, ones[0], since=13)
            return Rows(name, tuple(a for k, a in enumerate(rows.axes) if k != ones[0]))
        place = self.random.randint(len(rows.axes) + 1)
        name = self.along("Unsqueeze", rows.name, place, since=13)
        return Rows(name, (*rows.axes[:place], 1, *rows.axes[place:]))

    def convolved(self, rows: Rows) -> Rows:
        """Convolve the steps, or pool them."""
        if len(rows.axes) != 3 or not {"T", "N"} <= {*rows.axes}:
            return rows
        C = next(axis for axis in rows.axes if isinstance(axis, int))
        rows = self.ordered(rows, "N", C, "T")
        kind = self.random.randint(4)
        if kind == 0:
            name = self.add("MaxPool", rows.name, kernel_shape=[3], pads=[1, 1])
        elif kind == 1:
            more: dict[str, Any] = {"pads": [1, 1], "count_include_pad": 1}
            name = self.add("AveragePool", rows.name, kernel_shape=[3], **more)
        elif kind == 2:
            op = self.one_of("GlobalAveragePool", "GlobalMaxPool")
            name = self.add("Squeeze", self.add(op, rows.name), self.array([2]))
            return Rows(name, ("N", C))
        else:
            O = self.one_of(2, 3)
            name = self.add("Conv", rows.name, self.draw(O, C, 3), self.draw(O), pads=[1, 1])
            return Rows(name, ("N", O, "T"))
        return rows._replace(name=name)

    # The whole.

    def recurrent(self, rows: Rows) -> Rows:
        """Add a recurrent node."""
        F = next(axis for axis in rows.axes if isinstance(axis, int))
        rows = self.ordered(rows, "T", "N", F)
        op, H = self.one_of(*RECURRENT), self.one_of(2, 3, 12)
        direction = self.one_of("forward", "forward", "reverse", "bidirectional")
        D, width = 1 + (direction == "bidirectional"), RECURRENT[op] * H
        weights = (self.draw(D, width, F), self.draw(D, width, H), self.draw(D, 2 * width))
        y = self.add(op, rows.name, *weights, hidden_size=H, direction=direction)
        if self.chance(0.1):
            return Rows(self.along("ReduceSum", f"{y}.1", 0, since=13, keepdims=0), ("N", H))
        if D == 1:
            return Rows(self.add("Squeeze", y, self.array([1])), ("T", "N", H))
        if self.chance(0.5):
            return Rows(self.along("ReduceMean", y, 1, keepdims=0), ("T", "N", H))
        turned = self.add("Transpose", y, perm=[0, 2, 1, 3])
        name = self.add("Reshape", turned, self.array([0, 0, -1]))
        return Rows(name, ("T", "N", 2 * H))

    def some(self, rows: Rows, least: int, most: int, *steps: Callable[[Rows], Rows]) -> Rows:
        for _ in range(self.random.randint(least, most + 1)):
            rows = self.one_of(*steps)(rows)
            self.past.append(rows)
        return rows

    def model(self) -> tuple[Any, Rows, tuple[Any, ...], bool]:
        """Return a model, its output, the axes of its input, and whether sizes are open."""
        F, is_open = self.one_of(2, 3, 5), self.chance(0.85)
        axes = self.one_of(("T", "N", F), ("N", "T", F), ("N", "T", F))
        rows = Rows("x", axes)
        self.past.append(rows)
        numbers = (self.join, self.join, self.positioned, self.casted, self.masked)
        layers = (
            *(self.pointwise, self.clipped, self.met, self.multiplied, self.normalized),
            *(self.reduced, self.centered, self.scored, self.convolved),
        )
        moves = (
            *(self.transposed, self.turned, self.delayed, self.chosen, self.widened),
            *(self.filled, self.reshaped, self.squeezed),
        )
        if self.chance(0.3):
            rows = self.some(rows, 1, 2, self.join, self.pointwise, self.casted, self.multiplied)
        rows = self.recurrent(rows)
        self.past.append(rows)
        rows = self.some(rows, 1, 6, *numbers, *numbers, *layers, *moves)
        N, T = SIZES[0]
        declared = tuple(
            axis if is_open or isinstance(axis, int) else {"N": N, "T": T}[axis] for axis in axes
        )
        inputs: dict[str, Any] = {"x": declared}
        content = self.graph.model(rows.name, inputs=inputs, opset=self.opset)
        return parse(content), rows, axes, is_open
