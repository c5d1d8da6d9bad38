"""What a run was compared with, as a table for people or as one JSON document."""

import json
import os
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import isfinite
from textwrap import wrap
from typing import Any, NamedTuple, TextIO

from rnncli.verify.comparison import Result
from rnncli.verify.diagnosis import Explanation
from rnncli.verify.verdict import Place, Tolerance, Verdict
from rnncli.writers.grid import Column, console_on, draw
from rnncli.writers.model import model_line
from rnncli.writers.screen import printable


class Report(NamedTuple):
    """All that is written.

    Parameters
    ----------
    model : mapping
        What was run; empty for the recorded cases.
    results : sequence of Result
    expected : Result or None
        That of them which is a file's.
    explanations : sequence of Explanation or None
        Conventions that reproduce a file that differs; None where no file
        differs.
    tolerance : Tolerance or None
        By which whole runs were judged; None where every step was.
    keys : sequence of str
        Names of the sequences, where there are several.
    """

    model: Mapping[str, Any]
    results: Sequence[Result]
    expected: Result | None = None
    explanations: Sequence[Explanation] | None = None
    tolerance: Tolerance | None = None
    keys: Sequence[str] = ()

    @property
    def equal(self) -> bool:
        """Whether nothing that was compared differs, and the file, if any, was compared."""
        verdicts = [result.verdict for result in self.results if result.verdict]
        missing = self.expected is not None and self.expected.verdict is None
        return not missing and all(verdict.equal for verdict in verdicts)


def write_report_table(out: TextIO, report: Report) -> None:
    """Say what differs, draw a row for each result, then what needs saying in words."""
    out.writelines(f"{printable(line)}\n" for line in _headline(report))
    compared = [result for result in report.results if result.verdict]
    verdicts = [result.verdict for result in compared if result.verdict]
    names = Column("", [os.path.basename(_name(result)) for result in compared])
    columns = [
        Column("", ["equal" if verdict.equal else "DIFFERENT" for verdict in verdicts]),
        Column("step error", [_share(verdict) for verdict in verdicts]),
        Column("difference", [f"{verdict.apart.largest:.2g}" for verdict in verdicts]),
    ]
    if report.model:
        places = [verdict.apart.at for verdict in verdicts]
        columns += [
            *(Column(*named) for named in _places(places, several=bool(report.keys))),
            Column("rtol", [f"{verdict.apart.rtol:.2g}" for verdict in verdicts]),
        ]
    draw(out, model_line(report.model) if report.model else "Recorded cases", [names], columns)
    width = console_on(out).width
    legend = [line for text in _legend(report) for line in wrap(text, width)]
    out.writelines(f"{printable(line)}\n" for line in ("", *legend, *_findings(report)))


def write_report_json(out: TextIO, report: Report) -> None:
    """Write one document: model, rule, results, explanations."""
    document: dict[str, Any] = {"equal": report.equal, "model": dict(report.model) or None}
    document["rule"] = report.tolerance._asdict() if report.tolerance else "step error"
    document["results"] = [_item(result) for result in report.results]
    if report.explanations is not None:
        document["explanations"] = [_finite(each._asdict()) for each in report.explanations]
    out.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _headline(report: Report) -> list[str]:
    """Say first what fails."""
    if report.equal:
        return []
    differing = [_name(each) for each in report.results if each.verdict and not each.verdict.equal]
    expected = report.expected
    if expected and not expected.verdict:
        if report.explanations is None:
            return [f"NOT COMPARED: {_name(expected)}", ""]
        differing.insert(0, _name(expected))
    return [f"DIFFERENT: {', '.join(differing)}", ""]


def _findings(report: Report) -> list[str]:
    """Say what was not compared, where values are wrong, and what explains a difference."""
    notes = [
        f"{', '.join(map(_name, results))}: {note}"
        for note, results in groupby(
            (result for result in report.results if not result.verdict), key=lambda each: each.note
        )
    ]
    return [*notes, *_wrong(report), *_explained(report)]


