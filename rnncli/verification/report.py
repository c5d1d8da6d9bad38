"""Results of comparisons, as text for people or as one JSON document."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import isfinite
from typing import Any, NamedTuple, TextIO

from rnncli.verification.compared import Result
from rnncli.verification.comparison import Tolerance, Wrong
from rnncli.writers.grid import Column, draw, write_text
from rnncli.writers.model import model_line


class Report(NamedTuple):
    """All that is written."""

    model: Mapping[str, Any]
    results: Sequence[Result]
    expected: Result | None = None  # the result that is a file's, the first
    tolerance: Tolerance | None = None  # by which whole runs were judged
    keys: Sequence[str] = ()  # names of the sequences, where there are several
    # Shows parameters between backticks as the user knows them.
    with_options: Callable[[str], str] = str
    hint: str = ""  # what to do where nothing reproduces the file

    @property
    def verdict(self) -> str:
        """Whether all is equal that was compared, and the file, if any, was compared."""
        if self.expected and not (self.expected.verdict or self.expected.explanations):
            return "not compared"
        if self.differing:
            return "different"
        return "equal" if any(result.verdict for result in self.results) else "not compared"

    @property
    def differing(self) -> list[Result]:
        """Results that differ; where our own run is wrong, those by which that is known."""
        found = [each for each in self.results if each.differs or each.explanations]
        own = [e for e in found if e.verdict and e.verdict.first and e.verdict.first.own]
        return own or found


def write_report_table(out: TextIO, report: Report) -> None:
    """Write the verdict, the cause and the worst values, then a row for each result."""
    expected, styles = report.expected, ("bold green", "bold red", "bold yellow")
    style = dict(zip(("equal", "different", "not compared"), styles, strict=True))
    write_text(out, f"{report.verdict.upper()}: {_sentence(report)}", style[report.verdict])
    if expected and not expected.verdict:
        write_text(out, f"{expected.note}.")
    wrong = next((each.verdict for each in report.differing if each.verdict), None)
    if wrong and wrong.first and wrong.first.own:
        write_text(out, "rnn's own run is wrong; so nothing equals it.", "bold")
    if expected and expected.explanations is not None:
        _write_causes(out, report, expected.explanations)
    if wrong and wrong.worst:
        out.write("\n")
        _draw_worst(out, report, wrong.worst)
    out.write("\n")
    others = [each for each in report.results if each.verdict and each is not expected]
    noted = [each for each in report.results if each.note and each is not expected]
    if expected and others and not any(each.differs for each in others):
        ways = [each for each in others if not each.version]
        names = ["a float64 loop", *(_name(each) for each in others if each.version)]
        noted = [each for each in noted if each.version]
        agrees = f"{', '.join(names)} and {len(ways) - 1} other ways to compute"
        write_text(out, f"rnn itself agrees with {agrees}.")
    else:
        _draw_results(out, report)
    for note, results in groupby(noted, lambda each: each.note):
        write_text(out, f"{', '.join(map(_name, results))}: {note}")
    for result in (each for each in report.results if each.verdict and each.verdict.judged < 1):
        share = f"{100 * result.verdict.judged:.3g}% of the values are judged"  # type: ignore[union-attr]
        write_text(out, f"{_label(result)}: {share}; rounding alone may drive the others anywhere.")


def _sentence(report: Report) -> str:
    """Say what was compared, and how much of it differs."""
    verdicts = [result.verdict for result in report.results if result.verdict]
    within = "within the tolerance" if report.tolerance else "up to rounding"
    if report.verdict == "equal":
        file = report.expected and report.expected.verdict
        values = file.values if file else max(verdict.values for verdict in verdicts)
        amount = f"{values:,} value{'s' * (values > 1)}"
        if report.expected and file:
            return f"{report.expected.name}, {amount}, {within}."
        if len(verdicts) == 1:
            return f"1 result of {amount} is what rnn computes, {within}."
        alike = len({verdict.values for verdict in verdicts}) == 1  # some may give more rows
        of = f" of {amount} each" if alike else ""
        return f"{len(verdicts)} results{of} are what rnn computes, {within}."
    differing = report.differing
    names = ", ".join(map(_name, differing or filter(None, [report.expected]))) or "nothing"
    verdict = next((each.verdict for each in differing if each.verdict), None)
    if verdict is None:
        return names
    part = 100 * verdict.wrong / (verdict.values or 1)
    share = "100%" if verdict.wrong == verdict.values else f"{min(part, 99.9):.3g}%"
    amount = f"{verdict.wrong:,} of {verdict.values:,} values ({share})"
    return ", ".join(filter(None, [names, amount, verdict.where])) + "."


def _write_causes(out: TextIO, report: Report, explanations: Mapping[str, float]) -> None:
    """Write what reproduces the file, or what to do where nothing does."""
    for number, (name, left) in enumerate(explanations.items()):
        within = f" With it, equal within {left:.2g}." if left else " With it, equal to the bit."
        cause = f"{'Or' if number else 'Cause'}: {report.with_options(name)}."
        write_text(out, cause + within * isfinite(left), "bold")
    if not explanations:
        write_text(out, "No cause that rnn knows reproduces it.")
        if report.hint:
            write_text(out, report.with_options(f"Save the states too: {report.hint}."))


def _draw_worst(out: TextIO, report: Report, worst: Sequence[Wrong]) -> None:
    """Draw the values that are furthest off, and the first."""
    columns = {
        "sequence": [_key(report, each) for each in worst] if report.keys else [],
        "layer": [str(each.layer) for each in worst] if len({e.layer for e in worst}) > 1 else [],
        "step": [str(each.step) for each in worst],
        "unit": [str(each.unit) for each in worst],
        "expected": [repr(each.expected) for each in worst],
        "rnn computes": [repr(each.actual) for each in worst],
        "off by": [_short(each.difference) for each in worst],
        "bounds": [_times(each.times) for each in worst],
    }
    drawn = [Column(*each) for each in columns.items() if each[1]]
    draw(out, "The worst values", drawn[:1], drawn[1:])


def _key(report: Report, wrong: Wrong) -> str:
    return report.keys[wrong.sequence - 1]


def _draw_results(out: TextIO, report: Report) -> None:
    """Draw a row for each result that was compared, and explain the columns."""
    rows = [(_label(result), result.verdict) for result in report.results if result.verdict]
    columns = {
        "verdict": ["equal" if each.equal else "DIFFERENT" for _, each in rows],
        "step error": [
            "" if each.step_error is None else _times(each.step_error) for _, each in rows
        ],
        "difference": [_short(each.difference) for _, each in rows],
        "rtol": [_short(each.rtol) for _, each in rows],
    }
    labels = [Column("", [name for name, _ in rows])]
    draw(out, model_line(report.model), labels, [Column(*each) for each in columns.items()])
    legend = (
        "Step error: distance from a float64 step; 1 is the most that rounding explains. "
        "Difference, rtol: how far whole runs are apart; with these as `atol` or `rtol` they pass."
    )
    if report.tolerance:
        atol, rtol = report.tolerance
        legend = f"Equal: |a - b| <= {atol:g} + {rtol:g} |b|, for all values of the whole runs."
    out.write("\n")
    write_text(out, report.with_options(legend), "dim", wrap=True)


def write_report_json(out: TextIO, report: Report) -> None:
    """Write one document: verdict, model, rule, results, explanations."""
    rule = report.tolerance._asdict() if report.tolerance else "step error"
    document: dict[str, Any] = {
        "equal": report.verdict == "equal",
        "verdict": report.verdict,
        "model": dict(report.model),
        "rule": rule,
        "results": [_item(result, report) for result in report.results],
    }
    if report.expected and report.expected.explanations is not None:
        document["explanations"] = [
            _finite({"name": report.with_options(name), "difference": left})
            for name, left in report.expected.explanations.items()
        ]
    out.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


def _item(result: Result, report: Report) -> dict[str, Any]:
    item = {"name": result.name, "version": result.version, "note": result.note}
    item = {name: text for name, text in item.items() if text}
    verdict = result.verdict
    if verdict is None:
        return item | {"verdict": "not compared"}
    item["verdict"] = "equal" if verdict.equal else "different"
    found = verdict._asdict() | {"atol": verdict.difference}
    if first := verdict.first:
        pair = {"expected": first.expected, "actual": first.actual, "difference": first.difference}
        place = dict(zip(first._fields, first[:3], strict=False))
        found["first"] = _finite(place | pair | {"times": first.times, "layer": first.layer})
        if report.keys:
            found["first"]["key"] = _key(report, first)
    names = ("step_error", "difference", "at", "first", "atol", "rtol", "steps", "judged")
    return item | _finite({name: found[name] for name in (*names, "values", "wrong", "where")})


def _finite(item: dict[str, Any]) -> dict[str, Any]:
    """Put null in place of numbers that JSON does not have."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in item.items()
    }


def _name(result: Result) -> str:
    return f"{result.name} {result.version}".strip()


def _label(result: Result) -> str:
    """Return a name as it is short enough for a table: of a file without its folder."""
    return os.path.basename(_name(result))


def _short(number: float) -> str:
    """Return two digits, or all before the point."""
    return f"{number:,.0f}" if 99.5 <= number < 1e6 else f"{number:.2g}"


def _times(number: float) -> str:
    """Write a number of bounds; one over 1, which is wrong, is not shown as 1."""
    return ">1" if 1 < number < 1.05 else _short(number)
