"""A cell in one compiled loop over time: its code, and the layout of its arrays.

The units of a layer are cut into panels, with as many units as a vector has lanes. The sums of a
group of neighbouring panels stay in registers from the products to the state. If there are enough
sequences, the rows of a batch, several run side by side and share each vector of weights loaded.
Large weights are read once a step for all rows; small ones stay in the cache for all steps.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
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

# Most inputs of one sequence that a loop multiplies itself: a step would read more from memory.
FEW_INPUTS = 32
# Bytes of W_hh, half of the fastest cache or more, from which each group is read once a step.
LARGE = 1 << 17
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
        W_xh, W_hh, b_h = self.operands = cell.operands
        self.cell, self.machine = cell, this_machine()
        self.H, self.slots = cell.hidden_size, 1 + len(cell.state_names)
        # Sums of a unit, and how many of them, the last ones, h adds to.
        self.B, self.C = len(b_h) // self.H, W_hh.shape[1] // self.H
        self.width = min(self.machine.bytes // b_h.itemsize, max(4, 1 << (self.H - 1).bit_length()))
        self.panels = -(-self.H // self.width)
        # Panels of a group: as many as registers can hold the sums of.
        self.group = max(1, min(self.panels, self.machine.rows // self.B))
        self.inputs, self.by_step = len(W_xh), W_hh.nbytes > LARGE
        self.weights = self.order(W_hh), self.order(b_h[None])

    @cached_property
    def input_weights(self) -> Floats:
        """The weights that the loop multiplies inputs by."""
        return self.order(self.operands.W_xh)

    @cached_property
    def columns(self) -> Floats:
        """The weights that BLAS multiplies inputs by, (I, panels * sums * lanes)."""
        return self.in_panels(self.operands.W_xh).reshape(self.inputs, -1)

    def order(self, W: Floats) -> Floats:
        """Return weights (K, sums * H) in the order in which a step reads them."""
        edges = range(self.group, self.panels, self.group)
        groups = np.split(self.in_panels(W), edges, axis=1)
        return align(np.concatenate([each.ravel() for each in groups]))

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
        projects = self.inputs > FEW_INPUTS and not (self.by_step and rows > 1)
        loop, filled = self.compile_loop(rows, projects), -(-N // rows) * rows
        slots = align(np.zeros((filled, self.slots, self.panels * self.width), x.dtype))
        views = [slots[:, k, :H] for k in (0, *range(2, self.slots))]
        for view, array in zip(views, state, strict=True):
            view[:N], view[N:] = array, array[-1]  # rows that fill a group repeat the last one
        W_xh, done = self.columns if projects else self.input_weights, 0
        for a in self.project_blocks(x) if projects else self.cut_blocks(x):
            h = out[done : done + len(a)]
            strides = [each.strides[axis] // h.itemsize for each in (a, h) for axis in (0, 1)]
            arrays = (a, h, W_xh, *self.weights, slots)
            loop(len(a), N, *strides, *(array.ctypes.data for array in arrays))
            if len(a) % 2:
                slots[:, 0] = slots[:, 1]
            done += len(a)
        return (out[-1], *(view[:N] for view in views[1:]))

    def cut_blocks(self, x: Floats) -> Iterator[Floats]:
        """Cut inputs into blocks."""
        T, N, _ = x.shape
        x = x if x.flags.aligned and x.strides[-1] == x.itemsize else x.copy()
        size = max(1, WORK // (N * sum(W.size for W in self.operands)))
        for start in range(0, T, size):
            block = x[start : start + size]
            # Rows whose distance is a power of 2 would share a few lines of the cache.
            yield contiguous(block) if self.by_step and N > 1 else block

    def project_blocks(self, x: Floats) -> Iterator[Floats]:
        """Project inputs block by block."""
        (T, N, I), W = x.shape, self.columns
        size = min(T, max(STEPS, max(SUMS_IN_CACHE // max(W.shape), ROWS) // N))
        for start in range(0, T, size):
            rows = contiguous(x[start : start + size]).reshape(-1, I)
            yield (rows @ W).reshape(-1, N, W.shape[1])

    def compile_loop(self, rows: int, projects: bool) -> Callable[..., None]:
        """Return the loop for so many sequences side by side, compiled once."""
        settings = str(dict(self.cell.settings))  # numbers in text lose no digits
        sizes = self.inputs, self.H, rows
        key = (type(self.cell), settings, self.machine, sizes, projects)
        with _compiling:
            if key not in _loops:
                _loops[key] = Writer(self, rows, projects).f.compile(self.machine)
            return _loops[key]


class Offsets(NamedTuple):
    """Begins of a sequence in the arrays of all sequences at a step."""

    x: Integer
    out: Integer
    state: Integer


class Row(NamedTuple):
    """Addresses of a sequence at a step."""

    x: Address
    out: Address
    slots: list[Address]


class Writer:
    """The code of a loop over sequences, several side by side, and over their steps."""

    def __init__(self, loop: CompiledCell, rows: int, projects: bool) -> None:
        self.loop, self.rows, self.width, self.projects = loop, rows, loop.width, projects
        self.f = Function("advance", loop.width, INTEGERS, ADDRESSES)
        if loop.by_step and rows > 1:
            self.write_steps()
        else:
            self.f.loop("%rows", lambda n: self.write_steps(self.find_offsets(n)), step=rows)

    def write_steps(self, offsets: Sequence[Offsets] = ()) -> tuple[()]:
        """Write all steps of the sequences at some offsets, or each step of all sequences."""
        f, loop = self.f, self.loop
        units = loop.group * self.width
        groups, rest = divmod(loop.H, units)

        def step(_t: Integer, x: Address, out: Address, *turns: Address) -> Sequence[Address]:
            def find_rows(offsets: Sequence[Offsets]) -> list[Row]:
                return [self.find_row(each, x, out, turns) for each in offsets]

            rows = find_rows(offsets)

            def write(unit: Integer, units: int) -> tuple[()]:
                def write_rows(n: Integer) -> tuple[()]:
                    return self.write_group(find_rows(self.find_offsets(n)), unit, units)

                if rows:
                    return self.write_group(rows, unit, units)
                f.loop("%rows", write_rows, step=self.rows)
                return ()

            if groups:
                f.loop(groups, lambda n: write(f.times(n, units), units))
            if rest:
                write(groups * units, rest)
            return f.address(x, "%x_step"), f.address(out, "%out_step"), *reversed(turns)

        second = f.address("%state", loop.panels * self.width)
        f.loop("%steps", step, "%x", "%out", "%state", second)
        return ()

    def find_offsets(self, first: Integer) -> list[Offsets]:
        """Find where the sequences from `first` on begin; past the end the last one is read."""
        f, size = self.f, self.loop.slots * self.loop.panels * self.width
        last, offsets = f.plus("%rows", -1), list[Offsets]()
        for number in [f.plus(first, n) for n in range(self.rows)]:
            row = f.least(number, last)
            x, out = f.times(row, "%x_row"), f.times(row, "%out_row")
            offsets.append(Offsets(x, out, f.times(number, size)))
        return offsets

    def find_row(self, at: Offsets, x: Address, out: Address, turns: Sequence[Address]) -> Row:
        """Find the addresses of a sequence; `turns` are the slots of h before and after a step."""
        f, padded = self.f, self.loop.panels * self.width
        state = f.address("%state", at.state)
        rest = [f.address(state, k * padded) for k in range(2, self.loop.slots)]
        slots = [*(f.address(h, at.state) for h in turns), *rest]
        return Row(f.address(x, at.x), f.address(out, at.out), slots)

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
        if not self.projects:
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
        while len(totals) > len(sums):  # in pairs, as each addition waits for the one before
            half = len(totals) // 2
            totals = [a + b for a, b in zip(totals[:half], totals[half:], strict=True)]
        return [*totals]


def align(values: Floats) -> Floats:
    """Copy values to the start of a cache line, so that no vector crosses two."""
    space = np.empty(values.size + 64 // values.itemsize, values.dtype)
    start = -space.ctypes.data % 64 // values.itemsize
    copy = space[start : start + values.size].reshape(values.shape)
    copy[...] = values
    return copy
