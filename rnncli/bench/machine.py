"""The machine, and the versions of what runs on it."""

import ctypes
import platform
from contextlib import suppress
from typing import Any

import numpy as np

from rnncli import __version__
from rnncli.bench.process import processors
from rnncli.verify.peers import PEERS, version

# Functions that name the kernel OpenBLAS has chosen, by how NumPy was built.
_CORE_NAMES = (
    "scipy_openblas_get_corename64_",
    "scipy_openblas_get_corename",
    "openblas_get_corename64_",
    "openblas_get_corename",
)


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
        "cpus": len(processors()[-1]),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": _blas(),
        "rnn": __version__,
        "peers": {name: version(name) for name in PEERS},
    }


def _processor() -> str:
    """Give the processor's model, where the system tells."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _blas() -> str:
    """Give NumPy's BLAS, its version, and the kernel it has chosen, where known."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    named = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    kernel = _openblas_kernel()
    return f"{named}, kernel {kernel}" if kernel else named


def _openblas_kernel() -> str | None:
    """Ask the OpenBLAS that NumPy has loaded; Linux tells where it is."""
    with suppress(OSError), open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
        paths = {line.split(maxsplit=5)[-1].strip() for line in file if "openblas" in line}
        for path in sorted(paths):
            library = ctypes.CDLL(path)
            for name in _CORE_NAMES:
                if hasattr(library, name):
                    function = getattr(library, name)
                    function.restype = ctypes.c_char_p
                    return str(function().decode())
    return None
