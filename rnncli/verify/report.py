"""What a run was compared with, as a table for people or as one JSON document."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import isfinite
from textwrap import wrap
from typing import Any, NamedTuple, TextIO

from rnncli.model.errors import printable
from rnncli.verify.compared import Result
from rnncli.verify.comparison import Place, Tolerance, WrongFinal
from rnncli.writers.grid import Column, console_on, draw
from rnncli.writers.model import model_line


class Report(NamedTuple):
    """All that is written.

    Parameters
    ----------
    model : mapping
        What was run; empty for the recorded cases.
    results : sequence of Result
    expected : Result or None
        That of them which is a file's.
    tolerance : Tolerance or None
        By which whole runs were judged; None where every step was.
    keys : sequence of str
        Names of the sequences, where there are several.
    with_options : callable
        Shows parameters between backticks as the user knows them.
    """

    model: Mapping[str, Any]
    results: Sequence[Result]
    expected: Result | None = None
    tolerance: Tolerance | None = None
    keys: Sequence[str] = ()
    with_options: Callable[[str], str] = str

    @property
    def explanations(self) -> Mapping[str, float] | None:
        """What reproduces the file, if it differs."""
        return self.expected.explanations if self.expected else None

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs, and the file, if any, was compared."""
        missing = self.expected is not None and self.expected.verdict is None
        return not missing and not any(result.differs for result in self.results)


def write_report_table(out: TextIO, report: Report) -> None:
    """Write what differs, a row for each result, then what a table cannot show."""
    out.writelines(f"{printable(line)}\n" for line in _headline(report))
    compared = [(result, result.verdict) for result in report.results if result.verdict]
    verdicts = [verdict for _, verdict in compared]
    names = Column("", [os.path.basename(_name(result)) for result, _ in compared])
    errors = ["" if each.step_error is None else f"{each.step_error:.2g}" for each in verdicts]
    columns = [
        Column("", ["equal" if verdict.equal else "DIFFERENT" for verdict in verdicts]),
        Column("step error", errors),
        Column("difference", [f"{verdict.difference:.2g}" for verdict in verdicts]),
    ]
    if report.model:
        for field in Place._fields if report.keys else Place._fields[1:]:
            cells = [str(getattr(verdict.at, field)) if verdict.at else "" for verdict in verdicts]
            columns.append(Column(field, cells))
        columns.append(Column("rtol", [f"{verdict.rtol:.2g}" for verdict in verdicts]))
    draw(out, model_line(report.model) if report.model else "Recorded cases", [names], columns)
    width = console_on(out).width
    legend = [line for text in _legend(report) for line in wrap(text, width)]
    findings = [*_not_compared(report), *_wrong(report), *_explained(report)]
    out.writelines(f"{printable(line)}\n" for line in ("", *legend, *findings))


def write_report_json(out: TextIO, report: Report) -> None:
    """Write one document: model, rule, results, explanations."""
    document: dict[str, Any] = {"equal": report.equal, "model": dict(report.model) or None}
    document["rule"] = report.tolerance._asdict() if report.tolerance else "step error"
    document["results"] = [_item(result) for result in report.results]
    if report.explanations is not None:
        document["explanations"] = [
            _finite({"name": report.with_options(name), "difference": left})
            for name, left in report.explanations.items()
        ]
    out.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _headline(report: Report) -> list[str]:
    differing = [_name(result) for result in report.results if result.differs]
    expected = report.expected
    if expected and not expected.verdict:
        if report.explanations is None:
            return [f"NOT COMPARED: {_name(expected)}", ""]
        differing.insert(0, _name(expected))
    return [f"DIFFERENT: {', '.join(differing)}", ""] if differing else []


def _name(result: Result) -> str:
    return f"{result.name} {result.version}".strip()


