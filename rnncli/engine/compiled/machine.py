"""The processor, and code compiled to its instructions, by LLVM."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from rnncli.engine.compiled.code import Function
from rnncli.model.errors import one_line


class Machine(NamedTuple):
    """A processor by LLVM's names, the bytes of a vector, and how many it has registers for."""

    cpu: str
    features: str
    bytes: int
    registers: int

    @property
    def rows_at_once(self) -> int:
        """Rows of a product that are computed at once, with four sums each."""
        return self.registers // 8


@cache
def lacks() -> str:
    """Return the reason why nothing can be compiled here; empty if it can."""
    try:
        # Addresses that do not say what they lead to came with LLVM 15.
        compile_function(Function("nothing", 4, [], ["there"]), this_machine())(0)
    except Exception as error:  # whatever is wrong with llvmlite
        return f"needs llvmlite: pip install -U 'rnncli[fast]' ({one_line(error)})"
    return ""


@cache
def this_machine() -> Machine:
    """Ask LLVM for the processor of this computer."""
    llvm = _llvm()
    features = llvm.get_host_cpu_features()
    cpu, names = llvm.get_host_cpu_name(), features.flatten()
    if features.get("avx512f"):
        return Machine(cpu, names, 64, 32)
    return Machine(cpu, names, 32 if features.get("avx2") or features.get("neon") else 16, 16)


def compile_function(code: Function, machine: Machine) -> Callable[..., None]:
    """Compile a function; it runs without Python's lock."""
    llvm = _llvm()
    module = llvm.parse_assembly(code.text())
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=3
    )
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    integers, addresses = code.parameters
    kinds = [ctypes.c_int64] * integers + [ctypes.c_void_p] * addresses
    function = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(code.name))

    def call(*arguments: int) -> None:
        assert engine  # whose memory it is in
        function(*arguments)

    return call


def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm
