"""Code in the language of LLVM, written from expressions of vectors.

A `Function` collects lines of text. A `Vector` has the operators of NumPy's
arrays, so that an equation reads as it does there; each operator writes a
line. A value never changes, so a loop takes the values that do, and returns
what has become of them.

Source: the LLVM Language Reference, https://llvm.org/docs/LangRef.html.
"""

from collections.abc import Callable, Sequence
from struct import pack
from typing import NamedTuple, TypeAlias, Union

import numpy as np

# The name of an integer, or a number; the name of an address.
Integer: TypeAlias = str | int
Address: TypeAlias = str
Operand: TypeAlias = Union["Vector", float]
# What a loop carries from one round to the next.
Carried: TypeAlias = Union["Vector", Address]
Body: TypeAlias = Callable[..., Sequence[Carried]]


class Lanes(NamedTuple):
    """The floats of a vector: how many, and the bits of each, 32 or 64."""

    width: int
    bits: int

    @property
    def item(self) -> str:
        """LLVM's type of one of them."""
        return "float" if self.bits == 32 else "double"

    @property
    def type(self) -> str:
        """LLVM's type of all of them."""
        return f"<{self.width} x {self.item}>"

    @property
    def whole(self) -> str:
        """LLVM's type of as many integers of as many bits."""
        return f"<{self.width} x i{self.bits}>"

    @property
    def mantissa(self) -> int:
        """Explicit bits of the mantissa of one."""
        return 23 if self.bits == 32 else 52


class Vector:
    """A vector, or the truths of a comparison, in the function that its operators write."""

    __slots__ = ("function", "name")

    def __init__(self, function: "Function", name: str) -> None:
        self.function, self.name = function, name

    def __add__(self, other: Operand) -> "Vector":
        return self.function.binary("fadd contract", self, other)

    def __radd__(self, other: Operand) -> "Vector":
        return self.function.binary("fadd contract", other, self)

    def __sub__(self, other: Operand) -> "Vector":
        return self.function.binary("fsub contract", self, other)

    def __rsub__(self, other: Operand) -> "Vector":
        return self.function.binary("fsub contract", other, self)

    def __mul__(self, other: Operand) -> "Vector":
        return self.function.binary("fmul contract", self, other)

    def __rmul__(self, other: Operand) -> "Vector":
        return self.function.binary("fmul contract", other, self)

    def __truediv__(self, other: Operand) -> "Vector":
        return self.function.binary("fdiv", self, other)

    def __rtruediv__(self, other: Operand) -> "Vector":
        return self.function.binary("fdiv", other, self)

    def __lt__(self, other: Operand) -> "Vector":
        return self.function.binary("fcmp olt", self, other)

    def __gt__(self, other: Operand) -> "Vector":
        return self.function.binary("fcmp ogt", self, other)

    def __neg__(self) -> "Vector":
        return -1 * self

    def __abs__(self) -> "Vector":
        return self.function.call("fabs", self)


