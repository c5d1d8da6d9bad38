"""The machine, and a table of timings for each case."""

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import floor, log10
from statistics import median
from typing import Any, TextIO

import numpy as np

from rnncli import __version__
from rnncli.bench.race import Racer
from rnncli.engine.threads import usable_processors
from rnncli.model.errors import printable
from rnncli.verification.peers import PEERS, version
from rnncli.writers.grid import Column, draw


def write_machine(out: TextIO, absent: Mapping[str, str]) -> None:
    """Write what timings depend on, and what each candidate lacks that is absent."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
        processor = models[0] if models else processor
    config: Any = np.show_config(mode="dicts")
    blas = config.get("Build Dependencies", {}).get("blas", {})
    peers = [f"{name} {installed}" for name in PEERS if (installed := version(name))]
    lines = [
        f"{processor}, {len(usable_processors())} usable, {platform.system()} {platform.machine()}",
        f"rnn {__version__}, Python {platform.python_version()}, NumPy {np.__version__}",
        f"BLAS: {blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        f"Peers: {', '.join(peers) or 'none'}",
        *(f"{name}: {what}" for name, what in absent.items()),
    ]
    out.write("\n".join(lines) + "\n")
    out.flush()


def write_table(out: TextIO, title: str, T: int, timings: Sequence[Racer]) -> None:
    """Draw a row for each candidate that was timed on a case of T steps, then write the notes."""
    timed = [each for each in timings if not each.note]
    medians = {each.name: median(each.rounds) for each in timed}
    columns = {
        "µs a step": [_digits(each) for each in medians.values()],
        "min": [_digits(min(each.rounds)) for each in timed],
        "max": [_digits(max(each.rounds)) for each in timed],
        "threads": [str(each.threads) for each in timed],
    }
    notes = []
    if peers := [name for name in medians if name in PEERS]:
        fastest = min(peers, key=lambda name: medians[name])
        columns["ratio"] = [_digits(medians[fastest] / each) for each in medians.values()]
        notes.append(f"Ratio: how many times faster than {fastest}.")
    errors = [each.step_error for each in timed]
    columns["step error"] = ["" if error is None else f"{error:.2g}" for error in errors]
    short = [each for each in timed if each.steps not in (None, T)]
    notes += [f"{each.name}: the first {each.steps:,} steps." for each in short]
    notes += [f"{each.name}: {each.note}" for each in timings if each.note]
    out.write("\n")
    draw(out, title, [Column("", [*medians])], [Column(*each) for each in columns.items()])
    out.writelines(f"{printable(line)}\n" for line in (["", *notes] if notes else []))
    out.flush()


def _digits(value: float) -> str:
    """Write three digits, or all before the point."""
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}"
