"""The code of a loop over time.

The sums of a group of panels stay in registers, from the products to the
state. Several sequences, the rows of a batch, go side by side if there are
enough: each vector of weights is then loaded once for all of them.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

from rnncli.engine.compiled.activations import applied
from rnncli.engine.compiled.code import Address, Function, Integer, Vector
from rnncli.engine.compiled.loops import Loop, Panels
from rnncli.engine.compiled.machine import compiled_function
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats

INTEGERS = ("steps", "rows", "x_step", "x_row", "out_step", "out_row")
# The last three are of a product within a step: its weights, what they multiply, and the sums
# before. Behind them come the arrays of the state.
ADDRESSES = ("x", "out", "W_xh", "W_hh", "b_h", "operands", "W_inner", "inner", "sums")

# Rows of a matrix that are multiplied in one round of a loop, and how many need none.
ROUND, SHORT = 4, 32
# Sums that are added to at once: of two additions a cycle each takes four.
IN_FLIGHT = 8


# run(x, out, *arrays): steps of N rows. x is (T, N, I), or projected (T, N, sums), out (T, N, H).
# The others are in the order of `ADDRESSES`: weights as `Loop.packed` returns them; what products
# take of h, (N, 2, padded), of which the first is before the first step; the weights of the
# product within a step, (N, padded) and (N, blocks * padded); and the state as `Loop.padded`
# returns it.
Run: TypeAlias = Callable[..., None]
# then(row, values, place, units): writes what becomes of the values of a panel, whose units
# begin at a place in the arrays of the row.
Then: TypeAlias = Callable[["Row", Sequence[Vector], Integer, int], None]


class Row(NamedTuple):
    """Where a step finds what belongs to a sequence.

    Parameters
    ----------
    x, out : str
        Its input, and the place of h.
    before, after : str
        What products take of h, before the step and after it.
    state : list of str
        The arrays of its state.
    inner, sums : str
        What the product within a step takes, and the sums before it.
    """

    x: Address
    out: Address
    before: Address
    after: Address
    state: list[Address]
    inner: Address
    sums: Address


# Two threads often want the same loop at once.
_compiling = Lock()


def compiled_loop(loop: Loop) -> Run:
    """Compile the code of a loop, unless that is done."""
    with _compiling:
        return _compiled(loop)


@lru_cache(maxsize=100)
def _compiled(loop: Loop) -> Run:
    text, addresses = code_of(loop)
    call = compiled_function(text, "advance", len(INTEGERS), addresses, loop.machine)
    size = loop.dtype.itemsize

    def run(
        x: Floats,
        out: Floats,
        W_xh: Floats,
        W_hh: Floats,
        b_h: Floats,
        operands: Floats,
        *others: Floats,
    ) -> None:
        T, N, _ = out.shape
        strides = [array.strides[axis] // size for array in (x, out) for axis in (0, 1)]
        arrays = (x, out, W_xh, W_hh, b_h, operands, *others)
        call(T, N, *strides, *(array.ctypes.data for array in arrays))
        if T % 2:  # the two places of an operand take turns
            operands[:, 0] = operands[:, 1]

    return run


def code_of(loop: Loop) -> tuple[str, int]:
    """Write the function ``advance`` of a loop, and return it with its number of addresses."""
    states = [f"state_{name}" for name in loop.cell.state_names]
    f = Function("advance", loop.lanes, INTEGERS, [*ADDRESSES, *states])
    padded = loop.panels * loop.lanes.width
    step = _Step(loop, f)

    def row(number: Integer, last: Integer) -> Row:
        there = f.least(number, last)  # rows that fill a group are the last one again
        before = f.address("%operands", f.times(number, 2 * padded))
        return Row(
            f.address("%x", f.times(there, "%x_row")),
            f.address("%out", f.times(there, "%out_row")),
            before,
            f.address(before, padded),
            [f.address(f"%{each}", f.times(number, padded)) for each in states],
            f.address("%inner", f.times(number, padded)),
            f.address("%sums", f.times(number, loop.blocks * padded)),
        )

    def all_steps(first: Integer) -> Sequence[Any]:
        last = f.plus("%rows", -1)
        rows = [row(f.plus(first, n), last) for n in range(loop.rows)]

        def one_step(_t: Integer, *moving: Address) -> list[Address]:
            now = []
            for n, each in enumerate(rows):
                x, out, before, after = moving[4 * n : 4 * n + 4]
                now.append(each._replace(x=x, out=out, before=before, after=after))
            step.write(now)
            following: list[Address] = []
            for each in now:
                x, out = f.address(each.x, "%x_step"), f.address(each.out, "%out_step")
                following += x, out, each.after, each.before
            return following

        f.loop("%steps", one_step, *(address for each in rows for address in each[:4]))
        return ()

    f.loop("%rows", all_steps, step=loop.rows)
    return f.text(), len(ADDRESSES) + len(states)


class Vectors:
    """Vectors of code as a kind of number; a product within a step is computed apart."""

    operand: Vector
    result: Vector

    def apply(self, f: Activation, a: Vector, clip: float = inf) -> Vector:
        """Write ``f(a)`` for a limited to ±`clip`."""
        return applied(f, a, clip)

    def product(self, a: Vector, W: Floats, name: str) -> Vector:  # noqa: ARG002
        """Note what is multiplied, and return the product that was computed of it."""
        self.operand = a
        return self.result

    def weight(self, w: Floats, name: str) -> Vector:
        """Refuse: no loop is written for such a cell."""
        raise NotImplementedError(name)

    def carry(self, c: Vector, f: Vector, added: Vector) -> Vector:
        """Write ``f c + added``."""
        return f * c + added

    def mix(self, z: Vector, a: Vector, b: Vector) -> Vector:
        """Write ``b + z (a - b)``."""
        return b + z * (a - b)


class _Step:
    """A step of some rows, as it is written."""

    def __init__(self, loop: Loop, f: Function) -> None:
        self._loop, self._f, self._lanes = loop, f, loop.lanes.width
        self._numbers = Vectors()

    def write(self, rows: Sequence[Row]) -> None:
        """Write the step."""
        if self._loop.inner:
            self._of_groups(rows, self._sums, self._keep)
            self._of_groups(rows, self._inner_products, self._units_of_kept)
        else:
            self._of_groups(rows, self._sums, self._units)

    def _of_groups(
        self, rows: Sequence[Row], values: Callable[..., list[Vector]], then: Then
    ) -> None:
        """Write values of the units of all groups of panels, and what becomes of them."""
        f, lanes = self._f, self._lanes

        def group(first: Integer, panels: Panels) -> None:
            unit = f.times(first, lanes)
            vectors = values(rows, unit, panels.number)
            each = len(vectors) // (len(rows) * panels.number)
            for n in range(len(rows) * panels.number):
                number, panel = divmod(n, panels.number)
                units = panels.units if panel == panels.number - 1 else lanes
                place = f.plus(unit, panel * lanes)
                then(rows[number], vectors[n * each : (n + 1) * each], place, units)

        def whole(n: Integer) -> Sequence[Any]:
            group(f.times(n, self._loop.at_once), Panels(0, self._loop.at_once, lanes))
            return ()

        number, left = self._loop.groups
        if number:
            f.loop(number, whole)
        for panels in left:
            group(panels.first, panels)

    def _sums(self, rows: Sequence[Row], unit: Integer, panels: int) -> list[Vector]:
        """Write the sums of some panels, from a unit on: for each row, for each panel."""
        f, loop, lanes = self._f, self._loop, self._lanes
        place = f.times(unit, loop.blocks)
        places = [f.plus(place, n * lanes) for n in range(panels * loop.blocks)]
        bias = [f.load("%b_h", each) for each in places]
        if loop.inputs:
            W_xh = f.address("%W_xh", f.times(place, loop.inputs))
            sums = self._with_products(bias * len(rows), W_xh, [row.x for row in rows], loop.inputs)
        else:
            terms = list(zip(places, bias, strict=True))
            sums = [f.load(row.x, each) + b for row in rows for each, b in terms]
        first = loop.blocks - loop.with_state
        of_state = [n for n in range(len(sums)) if n % loop.blocks >= first]
        W_hh = f.address("%W_hh", f.times(unit, loop.with_state * loop.hidden_size))
        before, chosen = [row.before for row in rows], [sums[n] for n in of_state]
        totals = self._with_products(chosen, W_hh, before, loop.hidden_size)
        for n, total in zip(of_state, totals, strict=True):
            sums[n] = total
        return sums

    def _inner_products(self, rows: Sequence[Row], unit: Integer, panels: int) -> list[Vector]:
        """Write the product within a step, from a unit on: for each row, for each panel."""
        f, H = self._f, self._loop.hidden_size
        W = f.address("%W_inner", f.times(unit, H))
        zeros = [f.zeros()] * (panels * len(rows))
        return self._with_products(zeros, W, [row.inner for row in rows], H)

    def _units(self, row: Row, sums: Sequence[Vector], place: Integer, units: int) -> None:
        """Write what the cell makes of the sums of a panel."""
        f = self._f
        state = [f.load(array, place) for array in row.state]
        after = self._loop.cell.step(self._numbers, sums, *state)
        for array, vector in zip(row.state, after, strict=True):
            f.store(vector, array, place)
        f.store(after[0], row.out, place, units)
        f.store(after[0], row.after, place)

    def _keep(self, row: Row, sums: Sequence[Vector], place: Integer, _units: int) -> None:
        """Write what the product within a step takes of a panel, and keep its sums."""
        f = self._f
        state = [f.load(array, place) for array in row.state]
        self._numbers.result = f.zeros()  # LLVM drops what is computed from it
        self._loop.cell.step(self._numbers, sums, *state)
        f.store(self._numbers.operand, row.inner, place)
        for each, vector in zip(self._kept(place), sums, strict=True):
            f.store(vector, row.sums, each)

    def _units_of_kept(
        self, row: Row, product: Sequence[Vector], place: Integer, units: int
    ) -> None:
        """Write what the cell makes of the sums of a panel, and of the product within a step."""
        sums = [self._f.load(row.sums, each) for each in self._kept(place)]
        (self._numbers.result,) = product
        self._units(row, sums, place, units)

    def _kept(self, place: Integer) -> list[Integer]:
        """Write where the sums of a panel are kept."""
        first = self._f.times(place, self._loop.blocks)
        return [self._f.plus(first, n * self._lanes) for n in range(self._loop.blocks)]

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
                    for row, factor in enumerate(of_rows):
                        place = part + row * width + n
                        now[place] = f.multiply_add(factor, weight, now[place])
            return now

        totals: Sequence[Any] = [*sums, *[f.zeros()] * ((parts - 1) * len(sums))]
        rest = K if K <= SHORT else K % ROUND
        if rest < K:
            totals = f.loop(K - rest, lambda k, *now: products(k, ROUND, *now), *totals, step=ROUND)
        if rest:
            totals = products(K - rest, rest, *totals)
        return [sum(totals[n + len(sums) :: len(sums)], totals[n]) for n in range(len(sums))]
