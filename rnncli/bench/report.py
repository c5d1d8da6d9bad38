"""The machine, and a table of timings for each case."""

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from math import floor, log10
from typing import Any, TextIO

import numpy as np

from rnncli import __version__
from rnncli.bench.race import Timing, fastest_peer
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import printable
from rnncli.verification.peers import PEERS, version
from rnncli.writers.grid import Column, draw


def write_machine(out: TextIO, absent: Mapping[str, str]) -> None:
    """Write the machine, the versions, and what each candidate lacks that is absent."""
    out.writelines(f"{line}\n" for line in _machine())
    out.writelines(f"{label}: {what}\n" for label, what in absent.items())
    out.flush()


def _machine() -> Iterator[str]:
    """Yield in lines what timings depend on."""
    system = f"{platform.system()} {platform.machine()}"
    yield f"{_processor()}, {len(usable_processors())} usable, {system}"
    versions = f"rnn {__version__}, Python {platform.python_version()}, NumPy {np.__version__}"
    with suppress(metadata.PackageNotFoundError):
        versions += f", llvmlite {metadata.version('llvmlite')}"
    yield versions
    yield f"BLAS: {_blas()}"
    peers = [f"{name} {installed}" for name in PEERS if (installed := version(name))]
    yield f"Peers: {', '.join(peers) or 'none'}"


def _processor() -> str:
    """Return the processor's model, where the system has it."""
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _blas() -> str:
    """Name NumPy's BLAS and its version."""
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()


def write_table(
    out: TextIO,
    title: str,
    T: int,
    timings: Sequence[Timing],
    worded: Callable[[str], str] = str,
) -> None:
    """Draw a row for each candidate that was timed on a case of T steps, then write the notes."""
    timed = [timing for timing in timings if not timing.note]
    fastest = fastest_peer(timed)
    columns = [
        Column("µs a step", [_digits(timing.median) for timing in timed]),
        Column("min", [_digits(min(timing.best)) for timing in timed]),
        Column("max", [_digits(max(timing.best)) for timing in timed]),
        Column("threads", [str(timing.threads) for timing in timed]),
    ]
    notes = []
    if fastest:
        columns.append(Column("ratio", [_digits(fastest.median / each.median) for each in timed]))
        notes.append(f"Ratio: how many times faster than {worded(fastest.candidate.label)}.")
    errors = ["" if each.step_error is None else f"{each.step_error:.2g}" for each in timed]
    columns.append(Column("step error", errors))
    partly: dict[int, list[str]] = {}
    for timing in timed:
        if timing.steps[timing.threads] < T:
            label = worded(timing.candidate.label)
            partly.setdefault(timing.steps[timing.threads], []).append(label)
    notes += [f"The first {steps:,} steps: {', '.join(names)}." for steps, names in partly.items()]
    notes += [f"{worded(each.candidate.label)}: {each.note}" for each in timings if each.note]
    labels = Column("", [worded(each.candidate.label) for each in timed])
    out.write("\n")
    draw(out, title, [labels], columns)
    if notes:
        out.writelines(f"{printable(line)}\n" for line in ("", *notes))
    out.flush()


def _digits(value: float) -> str:
    """Return three digits, or all before the point."""
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}"
