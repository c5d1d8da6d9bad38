"""What the processor can do, and code made into its instructions, by LLVM."""

import ctypes
from collections.abc import Callable
from functools import cache
from importlib.machinery import PathFinder
from typing import Any, NamedTuple


class Machine(NamedTuple):
    """What code is made for.

    Parameters
    ----------
    cpu, features : str
        Of the processor, as LLVM names them.
    bytes : int
        In a vector.
    registers : int
        For vectors.
    """

    cpu: str
    features: str
    bytes: int
    registers: int

    @property
    def rows_at_once(self) -> int:
        """How many rows of a product are computed at once, with four sums each."""
        return self.registers // 8


# Addresses that do not say what they lead to came with LLVM 15.
PROBE = "define void @nothing(ptr %there) {\nret void\n}"


def installed() -> bool:
    """Whether llvmlite is there; it may still not work. Nothing of it is imported."""
    return PathFinder.find_spec("llvmlite") is not None


@cache
def lacks() -> str:
    """Say why nothing can be compiled here; nothing if it can."""
    try:
        compiled_function(PROBE, "nothing", 0, 1, this_machine())(0)
    except ModuleNotFoundError:
        return "not installed: pip install 'rnncli[fast]'"
    except Exception as error:  # whatever is wrong with it
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"llvmlite fails: {reason}; upgrade it: pip install -U llvmlite"
    return ""


@cache
def this_machine() -> Machine:
    """Ask LLVM for the processor of this computer."""
    llvm = _llvm()
    features = llvm.get_host_cpu_features()
    cpu, names = llvm.get_host_cpu_name(), features.flatten()
    if features.get("avx512f"):
        return Machine(cpu, names, 64, 32)
    if features.get("avx2"):
        return Machine(cpu, names, 32, 16)
    return Machine(cpu, names, 32 if features.get("neon") else 16, 16)


def compiled_function(
    text: str, name: str, integers: int, addresses: int, machine: Machine
) -> Callable[..., Any]:
    """Compile code, and return one of its functions.

    Python's lock is let go of while it runs.
    """
    llvm = _llvm()
    module = llvm.parse_assembly(text)
    target = llvm.Target.from_default_triple().create_target_machine(
        cpu=machine.cpu, features=machine.features, opt=3
    )
    engine = llvm.create_mcjit_compiler(module, target)
    engine.finalize_object()
    kinds = [ctypes.c_int64] * integers + [ctypes.c_void_p] * addresses
    function = ctypes.CFUNCTYPE(None, *kinds)(engine.get_function_address(name))

    def call(*arguments: int) -> None:
        assert engine  # whose memory it is in
        function(*arguments)

    return call


def _llvm() -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm
