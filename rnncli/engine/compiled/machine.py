"""The processor, and code compiled to its instructions, by LLVM."""

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from rnncli.engine.compiled.code import Function
from rnncli.model.errors import one_line


class Machine(NamedTuple):
    """A processor by LLVM's names, bytes of a vector, and rows whose sums its registers hold."""

    cpu: str
    features: str
    bytes: int
    rows: int  # of a product, with four sums each


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
    wide, half = features.get("avx512f"), features.get("avx2") or features.get("neon")
    size, rows = (64, 4) if wide else (32 if half else 16, 2)
    return Machine(llvm.get_host_cpu_name(), features.flatten(), size, rows)


def compile_function(code: Function, machine: Machine) -> Callable[..., None]:
    """Compile a function; it runs without Python's lock."""
    llvm = _llvm()
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=3
    )
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(code.text()), target)
    engine.finalize_object()
    integers, addresses = code.parameters
    kinds = [ctypes.c_int64] * integers + [ctypes.c_void_p] * addresses
    function: Any = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(code.name))
    function.engine = engine  # whose memory it is in
    return function  # type: ignore[no-any-return]


def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm
