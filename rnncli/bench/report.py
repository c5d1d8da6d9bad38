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
from rnncli.model.errors import printable, word
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
    lines = (
        f"{processor}, {len(usable_processors())} usable, {platform.system()} {platform.machine()}",
        f"rnn {__version__}, Python {platform.python_version()}, NumPy {np.__version__}",
        f"BLAS: {blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        f"Peers: {', '.join(peers) or 'none'}",
        *(f"{label}: {what}" for label, what in absent.items()),
    )
    out.writelines(f"{line}\n" for line in lines)
    out.flush()


def write_table(out: TextIO, title: str, T: int, timings: Sequence[Racer]) -> None:
    """Draw a row for each candidate that was timed on a case of T steps, then write the notes."""
    timed, notes = [timing for timing in timings if not timing.note], []
    medians = [median(timing.rounds) for timing in timed]
    errors = ["" if each.step_error is None else f"{each.step_error:.2g}" for each in timed]
    columns = {
        "µs a step": [_digits(each) for each in medians],
        "min": [_digits(min(timing.rounds)) for timing in timed],
        "max": [_digits(max(timing.rounds)) for timing in timed],
        "threads": [str(timing.threads) for timing in timed],
    }
    peers = {m: each.label for m, each in zip(medians, timed, strict=True) if each.name in PEERS}
    if peers:
        columns["ratio"] = [_digits(min(peers) / each) for each in medians]
        notes.append(f"Ratio: how many times faster than {peers[min(peers)]}.")
    columns["step error"] = errors
    for timing in timed:
        if timing.steps not in (None, T):
            notes.append(f"{word(timing.label)}: the first {timing.steps:,} steps.")
    notes += [f"{word(each.label)}: {each.note}" for each in timings if each.note]
    out.write("\n")
    labels = [Column("", [word(each.label) for each in timed])]
    draw(out, title, labels, [Column(*each) for each in columns.items()])
    out.writelines(f"{printable(line)}\n" for line in (["", *notes] if notes else []))
    out.flush()


def _digits(value: float) -> str:
    """Write three digits, or all before the point."""
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}"
