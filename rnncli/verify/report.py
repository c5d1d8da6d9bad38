"""Results of comparisons, as a table for people or as one JSON document."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from math import isfinite
from typing import Any, NamedTuple, TextIO

from rnncli.verify.compared import Result
from rnncli.verify.comparison import Tolerance, Verdict
from rnncli.verify.tally import Place, Wrong
from rnncli.writers.grid import Column, draw, write_text
from rnncli.writers.model import model_line

# How Rich paints a verdict; the words say the same.
STYLES = {"equal": "bold green", "different": "bold red", "not compared": "bold yellow"}


class Report(NamedTuple):
    """All that is written."""

    model: Mapping[str, Any]
    results: Sequence[Result]
    expected: Result | None = None  # the result that is a file's
    tolerance: Tolerance | None = None  # by which whole runs were judged
    keys: Sequence[str] = ()  # names of the sequences, where there are several
    # Shows parameters between backticks as the user knows them.
    with_options: Callable[[str], str] = str
    hint: str = ""  # what to do where nothing reproduces the file

    @property
    def explanations(self) -> Mapping[str, float] | None:
        """Causes that reproduce the file, if it differs."""
        return self.expected.explanations if self.expected else None

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
        """Results that differ, the file first."""
        return [each for each in self.results if each.differs or each.explanations]

    @property
    def shown(self) -> list[tuple[str, Verdict]]:
        """Names and verdicts: those by which our own run is wrong, else all that differ."""
        found = [(_label(each), each.verdict) for each in self.differing if each.verdict]
        return [each for each in found if each[1].own_wrong] or found

    @property
    def equal(self) -> bool:
        """Whether the verdict is that all is equal."""
        return self.verdict == "equal"


def write_report_table(out: TextIO, report: Report) -> None:
    """Write the verdict, what is wrong and why, a row for each result, then the legend."""
    differing, style = report.differing, STYLES[report.verdict]
    if report.equal:
        write_text(out, f"EQUAL: {_sentence(report)}", style)
    else:
        names = ", ".join(map(_name, differing or filter(None, [report.expected]))) or "nothing"
        write_text(out, f"{report.verdict.upper()}: {names}", style)
        write_text(out, _sentence(report))
    for name, verdict in report.shown:
        _write_wrong(out, report, name, verdict)
    if report.explanations is not None:
        _write_explanations(out, report, report.explanations)
    out.write("\n")
    _draw_results(out, report)
    out.write("\n")
    for note in _notes(report):
        write_text(out, note)
    for line in _legend(report):
        write_text(out, line, "dim", wrap=True)


def _sentence(report: Report) -> str:
    """Return in a sentence what was compared with what, and how much of it differs."""
    expected, wrong = report.expected, [verdict for _, verdict in report.shown]
    verdicts = [result.verdict for result in report.results if result.verdict]
    if expected and not expected.verdict:
        return f"{expected.note}."
    if report.equal:
        values = max(verdict.tallies[-1].values for verdict in verdicts)
        amount = f"{values:,} value{'s' * (values > 1)}"
        within = "within the tolerance" if report.tolerance else "up to rounding"
        if len(verdicts) == 1:
            return f"1 result of {amount} is what rnn computes, {within}."
        return f"{len(verdicts)} results of {amount} each are what rnn computes, {within}."
    if wrong and wrong[0].own_wrong:
        return f"rnn's own run is wrong, in {_amount(wrong[0], report.keys)}; so nothing equals it."
    text = "They differ from what rnn computes."
    if len(wrong) == 1:
        text = f"It differs from what rnn computes in {_amount(wrong[0], report.keys)}."
    others = " The other ways to compute it are equal."
    return text + others * (len(verdicts) > len(wrong))


def _write_explanations(out: TextIO, report: Report, explanations: Mapping[str, float]) -> None:
    """Write what reproduces the file, or what to do where nothing does."""
    out.write("\n")
    for name, left in explanations.items():
        within = f"within {left:.2g}" if left else "to the bit"
        how = f"with {report.with_options(name)}" if name.startswith("`") else f"by: {name}"
        write_text(out, f"Reproduced {within} {how}.", "bold reverse")
    if not explanations:
        write_text(out, "No convention that rnn knows reproduces it.")
        if report.hint:
            write_text(out, report.with_options(f"Save the states too: {report.hint}."))


def _amount(verdict: Verdict, keys: Sequence[str]) -> str:
    """Count the wrong values in words, with their share and where they are."""
    share = _percent(verdict.wrong, verdict.values)
    *_, where = (tally.where(keys) for tally in verdict.tallies)
    amount = f"{verdict.wrong:,} of {verdict.values:,} values ({share})"
    return f"{amount}, {where}" if len(verdict.tallies) == 1 and where else amount


def _write_wrong(out: TextIO, report: Report, name: str, verdict: Verdict) -> None:
    """Write the first wrong value; how many are wrong too where several results differ."""
    out.write("\n")
    if not verdict.wrong or not verdict.first:
        write_text(out, f"{name}: none of its values is wrong by itself.")
        return
    if len(report.shown) > 1:
        write_text(out, f"{name}: wrong in {_amount(verdict, report.keys)}.", "bold")
    write_text(out, f"First wrong value: {_first(verdict, verdict.first, report.keys)}.")


def _first(verdict: Verdict, first: Wrong, keys: Sequence[str]) -> str:
    """Return in words where the first wrong value is, and how far it is off."""
    sequence, step, unit = first.place
    key = f" ({keys[sequence - 1]})" if keys else ""
    where = f"sequence {sequence}{key}, " if len(verdict.tallies[-1].steps) > 1 else ""
    where += f"layer {first.layer}, " if len(verdict.tallies) > 1 else ""
    pair = f"expected {first.expected!r}, rnn computes {first.actual!r}"
    off = f"off by {_short(first.difference)}, {_times(first.times)} times the bound"
    return f"{where}step {step}, unit {unit}: {pair}; {off}"


def _draw_results(out: TextIO, report: Report) -> None:
    """Draw a row for each result that was compared."""
    rows = [(_label(result), result.verdict) for result in report.results if result.verdict]

    def column(name: str, cell: Callable[[Verdict], str]) -> Column:
        return Column(name, [cell(verdict) for _, verdict in rows])

    def at(field: str) -> Column:
        return column(field, lambda each: str(getattr(each.at, field)) if each.at else "")

    columns = [
        column("verdict", lambda each: "equal" if each.equal else "DIFFERENT"),
        column(
            "step error", lambda each: "" if each.step_error is None else _times(each.step_error)
        ),
        column("difference", lambda each: _short(each.difference)),
        *(at(field) for field in Place._fields[0 if report.keys else 1 :]),
        column("rtol", lambda each: _short(each.rtol)),
    ]
    draw(out, model_line(report.model), [Column("", [name for name, _ in rows])], columns)


def write_report_json(out: TextIO, report: Report) -> None:
    """Write one document: verdict, model, rule, results, explanations."""
    document: dict[str, Any] = {"equal": report.equal, "verdict": report.verdict}
    document["model"] = dict(report.model)
    document["rule"] = report.tolerance._asdict() if report.tolerance else "step error"
    document["results"] = [_item(result, report.keys) for result in report.results]
    if report.explanations is not None:
        document["explanations"] = [
            _finite({"name": report.with_options(name), "difference": left})
            for name, left in report.explanations.items()
        ]
    out.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


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


def _percent(part: int, whole: int) -> str:
    """Return a share as text; 100% is all of it."""
    return "100%" if part == whole else f"{min(100 * part / whole, 99.9):.3g}%"


def _legend(report: Report) -> list[str]:
    """Explain the columns of the table."""
    if report.tolerance:
        atol, rtol = report.tolerance
        return [f"Bound: |a - b| <= {atol:g} + {rtol:g} |b|, for all values of the whole runs."]
    lines = ["Step error: distance from a float64 step; 1 is the most that rounding explains."]
    steps = [each for _, each in report.shown if each.wrong and each.step_error is not None]
    if steps:
        column = "Expected" if steps[0].own_wrong else "rnn computes"
        what = "one step from the h_{t-1} of the same result, not a whole run"
        lines.insert(0, f"{column}: {what}.")
    text = (
        "Difference, rtol: how far whole runs are apart at most; rounding alone can add up to "
        "much. With these as `atol` or `rtol`, the runs pass."
    )
    lines.append(report.with_options(text))
    if any(result.verdict and result.verdict.step_error is None for result in report.results):
        lines.append("Blank step error: whole runs, compared with bounds of their own.")
    return lines


def _notes(report: Report) -> list[str]:
    """Name the results that were not compared, or not in full."""
    others = [each for each in report.results if each is not report.expected and not each.verdict]
    partly = [
        f"{_label(result)}: {100 * verdict.judged:.3g}% of the values are judged; rounding alone "
        "may drive the others anywhere."
        for result in report.results
        if (verdict := result.verdict) and verdict.judged < 1
    ]
    notes = groupby(others, lambda each: each.note)
    return [*(f"{', '.join(map(_name, results))}: {note}" for note, results in notes), *partly]


def _item(result: Result, keys: Sequence[str]) -> dict[str, Any]:
    item: dict[str, Any] = {"name": result.name}
    if result.version:
        item["version"] = result.version
    if result.note:
        item["note"] = result.note
    verdict = result.verdict
    if verdict is None:
        return item | {"verdict": "not compared"}
    item |= _finite(
        {
            "verdict": "equal" if verdict.equal else "different",
            "step_error": verdict.step_error,
            "difference": verdict.difference,
            "at": verdict.at._asdict() if verdict.at else None,
            "first": _value(verdict.first, keys) if verdict.first else None,
            "atol": verdict.difference,
            "rtol": verdict.rtol,
            "steps": verdict.steps,
            "judged": verdict.judged,
        }
    )
    if verdict.tallies:
        where = verdict.tallies[-1].where(keys)
        item |= {"values": verdict.values, "wrong": verdict.wrong, "where": where}
    return item


def _value(wrong: Wrong, keys: Sequence[str]) -> dict[str, Any]:
    place, key = wrong.place, {"key": keys[wrong.place.sequence - 1]} if keys else {}
    numbers = {name: getattr(wrong, name) for name in ("expected", "actual", "difference", "times")}
    return _finite(place._asdict() | numbers | {"layer": wrong.layer} | key)


def _finite(item: dict[str, Any]) -> dict[str, Any]:
    """Put null in place of numbers that JSON does not have."""
    return {
        name: None if isinstance(value, float) and not isfinite(value) else value
        for name, value in item.items()
    }
