"""A cell in one compiled loop over time: its code, and the layout of its arrays.

The units of a layer are cut into panels, with as many units as a vector has lanes. The sums of a
group of neighbouring panels stay in registers from the products to the state. If there are enough
sequences, the rows of a batch, several run side by side and share each vector of weights loaded.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from rnncli.engine.compiled.activations import FUNCTIONS, Vectors
from rnncli.engine.compiled.code import Address, Function, Integer, Vector, this_machine
from rnncli.engine.unroll.loops import ROWS, STEPS, SUMS_IN_CACHE
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats, contiguous
from rnncli.model.cells import Cell, State

# Most inputs that a loop multiplies itself; for more, BLAS is as fast.
FEW_INPUTS = 32
# Weights that are read before Ctrl-C is noticed: some tenths of a second at most.
WORK = 200_000_000
# Rows of a matrix that one round of a loop multiplies, and rows that need no loop.
ROUND, SHORT = 4, 32
# Sums that are added to at once: two additions begin in a cycle, and each takes four.
IN_FLIGHT = 8
INTEGERS = ("steps", "rows", "x_step", "x_row", "out_step", "out_row")
ADDRESSES = ("x", "out", "W_xh", "W_hh", "b_h", "state")
_loops: dict[Any, Callable[..., None]] = {}  # by cell, shapes, machine and rows
_compiling = Lock()  # two threads often want the same loop at once


def can_compile(cell: Cell) -> bool:
    """Whether there is code for a step of a cell, and for all its activations."""
    names = {f.name for f in cell.settings.values() if isinstance(f, Activation)}
    return cell.needs_only_operands and names <= FUNCTIONS.keys()


class CompiledCell:
    """A cell whose steps run in one loop.

    Weights are ordered as they are read: by group of panels, row of the matrix, panel and sum. The
    state of a sequence is in slots: two for h before and after a step, which take turns, and one
    for each other array.
    """

    def __init__(self, cell: Cell) -> None:
        W_xh, W_hh, b_h = cell.operands
        self.cell, self.machine = cell, this_machine()
        self.H, self.slots = cell.hidden_size, 1 + len(cell.state_names)
        # Sums of a unit, and how many of them, the last ones, h adds to.
        self.B, self.C = len(b_h) // self.H, W_hh.shape[1] // self.H
        self.width = min(self.machine.bytes // b_h.itemsize, max(4, 1 << (self.H - 1).bit_length()))
        self.panels = -(-self.H // self.width)
        # Panels of a group: as many as registers can hold the sums of.
        self.group = max(1, min(self.panels, self.machine.rows // self.B))
        self.columns = None
        if len(W_xh) > FEW_INPUTS:
            self.columns = self.in_panels(W_xh).reshape(len(W_xh), -1)
            W_xh = W_xh[:0]
        self.inputs = len(W_xh)
        edges = range(self.group, self.panels, self.group)
        self.weights = [
            align(np.concatenate([a.ravel() for a in np.split(self.in_panels(W), edges, axis=1)]))
            for W in (W_xh, W_hh, b_h[None])
        ]

    def in_panels(self, W: Floats) -> Floats:
        """Return weights (K, sums * H) as (K, panels, sums, lanes)."""
        units = W.reshape(len(W), W.shape[1] // self.H, self.H)
        padding = self.panels * self.width - self.H
        padded = np.pad(units, ((0, 0), (0, 0), (0, padding)))
        return padded.reshape(*units.shape[:2], self.panels, self.width).swapaxes(1, 2)

    def __call__(self, x: Floats, state: State, out: Floats) -> State:
        """Run T steps, see `Strategy`."""
        _, N, H = out.shape
        rows = 1 if N == 1 else self.machine.rows
        loop, filled = self.compile_loop(rows), -(-N // rows) * rows
        slots = align(np.zeros((filled, self.slots, self.panels * self.width), x.dtype))
        views = [slots[:, k, :H] for k in (0, *range(2, self.slots))]
        for view, array in zip(views, state, strict=True):
            view[:N], view[N:] = array, array[-1]  # rows that fill a group repeat the last one
        done = 0
        for a in self.cut_blocks(x):
            h = out[done : done + len(a)]
            strides = [each.strides[axis] // h.itemsize for each in (a, h) for axis in (0, 1)]
            loop(len(a), N, *strides, *(b.ctypes.data for b in (a, h, *self.weights, slots)))
            if len(a) % 2:
                slots[:, 0] = slots[:, 1]
            done += len(a)
        return (out[-1], *(view[:N] for view in views[1:]))

    def cut_blocks(self, x: Floats) -> Iterator[Floats]:
        """Cut inputs into blocks; project them if they are many."""
        (T, N, I), columns = x.shape, self.columns
        if columns is None:
            x = x if x.flags.aligned and x.strides[-1] == x.itemsize else x.copy()
            size = max(1, WORK // (N * sum(W.size for W in self.weights)))
            return (x[start : start + size] for start in range(0, T, size))
        size = min(T, max(STEPS, max(SUMS_IN_CACHE // max(columns.shape), ROWS) // N))
        blocks = (contiguous(x[start : start + size]) for start in range(0, T, size))
        return ((a.reshape(-1, I) @ columns).reshape(len(a), N, -1) for a in blocks)

    def compile_loop(self, rows: int) -> Callable[..., None]:
        """Return the loop for so many sequences side by side, compiled once."""
        settings = str(dict(self.cell.settings))  # numbers in text lose no digits
        shapes = tuple(W.shape for W in self.cell.operands)
        key = (type(self.cell), settings, shapes, self.machine, rows)
        with _compiling:
            if key not in _loops:
                _loops[key] = Writer(self, rows).f.compile(self.machine)
            return _loops[key]


class Row(NamedTuple):
    """Addresses of a sequence at a step."""

    x: Address
    out: Address
    slots: list[Address]


class Writer:
    """The code of a loop over sequences, several side by side, and over their steps."""

    def __init__(self, loop: CompiledCell, rows: int) -> None:
        self.loop, self.rows, self.width = loop, rows, loop.width
        self.f = Function("advance", loop.width, INTEGERS, ADDRESSES)
        self.f.loop("%rows", self.write_steps, step=rows)

    def write_steps(self, first: Integer) -> tuple[()]:
        """Write all steps of the sequences from `first` on."""
        f, loop, padded = self.f, self.loop, self.loop.panels * self.width
        size, last = loop.slots * padded, f.plus("%rows", -1)
        numbers = [f.least(f.plus(first, n), last) for n in range(self.rows)]
        offsets = [(f.times(n, "%x_row"), f.times(n, "%out_row")) for n in numbers]
        state, units = f.address("%state", f.times(first, size)), loop.group * self.width
        groups, rest = divmod(loop.H, units)

        def step(_t: Integer, x: Address, out: Address, *turns: Address) -> Sequence[Address]:
            rows = []
            for n, (x_row, out_row) in enumerate(offsets):
                slots = [f.address(state, n * size + k * padded) for k in range(loop.slots)]
                slots[:2] = [f.address(h, n * size) for h in turns]
                rows.append(Row(f.address(x, x_row), f.address(out, out_row), slots))
            if groups:
                f.loop(groups, lambda n: self.write_group(rows, f.times(n, units), units))
            if rest:
                self.write_group(rows, groups * units, rest)
            return f.address(x, "%x_step"), f.address(out, "%out_step"), *reversed(turns)

        f.loop("%steps", step, "%x", "%out", state, f.address(state, padded))
        return ()

    def write_group(self, rows: list[Row], first: Integer, units: int) -> tuple[()]:
        """Write a step of the units from `first` on."""
        f, B, numbers = self.f, self.loop.B, Vectors()
        panels = list(product(rows, range(0, units, self.width)))
        sums = self.write_sums(rows, first, len(panels) // len(rows))
        for n, (row, offset) in enumerate(panels):
            start = f.plus(first, offset)
            state = [f.load(row.slots[k], start) for k in (0, *range(2, self.loop.slots))]
            after = self.loop.cell.step(numbers, sums[n * B : (n + 1) * B], *state)
            f.store(after[0], row.out, start, min(self.width, units - offset))
            for slot, vector in zip(row.slots[1:], after, strict=True):
                f.store(vector, slot, start, self.width)
        return ()

    def write_sums(self, rows: list[Row], first: Integer, panels: int) -> list[Vector]:
        """Write the sums of a group: for each row, for each panel."""
        f, loop, B, C = self.f, self.loop, self.loop.B, self.loop.C
        start = f.times(first, B)
        offsets = [f.plus(start, n * self.width) for n in range(panels * B)]
        sums = [f.load("%b_h", each) for each in offsets] * len(rows)
        if loop.columns is None:
            W_xh = f.address("%W_xh", f.times(start, loop.inputs))
            sums = self.add_products(sums, W_xh, [row.x for row in rows], loop.inputs)
        else:
            projected = [f.load(row.x, each) for row in rows for each in offsets]
            sums = [a + b for a, b in zip(projected, sums, strict=True)]
        with_h = [n for n in range(len(sums)) if n % B >= B - C]
        W_hh = f.address("%W_hh", f.times(first, C * loop.H))
        before = [row.slots[0] for row in rows]
        totals = self.add_products([sums[n] for n in with_h], W_hh, before, loop.H)
        for n, total in zip(with_h, totals, strict=True):
            sums[n] = total
        return sums

    def add_products(
        self, sums: list[Vector], W: Address, a: list[Address], K: int
    ) -> list[Vector]:
        """Add products of K values with W, ``a @ W``, to the sums of all rows, row by row."""
        f, width = self.f, len(sums) // len(a)
        split = max(1, IN_FLIGHT // len(sums))  # a few sums are split, as each addition waits

        def products(first: Integer, count: int, *totals: Any) -> list[Vector]:
            now = list(totals)
            weights = f.address(W, f.times(first, width * self.width))
            starts = [f.address(each, first) for each in a]
            for k in range(count):
                factors = [f.load_one(each, k) for each in starts]
                for n in range(width):
                    weight = f.load(weights, (k * width + n) * self.width)
                    for row, factor in enumerate(factors):
                        index = k % split * len(sums) + row * width + n
                        now[index] = f.fmuladd(factor, weight, now[index])
            return now

        totals: Sequence[Any] = [*sums, *[Vector(f, "zeroinitializer")] * ((split - 1) * len(sums))]
        rest = K if K <= SHORT else K % ROUND
        if rest < K:
            totals = f.loop(K - rest, lambda k, *now: products(k, ROUND, *now), *totals, step=ROUND)
        if rest:
            totals = products(K - rest, rest, *totals)
        return [sum(totals[n + len(sums) :: len(sums)], totals[n]) for n in range(len(sums))]


def align(values: Floats) -> Floats:
    """Copy values to the start of a cache line, so that no vector crosses two."""
    space = np.empty(values.size + 64 // values.itemsize, values.dtype)
    start = -space.ctypes.data % 64 // values.itemsize
    copy = space[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy
