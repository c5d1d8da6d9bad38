"""The machine, and the versions of what runs on it."""

import ctypes
import platform
from contextlib import suppress
from importlib import metadata
from typing import Any

import numpy as np

from rnncli import __version__
from rnncli.engine.threads import openblas, usable_processors
from rnncli.verify.peers import PEERS, version


def describe_machine() -> dict[str, Any]:
    """Describe what timings depend on.

    Returns
    -------
    dict
        ``processor``, ``cpus`` (usable by this process), ``system``,
        ``python``, ``numpy``, ``blas``, ``llvmlite``, ``rnn``, ``peers``
        (versions by name); None where not installed.
    """
    return {
        "processor": _processor(),
        "cpus": len(usable_processors()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": _blas(),
        "llvmlite": _llvmlite(),
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


def _llvmlite() -> str | None:
    """Return its version, where it is installed."""
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("llvmlite")
    return None


def _blas() -> str:
    """Return NumPy's BLAS, its version, and the kernel it has chosen, where known."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    name = f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
    if get_kernel := openblas("get_corename"):
        get_kernel.restype = ctypes.c_char_p
        return f"{name}, kernel {get_kernel().decode()}"
    return name
