"""Code in the language of LLVM, written from expressions of vectors of floats, and compiled.

Each operator of a `Vector` writes a line of its `Function`. A value never changes, so the body of
a loop takes the values of one round and returns those of the next.

Source: the LLVM Language Reference, https://llvm.org/docs/LangRef.html.
"""

import ctypes
from collections.abc import Callable, Sequence
from functools import cache
from math import inf
from struct import pack
from typing import Any, NamedTuple, TypeAlias, Union

import numpy as np

from rnncli.model.errors import one_line

# The name of an integer, or a number; the name of an address.
Integer: TypeAlias = str | int
Address: TypeAlias = str
Operand: TypeAlias = Union["Vector", float]
# A value that a loop carries from one round to the next.
LoopValue: TypeAlias = Union["Vector", Address]
Body: TypeAlias = Callable[..., Sequence[LoopValue]]


class Machine(NamedTuple):
    """A processor in the words of LLVM, and how much its registers hold."""

    cpu: str
    features: str
    bytes: int  # of a vector
    rows: int  # of a product, with four sums each, in all registers


def _operator(operation: str) -> Callable[["Vector", Operand], "Vector"]:
    return lambda a, b: a.function.compute(operation, a, b)


class Vector:
    """A vector of floats; a product within a sum need not be rounded."""

    def __init__(self, function: "Function", name: str) -> None:
        self.function, self.name = function, name

    __add__ = _operator("fadd contract")
    __sub__ = _operator("fsub contract")
    __mul__ = _operator("fmul contract")
    __truediv__ = _operator("fdiv")