def _legend(report: Report) -> list[str]:
    """Return the rule by which the table judges."""
    if report.tolerance:
        atol, rtol = report.tolerance
        return [f"The rule: |a - b| <= {atol:g} + {rtol:g} |b| in all values of the whole runs."]
    rule = "The rule: a step error of up to 1 is what rounding explains, in every step."
    if not report.model:
        return [rule]
    text = (
        f"{rule} Whole runs may be driven apart by rounding alone. Their largest difference is "
        "the smallest `atol` that would pass them, rtol the smallest `rtol`."
    )
    return [report.with_options(text), *_whole_runs(report)]


def _whole_runs(report: Report) -> list[str]:
    """Return where whole runs stand for steps, and how much of them was judged."""
    verdicts = [result.verdict for result in report.results if result.verdict]
    judged = [verdict.judged for verdict in verdicts if verdict.step_error is None]
    if not judged:
        return []
    return [
        "Without a step error, not all states are known, and whole runs are compared: a value may "
        "differ by what rounding makes of it in this network. Where that is too much it is not "
        f"judged; here {_percent(min(judged))} of the values are."
    ]


def _percent(share: float) -> str:
    """Return a share as text; 100% is all of it."""
    return "100%" if share == 1 else f"{min(share, 0.999):.1%}"


def _not_compared(report: Report) -> list[str]:
    notes = groupby((each for each in report.results if not each.verdict), lambda each: each.note)
    return [f"{', '.join(map(_name, results))}: {note}" for note, results in notes]


def _wrong(report: Report) -> list[str]:
    return [
        f"{result.name}: the first wrong value is at {_at(first.place, report.keys)}. "
        f"Expected {first.expected!r}, rnn computes {first.actual!r}."
        for result in report.results
        if result.verdict and (first := result.verdict.first)
    ] + [
        f"{result.name}: the final state is wrong: {_final_at(final, report.keys)}. "
        f"Expected {final.expected!r}, rnn computes {final.actual!r}."
        for result in report.results
        if result.verdict and (final := result.verdict.final)
    ]


def _at(place: Place, keys: Sequence[str]) -> str:
    step = f"step {place.step}, unit {place.unit}"
    return f"sequence {place.sequence} ({keys[place.sequence - 1]}), {step}" if keys else step


def _final_at(final: WrongFinal, keys: Sequence[str]) -> str:
    sequence = f"sequence {final.sequence} ({keys[final.sequence - 1]}), " if keys else ""
    layer = f"{final.direction} layer" if final.direction == "backward" else "layer"
    return f"{sequence}{final.array} of {layer} {final.layer}, unit {final.unit}"


def _explained(report: Report) -> list[str]:
    if report.explanations is None:
        return []
    if not report.explanations:
        return ["No convention that rnn knows reproduces it."]
    lines = []
    for name, left in report.explanations.items():
        within = f"within {left:.2g}" if left else "to the bit"
        how = f"with {report.with_options(name)}" if name.startswith("`") else f"by: {name}"
        lines.append(f"Reproduced {within} {how}.")
    return lines


def _item(result: Result) -> dict[str, Any]:
    item: dict[str, Any] = {"name": result.name}
    if result.version:
        item["version"] = result.version
    if result.note:
        item["note"] = result.note
    verdict = result.verdict
    if verdict is None:
        return item | {"verdict": "not compared"}
    if first := verdict.first:
        wrong = first.place._asdict() | {"expected": first.expected, "actual": first.actual}
    if final := verdict.final:
        item["final"] = _finite(final._asdict())
    return item | _finite(
        {
            "verdict": "equal" if verdict.equal else "different",
            "step_error": verdict.step_error,
            "difference": verdict.difference,
            "at": verdict.at._asdict() if verdict.at else None,
            "first": _finite(wrong) if first else None,
            "atol": verdict.difference,
            "rtol": verdict.rtol,
            "steps": verdict.steps,
            "judged": verdict.judged,
        }
    )


def _finite(item: dict[str, Any]) -> dict[str, Any]:
    """Put null in place of numbers that JSON does not have."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in item.items()
    }