def _name(result: Result) -> str:
    return f"{result.name} {result.version}".strip()


def _legend(report: Report) -> list[str]:
    """Say by what rule the table judges."""
    if report.tolerance:
        atol, rtol = report.tolerance
        return [f"The rule: |a - b| <= {atol:g} + {rtol:g} |b| in all values of the whole runs."]
    rule = "The rule: a step error of up to 1 is what rounding explains, in every step."
    if not report.model:
        return [rule]
    return [
        f"{rule} Whole runs may be driven apart by rounding alone. Their largest difference is "
        "the smallest --atol that would pass them, rtol the smallest --rtol.",
        *_whole_runs(report),
    ]


def _whole_runs(report: Report) -> list[str]:
    """Say where whole runs stand for steps, and how much of them was judged."""
    judged = [
        result.verdict.judged
        for result in report.results
        if result.verdict and result.verdict.step_error is None
    ]
    if not judged:
        return []
    return [
        "Without a step error, not all states are known, and whole runs are compared: a value may "
        "differ by what rounding makes of it in this network. Where that is too much it is not "
        f"judged; here {_percent(min(judged))} of the values are."
    ]


def _percent(share: float) -> str:
    """Give a share as text; 100% is all of it."""
    return "100%" if share == 1 else f"{min(share, 0.999):.1%}"


def _wrong(report: Report) -> list[str]:
    return [
        f"{result.name}: the first wrong value is at {_place(verdict.first, report.keys)}. "
        f"Expected {expected!r}, rnn computes {actual!r}."
        for result in report.results
        if (verdict := result.verdict) and verdict.first and verdict.values
        for expected, actual in [verdict.values]
    ]


def _explained(report: Report) -> list[str]:
    if report.explanations is None:
        return []
    if not report.explanations:
        return ["No convention that rnn knows reproduces it."]
    return [f"Reproduced {_within(each)} {_how(each.name)}." for each in report.explanations]


def _within(explanation: Explanation) -> str:
    return f"within {explanation.difference:.2g}" if explanation.difference else "to the bit"


def _how(name: str) -> str:
    return f"with {name}" if name.startswith("--") else f"by: {name}"


def _places(places: Sequence[Place | None], *, several: bool) -> list[tuple[str, list[str]]]:
    """Give a column for each part of a place: where the difference is largest."""
    fields = ("sequence", "step", "unit") if several else ("step", "unit")
    return [
        (field, ["" if place is None else str(getattr(place, field)) for place in places])
        for field in fields
    ]


def _place(place: Place, keys: Sequence[str]) -> str:
    step = f"step {place.step}, unit {place.unit}"
    return f"sequence {place.sequence} ({keys[place.sequence - 1]}), {step}" if keys else step


def _share(verdict: Verdict) -> str:
    return "" if verdict.step_error is None else f"{verdict.step_error:.2g}"


def _item(result: Result) -> dict[str, Any]:
    item: dict[str, Any] = {"name": result.name}
    if result.version:
        item["version"] = result.version
    if result.note:
        item["note"] = result.note
    verdict = result.verdict
    if verdict is None:
        return item | {"verdict": "not compared"}
    return item | _finite(
        {
            "verdict": "equal" if verdict.equal else "different",
            "step_error": verdict.step_error,
            "difference": verdict.apart.largest,
            "at": verdict.apart.at._asdict() if verdict.apart.at else None,
            "first": _first(verdict),
            "atol": verdict.apart.atol,
            "rtol": verdict.apart.rtol,
            "steps": verdict.apart.steps,
            "judged": verdict.judged,
        }
    )


def _first(verdict: Verdict) -> dict[str, Any] | None:
    """Give the place of the first wrong value, and what is expected and computed there."""
    if verdict.first is None or verdict.values is None:
        return None
    expected, actual = verdict.values
    return _finite(verdict.first._asdict() | {"expected": expected, "actual": actual})


def _finite(item: dict[str, Any]) -> dict[str, Any]:
    """Put null in place of numbers that JSON does not have."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in item.items()
    }
