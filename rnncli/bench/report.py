"""Timings, as a table for each case or as one JSON document."""

import json
from collections.abc import Callable, Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any, TextIO

from rnncli.bench.race import Timing, fastest_peer
from rnncli.model.errors import printable
from rnncli.writers.grid import Column, draw
from rnncli.writers.model import model_line, network_kind


def write_machine(out: TextIO, machine: Mapping[str, Any], absent: Mapping[str, str]) -> None:
    """Write the machine, the versions, and what each candidate lacks that is absent."""
    peers = [f"{name} {version}" for name, version in machine["peers"].items() if version]
    out.write(f"{machine['processor']}, {machine['cpus']} usable, {machine['system']}\n")
    llvm = f", llvmlite {machine['llvmlite']}" if machine["llvmlite"] else ""
    out.write(f"rnn {machine['rnn']}, Python {machine['python']}, NumPy {machine['numpy']}{llvm}\n")
    out.write(f"BLAS: {machine['blas']}\n")
    out.write(f"Peers: {', '.join(peers) or 'none'}\n")
    out.writelines(f"{label}: {what}\n" for label, what in absent.items())
    out.flush()


def write_table(
    out: TextIO,
    case: Mapping[str, Any],
    timings: Sequence[Timing],
    worded: Callable[[str], str] = str,
) -> None:
    """Draw a row for each candidate that was timed, then write the notes.

    Parameters
    ----------
    out : text stream
    case : mapping
        The case as it stands in a JSON document.
    timings : sequence of Timing
    worded : callable
        Returns a label as it is shown: parameters stand between backticks.
    """
    timed = [timing for timing in timings if not timing.note]
    fastest = fastest_peer(timed)
    columns = [
        Column("µs a step", [_digits(timing.median) for timing in timed]),
        Column("min", [_digits(min(timing.best)) for timing in timed]),
        Column("max", [_digits(max(timing.best)) for timing in timed]),
        Column("threads", [str(timing.threads) for timing in timed]),
    ]
    errors = ["" if each.step_error is None else f"{each.step_error:.2g}" for each in timed]
    notes = []
    if fastest:
        columns.append(Column("ratio", [_digits(fastest.median / each.median) for each in timed]))
        notes.append(f"Ratio: how many times faster than {worded(fastest.candidate.label)}.")
    columns.append(Column("step error", errors))
    partly: dict[int, list[str]] = {}
    for timing in timed:
        if timing.steps[timing.threads] < case["T"]:
            label = worded(timing.candidate.label)
            partly.setdefault(timing.steps[timing.threads], []).append(label)
    notes += [f"The first {steps:,} steps: {', '.join(names)}." for steps, names in partly.items()]
    notes += [f"{worded(each.candidate.label)}: {each.note}" for each in timings if each.note]
    labels = Column("", [worded(each.candidate.label) for each in timed])
    out.write("\n")
    draw(out, _title(case), [labels], columns)
    if notes:
        out.writelines(f"{printable(line)}\n" for line in ("", *notes))
    out.flush()


def write_json(
    out: TextIO, machine: Mapping[str, Any], repeats: int, cases: Sequence[Mapping[str, Any]]
) -> None:
    """Write one document of cases with their results; its schema is in `rnncli.cli.bench`."""
    document = {"machine": machine, "repeats": repeats, "cases": cases}
    out.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def with_results(case: Mapping[str, Any], timings: Sequence[Timing]) -> dict[str, Any]:
    """Add the results to a case, for a JSON document."""
    fastest = fastest_peer(timings)
    results = [_result(timing, fastest) for timing in timings]
    return {**case, "fastest_peer": fastest and fastest.candidate.name, "results": results}


def _result(timing: Timing, fastest: Timing | None) -> dict[str, Any]:
    if timing.note:
        return {**timing.candidate._asdict(), "note": timing.note}
    error = timing.step_error
    return {
        **timing.candidate._asdict(),
        "threads": timing.threads,
        "median": timing.median,
        "min": min(timing.best),
        "max": max(timing.best),
        "times_faster": fastest.median / timing.median if fastest else None,
        "step_error": error if error is not None and isfinite(error) else None,
        "steps": timing.steps[timing.threads],
        "rounds": timing.rounds,
    }


def _title(case: Mapping[str, Any]) -> str:
    T = f"{case['T']:,}"
    if case["shortest"] < case["T"]:
        T = f"{case['shortest']:,} to {T}"
    size, model = f"T = {T}, N = {case['N']:,}", {**case["model"], "precision": case["precision"]}
    if model["source"].get("seed", 0) is not None:
        return f"{model_line(model)}, {size}"
    # A default case, with other weights in every round.
    width, source = f"I = {case['I']}, H = {case['H'][0]}", model["source"]
    init = ", ".join(filter(None, (source["init"], source.get("change"))))
    kind = network_kind(model)
    cell = "" if kind == "RNN" else f"{kind}: "
    return f"{cell}{size}, {width}, {case['precision']}, init {init}"


def _digits(value: float) -> str:
    """Return three digits, or all before the point."""
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}"
