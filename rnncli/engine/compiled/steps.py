"""The code of a loop over time.

The sums of a group of panels stay in registers, from the products to the
state. Several sequences, the rows of a batch, go side by side if there are
enough: each vector of weights is then loaded once for all of them.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from rnncli.engine.compiled.code import Address, Function, Integer, Vector
from rnncli.engine.compiled.functions import applied
from rnncli.engine.compiled.loops import Loop, Panels
from rnncli.engine.compiled.machine import compiled_function
from rnncli.model.arrays import Floats

INTEGERS = ("steps", "rows", "x_step", "x_row", "out_step", "out_row")
ADDRESSES = ("x", "out", "W_xh", "W_hh", "b_h", "operands")
# Of a cell with a product within a step: its weights, what they multiply, and the sums before.
INNER = ("W_inner", "inner_operand", "sums")

# Rows of a matrix that are multiplied in one round of a loop, and how many need none.
ROUND, SHORT = 4, 32
# Sums that are added to at once: of two additions a cycle each takes four.
IN_FLIGHT = 8


# run(x, out, *arrays): steps of N rows. x is (T, N, I), or projected (T, N, sums), out (T, N, H).
# The others are, in the order of `ADDRESSES` and `INNER`, the weights as `Loop.packed` returns
# them, what products take of h, (N, 2, padded), of which the first is before the first step, and
# the arrays of the state as `Loop.padded` returns them; and between these two, of a cell with a
# product within a step, its weights, and arrays (N, padded) and (N, blocks * padded).
Run: TypeAlias = Callable[..., None]


class Row(NamedTuple):
    """Where a step finds what belongs to a sequence.

    Parameters
    ----------
    x, out : str
        Its input, and the place of h.
    before, after : str
        What products take of h, before the step and after it.
    """

    x: Address
    out: Address
    before: Address
    after: Address


# Two threads often want the same loop at once.
_compiling = Lock()


def compiled_loop(loop: Loop) -> Run:
    """Compile the code of a loop, unless that is done."""
    with _compiling:
        return _compiled(loop)


@cache
def _compiled(loop: Loop) -> Run:
    text, addresses = code_of(loop)
    call = compiled_function(text, "advance", len(INTEGERS), addresses, loop.machine)
    size = loop.dtype.itemsize

    def run(x: Floats, out: Floats, *arrays: Floats) -> None:
        T, N, _ = out.shape
        strides = [array.strides[axis] // size for array in (x, out) for axis in (0, 1)]
        call(T, N, *strides, *(array.ctypes.data for array in (x, out, *arrays)))
        if T % 2:  # the two places of an operand take turns
            operands = arrays[ADDRESSES.index("operands") - 2]
            operands[:, 0] = operands[:, 1]

    return run


def code_of(loop: Loop) -> tuple[str, int]:
    """Write the function ``advance`` of a loop, and return it with its number of addresses."""
    states = [f"state_{name}" for name in loop.cell.state_names]
    addresses = [*ADDRESSES, *(INNER if loop.inner else ()), *states]
    f = Function("advance", loop.lanes, INTEGERS, addresses)
    padded = loop.panels * loop.lanes.width

    def all_steps(first: Integer) -> Sequence[Any]:
        numbers, last = [f.plus(first, n) for n in range(loop.rows)], f.plus("%rows", -1)
        rows, arrays, inner = [], [], []
        for number in numbers:
            there = f.least(number, last)  # rows that fill a group are the last one again
            x = f.address("%x", f.times(there, "%x_row"))
            out = f.address("%out", f.times(there, "%out_row"))
            operand = f.address("%operands", f.times(number, 2 * padded))
            rows.append(Row(x, out, operand, f.address(operand, padded)))
            arrays.append([f.address(f"%{each}", f.times(number, padded)) for each in states])
            if loop.inner:
                operand = f.address("%inner_operand", f.times(number, padded))
                sums = f.address("%sums", f.times(number, loop.blocks * padded))
                inner.append((operand, sums))
        step = _Step(loop, f, arrays, inner)

        def one_step(_t: Integer, *places: Address) -> list[Address]:
            now = [Row(*places[n : n + 4]) for n in range(0, len(places), 4)]
            step.write(now)
            following: list[Address] = []
            for row in now:
                x, out = f.address(row.x, "%x_step"), f.address(row.out, "%out_step")
                following += Row(x, out, before=row.after, after=row.before)
            return following

        f.loop("%steps", one_step, *(place for row in rows for place in row))
        return ()

    f.loop("%rows", all_steps, step=loop.rows)
    return f.text(), len(addresses)


class _Step:
    """A step of some rows, as it is written.

    Parameters
    ----------
    loop : Loop
    f : Function
    arrays : list of lists of str
        The arrays of the state of each row.
    inner : list of tuples of str
        Of each row what the product within a step takes, and the sums before.
    """

    def __init__(
        self,
        loop: Loop,
        f: Function,
        arrays: list[list[Address]],
        inner: list[tuple[Address, Address]],
    ) -> None:
        self._loop, self._f, self._arrays, self._inner = loop, f, arrays, inner
        self._cell, self._lanes = loop.cell, loop.lanes.width

    def write(self, rows: Sequence[Row]) -> None:
        """Write the step."""
        if self._loop.inner:
            self._all_panels(partial(self._panels, rows, self._to_inner))
            self._all_panels(partial(self._with_inner, rows))
        else:
            self._all_panels(partial(self._panels, rows, self._units))

    def _all_panels(self, write: Callable[[Integer, Panels], None]) -> None:
        """Write something of the units of all panels: of those in whole groups as a loop."""
        number, left = self._loop.groups
        full = Panels(0, self._loop.at_once, self._lanes)

        def group(n: Integer) -> Sequence[Any]:
            write(self._f.times(n, full.number), full)
            return ()

        if number:
            self._f.loop(number, group)
        for panels in left:
            write(panels.first, panels)

    def _panels(
        self, rows: Sequence[Row], then: Callable[..., None], first: Integer, panels: Panels
    ) -> None:
        """Write the sums of some panels, and what becomes of them."""
        f, loop, lanes = self._f, self._loop, self._lanes
        blocks, unit = loop.blocks, f.times(first, lanes)
        place, count = f.times(unit, blocks), panels.number * blocks
        places = [f.plus(place, n * lanes) for n in range(count)]
        bias = [f.load("%b_h", each) for each in places]
        if loop.inputs:
            W_xh = f.address("%W_xh", f.times(place, loop.inputs))
            sums = self._with_products(bias * len(rows), W_xh, [row.x for row in rows], loop.inputs)
        else:
            terms = list(zip(places, bias, strict=True))
            sums = [f.load(row.x, each) + b for row in rows for each, b in terms]
        of_state = [n for n in range(len(sums)) if n % blocks >= blocks - loop.with_state]
        W_hh = f.address("%W_hh", f.times(unit, loop.with_state * loop.hidden_size))
        chosen = [sums[n] for n in of_state]
        before = [row.before for row in rows]
        totals = self._with_products(chosen, W_hh, before, loop.hidden_size)
        for n, total in zip(of_state, totals, strict=True):
            sums[n] = total
        for number, row in enumerate(rows):
            for panel in range(panels.number):
                start = number * count + panel * blocks
                array = f.plus(unit, panel * lanes)
                units = panels.units if panel == panels.number - 1 else lanes
                then(sums[start : start + blocks], number, row, array, units)

    def _to_inner(
        self, sums: Sequence[Vector], number: int, _row: Row, place: Integer, _units: int
    ) -> None:
        """Write what the product within a step takes of a panel, and keep its sums."""
        f, (operand, kept) = self._f, self._inner[number]
        state = [f.load(array, place) for array in self._arrays[number]]
        f.store(self._operand(self._cell.inner_operand(applied, sums, *state)), operand, place)
        for n, vector in enumerate(sums):
            f.store(vector, kept, f.plus(f.times(place, self._loop.blocks), n * self._lanes))

    def _with_inner(self, rows: Sequence[Row], first: Integer, panels: Panels) -> None:
        """Write the product within a step of some panels, and what the cell makes of it."""
        f, loop, lanes = self._f, self._loop, self._lanes
        unit = f.times(first, lanes)
        W = f.address("%W_inner", f.times(unit, loop.hidden_size))
        zeros = [f.zeros()] * (panels.number * len(rows))
        operands = [operand for operand, _ in self._inner]
        products = self._with_products(zeros, W, operands, loop.hidden_size)
        for number, row in enumerate(rows):
            for panel in range(panels.number):
                place = f.plus(unit, panel * lanes)
                start = f.times(place, loop.blocks)
                kept = self._inner[number][1]
                sums = [f.load(kept, f.plus(start, n * lanes)) for n in range(loop.blocks)]
                sums.append(products[number * panels.number + panel])
                units = panels.units if panel == panels.number - 1 else lanes
                self._units(sums, number, row, place, units)

    def _units(
        self, sums: Sequence[Vector], number: int, row: Row, place: Integer, units: int
    ) -> None:
        """Write what the cell makes of the sums of a panel."""
        f, arrays = self._f, self._arrays[number]
        state = self._cell.step(applied, sums, *(f.load(array, place) for array in arrays))
        for array, vector in zip(arrays, state, strict=True):
            f.store(vector, array, place)
        f.store(state[0], row.out, place, units)
        f.store(self._operand(state[0]), row.after, place)

    def _operand(self, vector: Vector) -> Vector:
        """Write what a product takes of a vector."""
        mantissa = self._loop.mantissa
        return vector if mantissa is None else self._f.rounded(vector, mantissa)

    def _with_products(
        self, sums: Sequence[Vector], W: Address, places: Sequence[Address], K: int
    ) -> list[Vector]:
        """Add to the sums of all rows, one row after the other, their products with K weights.

        Few sums are added up in several parts, so that an addition need not
        wait for the one before.
        """
        f, lanes, width = self._f, self._lanes, len(sums) // len(places)
        parts = max(1, IN_FLIGHT // len(sums))

        def products(first: Integer, number: int, *totals: Vector) -> list[Vector]:
            now = list(totals)
            weights = f.address(W, f.times(first, width * lanes))
            factors = [f.address(place, first) for place in places]
            for k in range(number):
                part = k % parts * len(sums)
                of_rows = [f.load_one(each, k) for each in factors]
                for n in range(width):
                    weight = f.load(weights, (k * width + n) * lanes)
                    for place, factor in zip(
                        range(part + n, len(now), width), of_rows, strict=False
                    ):
                        now[place] = f.multiply_add(factor, weight, now[place])
            return now

        totals: Sequence[Any] = [*sums, *[f.zeros()] * ((parts - 1) * len(sums))]
        rest = K if K <= SHORT else K % ROUND
        if rest < K:
            body = lambda k, *now: products(k, ROUND, *now)  # noqa: E731
            totals = f.loop(K - rest, body, *totals, step=ROUND)
        if rest:
            totals = products(K - rest, rest, *totals)
        return [sum(totals[n + len(sums) :: len(sums)], totals[n]) for n in range(len(sums))]