class Function:
    """A function that is being written: its parameters are integers, then addresses.

    No address leads to what another one leads to.
    """

    def __init__(
        self, name: str, lanes: Lanes, integers: Sequence[str], addresses: Sequence[str]
    ) -> None:
        self.name, self.lanes, self.parameters = name, lanes, (len(integers), len(addresses))
        self._lines: list[str] = []
        self._declared: set[str] = set()
        self._label, self._count = "entry", 0
        given = [f"i64 %{each}" for each in integers]
        given += [f"ptr noalias %{each}" for each in addresses]
        self._head = f"define void @{name}({', '.join(given)}) {{\nentry:"

    def text(self) -> str:
        """Return the whole function, and the declarations of what it calls."""
        lines = [*sorted(self._declared), self._head, *self._lines, "ret void", "}", ""]
        return "\n".join(lines)

    def binary(self, operation: str, a: Operand, b: Operand) -> Vector:
        """Write an operation of two vectors; a number stands for one in all lanes.

        The product in a sum need not be rounded ("contract").
        """
        return self._vector(f"{operation} {self.lanes.type} {self._named(a)}, {self._named(b)}")

    def call(self, name: str, *operands: Operand) -> Vector:
        """Write a call of one of LLVM's own functions of vectors, such as ``fabs``."""
        kind = self.lanes.type
        full = f"@llvm.{name}.v{self.lanes.width}f{self.lanes.bits}"
        self._declared.add(f"declare {kind} {full}({', '.join([kind] * len(operands))})")
        given = ", ".join(f"{kind} {self._named(each)}" for each in operands)
        return self._vector(f"call {kind} {full}({given})")

    def multiply_add(self, a: Operand, b: Operand, c: Operand) -> Vector:
        """Compute ``a b + c``, rounded once where the processor can."""
        return self.call("fmuladd", a, b, c)

    def where(self, truth: Vector, a: Operand, b: Operand) -> Vector:
        """Take `a` in the lanes where it is true, `b` in the others."""
        kind, width = self.lanes.type, self.lanes.width
        chosen = f"{kind} {self._named(a)}, {kind} {self._named(b)}"
        return self._vector(f"select <{width} x i1> {truth.name}, {chosen}")

    def at_most(self, a: Vector, limit: float) -> Vector:
        """Limit a vector from above; what is not a number stays so."""
        return self.where(a > limit, limit, a)

    def at_least(self, a: Vector, limit: float) -> Vector:
        """Limit a vector from below; what is not a number stays so."""
        return self.where(a < limit, limit, a)

    def power_of_two(self, a: Vector) -> Vector:
        """Compute ``2 ** a`` of integers for which that is a normal number.

        A number so large that its last bit counts ones has the integer in its
        last bits, to which the bias of exponents is added.
        """
        bits, mantissa, whole = self.lanes.bits, self.lanes.mantissa, self.lanes.whole
        bias = 2 ** (bits - mantissa - 2) - 1
        large = a + (1.5 * 2.0**mantissa + bias)
        integers = self._write(f"bitcast {self.lanes.type} {large.name} to {whole}")
        shift = f"<{', '.join([f'i{bits} {mantissa}'] * self.lanes.width)}>"
        shifted = self._write(f"shl {whole} {integers}, {shift}")
        return self._vector(f"bitcast {whole} {shifted} to {self.lanes.type}")

    def zeros(self) -> Vector:
        """Return a vector of zeros."""
        return Vector(self, "zeroinitializer")

    def plus(self, a: Integer, b: Integer) -> str:
        """Compute ``a + b`` of integers."""
        return self._write(f"add i64 {a}, {b}")

    def times(self, a: Integer, b: Integer) -> str:
        """Compute ``a b`` of integers."""
        return self._write(f"mul i64 {a}, {b}")

    def least(self, a: Integer, b: Integer) -> str:
        """Compute the lesser of two integers."""
        self._declared.add("declare i64 @llvm.umin.i64(i64, i64)")
        return self._write(f"call i64 @llvm.umin.i64(i64 {a}, i64 {b})")

    def address(self, base: Address, index: Integer) -> Address:
        """Return where a float of an array stands."""
        return self._write(f"getelementptr {self.lanes.item}, ptr {base}, i64 {index}")

    def load(self, base: Address, index: Integer = 0) -> Vector:
        """Load neighbours, one into each lane."""
        kind, align = self.lanes.type, self.lanes.bits // 8
        return self._vector(f"load {kind}, ptr {self.address(base, index)}, align {align}")

    def load_one(self, base: Address, index: Integer = 0) -> Vector:
        """Load a float into all lanes."""
        kind, item, width = self.lanes.type, self.lanes.item, self.lanes.width
        one = self._write(f"load {item}, ptr {self.address(base, index)}")
        first = self._write(f"insertelement {kind} poison, {item} {one}, i32 0")
        zeros = f"<{width} x i32> zeroinitializer"
        return self._vector(f"shufflevector {kind} {first}, {kind} poison, {zeros}")

    def store(
        self, vector: Vector, base: Address, index: Integer = 0, only: int | None = None
    ) -> None:
        """Store the lanes side by side, all or the first few."""
        kind, align, width = self.lanes.type, self.lanes.bits // 8, self.lanes.width
        place = self.address(base, index)
        if only in (None, width):
            self._lines.append(f"store {kind} {vector.name}, ptr {place}, align {align}")
            return
        stored = ", ".join(f"i1 {int(lane < only)}" for lane in range(width))
        name = f"@llvm.masked.store.v{width}f{self.lanes.bits}.p0"
        self._declared.add(f"declare void {name}({kind}, ptr, i32, <{width} x i1>)")
        given = f"{kind} {vector.name}, ptr {place}, i32 {align}, <{width} x i1> <{stored}>"
        self._lines.append(f"call void {name}({given})")

    def loop(
        self, count: Integer, body: Body, *carried: Carried, step: int = 1
    ) -> Sequence[Carried]:
        """Write a loop: ``carried = body(index, *carried)`` for 0, `step`, ... below `count`.

        It goes round once at least.
        """
        self._count += 1
        number, before = self._count, self._label
        index, head, done = f"%i{number}", f"head{number}", f"done{number}"
        self._lines += [f"br label %{head}", f"{head}:", ""]
        place, self._label = len(self._lines) - 1, head
        names = [f"%c{number}.{n}" for n in range(len(carried))]
        inside = [
            Vector(self, name) if isinstance(each, Vector) else name
            for name, each in zip(names, carried, strict=True)
        ]
        after = body(index, *inside)
        following = self.plus(index, step)
        more = self._write(f"icmp ult i64 {following}, {count}")
        phis = [f"{index} = phi i64 [0, %{before}], [{following}, %{self._label}]"]
        for name, first, last in zip(names, carried, after, strict=True):
            kind = self.lanes.type if isinstance(first, Vector) else "ptr"
            one, two = (each.name if isinstance(each, Vector) else each for each in (first, last))
            phis.append(f"{name} = phi {kind} [{one}, %{before}], [{two}, %{self._label}]")
        self._lines[place] = "\n".join(phis)
        self._lines += [f"br i1 {more}, label %{head}, label %{done}", f"{done}:"]
        self._label = done
        return after

    def _write(self, line: str) -> str:
        """Write an instruction, and return the name of what it computes."""
        self._count += 1
        self._lines.append(f"%v{self._count} = {line}")
        return f"%v{self._count}"

    def _vector(self, line: str) -> Vector:
        return Vector(self, self._write(line))

    def _named(self, operand: Operand) -> str:
        if isinstance(operand, Vector):
            return operand.name
        # LLVM has a float as the bits of the double that it is.
        value = float(np.float32(operand)) if self.lanes.bits == 32 else operand
        one = f"{self.lanes.item} 0x{pack('>d', value).hex().upper()}"
        return f"<{', '.join([one] * self.lanes.width)}>"
