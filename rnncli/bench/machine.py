"""The machine, and the versions of what runs on it."""

import ctypes
import platform
import sys
from contextlib import suppress
from typing import Any

import numpy as np

from rnncli import __version__
from rnncli.engine.threads import usable_processors
from rnncli.verify.peers import PEERS, version

# Names of OpenBLAS's function that returns its kernel, by how NumPy was built.
_KERNEL_FUNCTIONS = [
    f"{prefix}openblas_get_corename{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "")
]


def describe_machine() -> dict[str, Any]:
    """Describe what timings depend on.

    Returns
    -------
    dict
        ``processor``, ``cpus`` (usable by this process), ``system``,
        ``python``, ``numpy``, ``blas``, ``rnn``, ``peers`` (versions by
        name; None where not installed).
    """
    return {
        "processor": _processor(),
        "cpus": len(usable_processors()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": _blas(),
        "rnn": __version__,
        "peers": {name: version(name) for name in PEERS},
    }


def _processor() -> str:
    """Return the processor's model, where the system has it."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _blas() -> str:
    """Return NumPy's BLAS, its version, and the kernel it has chosen, where known."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    name = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    # OpenBLAS's functions are found through the module that calls them.
    module = sys.modules.get("numpy._core._multiarray_umath")
    products = ctypes.CDLL(getattr(module, "__file__", None))
    for function in _KERNEL_FUNCTIONS:
        if hasattr(products, function):
            kernel = ctypes.CFUNCTYPE(ctypes.c_char_p)((function, products))()
            return f"{name}, kernel {kernel.decode()}"
    return name