class Function:
    """A function under construction, of integers and of addresses of arrays that do not overlap."""

    def __init__(
        self, name: str, width: int, integers: Sequence[str], addresses: Sequence[str]
    ) -> None:
        self.name, self.width, self.parameters = name, width, (len(integers), len(addresses))
        self.kind, self.suffix = f"<{width} x float>", f"v{width}f32"
        self._lines: list[str] = []
        self._declared: set[str] = set()
        self._label, self._count = "entry", 0
        parameters = [f"i64 %{each}" for each in integers]
        parameters += [f"ptr noalias %{each}" for each in addresses]
        self._head = f"define void @{name}({', '.join(parameters)}) {{\nentry:"

    def compile(self, machine: Machine) -> Callable[..., None]:
        """Compile the function for a machine; it runs without Python's lock."""
        llvm = _llvm()
        target = llvm.Target.from_default_triple().create_target_machine(
            cpu=machine.cpu, features=machine.features, opt=3
        )
        lines = [*sorted(self._declared), self._head, *self._lines, "ret void", "}", ""]
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly("\n".join(lines)), target)
        engine.finalize_object()
        integers, addresses = self.parameters
        kinds = [ctypes.c_int64] * integers + [ctypes.c_void_p] * addresses
        function: Any = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(self.name))
        function.engine = engine  # which owns the memory of the code
        return function  # type: ignore[no-any-return]

    def compute(self, operation: str, a: Operand, b: Operand) -> Vector:
        """Write an operation of two vectors; a number is the same in all lanes."""
        return self._vector(f"{operation} {self.kind} {self._format(a)}, {self._format(b)}")

    def fmuladd(self, *operands: Operand) -> Vector:
        """Write ``a b + c``, rounded once where the processor can."""
        name = f"@llvm.fmuladd.{self.suffix}"
        self._declared.add(f"declare {self.kind} {name}({', '.join([self.kind] * 3)})")
        arguments = ", ".join(f"{self.kind} {self._format(each)}" for each in operands)
        return self._vector(f"call {self.kind} {name}({arguments})")

    def limit(self, a: Vector, low: float = -inf, high: float = inf) -> Vector:
        """Limit a vector; NaN stays NaN."""
        for end, beyond in ((low, "olt"), (high, "ogt")):
            if abs(end) < inf:
                number = self._format(end)
                truth = self._write(f"fcmp {beyond} {self.kind} {a.name}, {number}")
                chosen = f"{self.kind} {number}, {self.kind} {a.name}"
                a = self._vector(f"select <{self.width} x i1> {truth}, {chosen}")
        return a

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
        """Compute the address of a float in an array."""
        return self._write(f"getelementptr float, ptr {base}, i64 {index}")

    def load(self, base: Address, index: Integer = 0) -> Vector:
        """Load floats that lie side by side, one into each lane."""
        address = self.address(base, index)
        return self._vector(f"load {self.kind}, ptr {address}, align 4")

    def load_one(self, base: Address, index: Integer = 0) -> Vector:
        """Load a float into all lanes."""
        one = self._write(f"load float, ptr {self.address(base, index)}")
        first = self._write(f"insertelement {self.kind} poison, float {one}, i32 0")
        zeros = f"<{self.width} x i32> zeroinitializer"
        return self._vector(f"shufflevector {self.kind} {first}, {self.kind} poison, {zeros}")

    def store(self, vector: Vector, base: Address, index: Integer, only: int) -> None:
        """Store the first `only` lanes side by side."""
        address, source = self.address(base, index), f"{self.kind} {vector.name}, ptr"
        if only == self.width:
            self._lines.append(f"store {source} {address}, align 4")
            return
        lanes = f"<{self.width} x i1>"
        stored = ", ".join(f"i1 {int(lane < only)}" for lane in range(self.width))
        name = f"@llvm.masked.store.{self.suffix}.p0"
        self._declared.add(f"declare void {name}({self.kind}, ptr, i32, {lanes})")
        self._lines.append(f"call void {name}({source} {address}, i32 4, {lanes} <{stored}>)")

    def loop(
        self, count: Integer, body: Body, *carried: LoopValue, step: int = 1
    ) -> Sequence[LoopValue]:
        """Write ``carried = body(index, *carried)`` for 0, `step`, ... below `count`."""
        self._count += 1
        number, before = self._count, self._label
        index, head, done = f"%i{number}", f"head{number}", f"done{number}"
        self._lines += [f"br label %{head}", f"{head}:", ""]
        phi_line, self._label = len(self._lines) - 1, head
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
            kind = self.kind if isinstance(first, Vector) else "ptr"
            one, two = (each.name if isinstance(each, Vector) else each for each in (first, last))
            phis.append(f"{name} = phi {kind} [{one}, %{before}], [{two}, %{self._label}]")
        self._lines[phi_line] = "\n".join(phis)
        self._lines += [f"br i1 {more}, label %{head}, label %{done}", f"{done}:"]
        self._label = done
        return after

    def _write(self, line: str) -> str:
        """Write an instruction, and return the name of its result."""
        self._count += 1
        self._lines.append(f"%v{self._count} = {line}")
        return f"%v{self._count}"

    def _vector(self, line: str) -> Vector:
        return Vector(self, self._write(line))

    def _format(self, operand: Operand) -> str:
        if isinstance(operand, Vector):
            return operand.name
        # LLVM has a float as the bits of the double that it is.
        one = f"float 0x{pack('>d', float(np.float32(operand))).hex().upper()}"
        return f"<{', '.join([one] * self.width)}>"


@cache
def this_machine() -> Machine:
    """Ask LLVM for the processor of this computer."""
    llvm = _llvm()
    features = llvm.get_host_cpu_features()
    wide, half = features.get("avx512f"), features.get("avx2") or features.get("neon")
    size, rows = (64, 4) if wide else (32 if half else 16, 2)
    return Machine(llvm.get_host_cpu_name(), features.flatten(), size, rows)


@cache
def lacks() -> str:
    """Return the reason why nothing can be compiled here; empty if it can."""
    try:
        # The code has addresses without the type of their values, of which LLVM 15 warns.
        if _llvm().llvm_version_info < (16,):
            raise ImportError("LLVM is older than 16")
        Function("nothing", 4, [], ["there"]).compile(this_machine())(0)
    except Exception as error:  # llvmlite may be missing, old or broken
        return f"needs llvmlite: pip install -U 'rnncli[fast]' ({one_line(error)})"
    return ""


def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm
