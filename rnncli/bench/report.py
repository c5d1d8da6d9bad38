"""Timings, as a table for each case or as one JSON document."""

import json
from collections.abc import Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any, NamedTuple, TextIO

from rnncli.bench import Timing, fastest_peer, times_faster
from rnncli.writers.grid import Column, draw
from rnncli.writers.screen import printable


class Outcome(NamedTuple):
    """What was timed, and what came of it.

    Parameters
    ----------
    title : str
        The case in a line.
    about : mapping
        The case as it stands in a JSON document.
    steps : int
        Steps of the longest sequence.
    timings : sequence of Timing
    """

    title: str
    about: Mapping[str, Any]
    steps: int
    timings: Sequence[Timing]


def write_machine(out: TextIO, machine: Mapping[str, Any], absent: Mapping[str, str]) -> None:
    """Write a line or two each for the machine and for the versions, then what is absent."""
    peers = [f"{name} {version}" for name, version in machine["peers"].items() if version]
    out.write(f"{machine['processor']}, {machine['cpus']} usable, {machine['system']}\n")
    out.write(f"rnn {machine['rnn']}, Python {machine['python']}, NumPy {machine['numpy']}\n")
    out.write(f"BLAS: {machine['blas']}\n")
    out.write(f"Peers: {', '.join(peers) or 'none'}\n")
    out.writelines(f"{name}: not installed: {way_out}\n" for name, way_out in absent.items())


def write_outcome_table(out: TextIO, outcome: Outcome) -> None:
    """Draw a row for each contender that was timed, then what needs saying in words."""
    timed = [timing for timing in outcome.timings if timing.rounds]
    fastest = fastest_peer(timed)
    columns = [
        Column("µs a step", [_digits(timing.median) for timing in timed]),
        Column("min", [_digits(min(timing.best)) for timing in timed]),
        Column("max", [_digits(max(timing.best)) for timing in timed]),
        Column("threads", [str(timing.threads) for timing in timed]),
    ]
    if fastest:
        columns.append(Column("ratio", [_digits(times_faster(each, fastest)) for each in timed]))
    columns.append(Column("step error", [_share(timing.step_error) for timing in timed]))
    out.write("\n")
    draw(out, outcome.title, [Column("", [each.contender.label for each in timed])], columns)
    out.writelines(f"{printable(line)}\n" for line in ("", *_words(outcome, fastest)))
    out.flush()


def write_benchmark_json(
    out: TextIO, machine: Mapping[str, Any], repeats: int, outcomes: Sequence[Outcome]
) -> None:
    """Write one document; `rnncli.cli.bench` tells its schema."""
    document = {
        "machine": dict(machine),
        "repeats": repeats,
        "cases": [_case(outcome) for outcome in outcomes],
    }
    out.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _words(outcome: Outcome, fastest: Timing | None) -> list[str]:
    """Say what the ratio is to, what was timed in part, and what was not timed."""
    lines = []
    if fastest:
        lines.append(f"Ratio: how many times faster than {fastest.contender.label}.")
    partly: dict[int, list[str]] = {}
    for timing in outcome.timings:
        if timing.rounds and timing.steps[timing.threads] < outcome.steps:
            partly.setdefault(timing.steps[timing.threads], []).append(timing.contender.label)
    lines += [f"The first {steps:,} steps: {', '.join(names)}." for steps, names in partly.items()]
    return lines + [f"{each.contender.label}: {each.note}" for each in outcome.timings if each.note]


def _case(outcome: Outcome) -> dict[str, Any]:
    fastest = fastest_peer(outcome.timings)
    return {
        **outcome.about,
        "fastest_peer": fastest and fastest.contender.name,
        "results": [_item(timing, fastest) for timing in outcome.timings],
    }


def _item(timing: Timing, fastest: Timing | None) -> dict[str, Any]:
    item: dict[str, Any] = {"kind": timing.contender.kind, "name": timing.contender.name}
    if not timing.rounds:
        return item | {"note": timing.note}
    error = timing.step_error
    return item | {
        "threads": timing.threads,
        "median": timing.median,
        "min": min(timing.best),
        "max": max(timing.best),
        "times_faster": times_faster(timing, fastest) if fastest else None,
        "step_error": error if error is not None and isfinite(error) else None,
        "steps": timing.steps[timing.threads],
        "rounds": {str(threads): list(times) for threads, times in timing.rounds.items()},
    }


def _share(step_error: float | None) -> str:
    return "" if step_error is None else f"{step_error:.2g}"


def _digits(value: float) -> str:
    """Give three digits, or all before the point."""
    return f"{value:.{max(0, 2 - floor(log10(value)))}f}"
