"""The document of a verification as text or as JSON."""

import json
import os
from io import StringIO
from itertools import groupby
from math import ceil, floor, log10
from typing import Any, TextIO

from rnncli.model.description import model_line
from rnncli.model.errors import word
from rnncli.verification.comparison import LOOP, Result
from rnncli.writers.grid import Column, draw, write_text

STYLES = {"equal": "bold green", "different": "bold red", "not compared": "bold yellow"}


class Report(dict[str, Any]):
    """The document of a verification; its text is the report of ``rnn verify``."""

    def __str__(self) -> str:
        out = StringIO()
        write_table(out, self)
        return out.getvalue()


def write_table(out: TextIO, document: dict[str, Any]) -> None:
    """Write the verdict, the cause and the worst values, then a row for each result."""
    document = _reword(document)
    first, *rest = results = document["results"]
    verdict, expected = document["verdict"], first["name"] != LOOP
    ours = rest if expected else results
    compared = [each for each in ours if each["verdict"] != "not compared"]
    write_text(out, f"{verdict.upper()}: {_sentence(document, expected)}", STYLES[verdict])
    if expected and first["verdict"] == "not compared":
        write_text(out, f"{first['note']}.")
    if expected:
        _write_causes(out, document)
    for wrong in [each for each in results if each.get("worst")][:1]:
        _draw_worst(out, wrong, document["rule"], in_file=expected and wrong is first)
    out.write("\n")
    if expected and compared and all(each["verdict"] == "equal" for each in compared):
        names = ["a float64 loop", *(_label(each) for each in compared if "version" in each)]
        ways = f"{', '.join(names)} and {len(compared) - len(names)} other ways to compute"
        write_text(out, f"rnn itself agrees with {ways}.")
        ours = [each for each in ours if "version" in each]
    else:
        _draw_results(out, document)
    if "checked_rows" in document:
        what = "rnn checked itself" if expected else "The float64 loop and other ways to unroll ran"
        write_text(out, f"{what} on the first {document['checked_rows']:,} rows.")
    noted = [each for each in ours if each.get("note")]
    for note, alike in groupby(noted, lambda each: each["note"]):
        write_text(out, f"{', '.join(map(_label, alike))}: {note}")
    for each in (each for each in results if each.get("judged", 1) < 1):
        share = f"{100 * each['judged']:.3g}% of the values are judged"
        write_text(out, f"{_label(each)}: {share}; rounding alone may drive the others anywhere.")


def _write_causes(out: TextIO, document: dict[str, Any]) -> None:
    """Write what a file's values are known to, the causes that reproduce them, or advice."""
    first, causes = document["results"][0], document.get("explanations", [])
    if first["verdict"] == "equal" and document["rule"] == "step error":
        largest, error = first["difference"], first["closeness"]
        what = f"The largest difference is {_round_up(largest)}, " if largest else ""
        share = f"{error:.0%} of what rounding explains." if largest else "All values are the same."
        write_text(out, what + share)
    for n, each in enumerate(causes):
        within = f"within {_round_up(left)}" if (left := each["difference"]) else "to the bit"
        label = "Cause" if n == 0 else "   Or"
        write_text(out, f"{label}: {each['name']}. With it, equal {within}.", "bold")
    if (digits := document.get("digits")) and document["rule"] == "step error":
        write_text(out, f"The file has {digits}: each value is known to half a unit of the last.")
    if first["verdict"] == "different" and not causes:
        write_text(out, "No cause that rnn knows reproduces it.")
        for sentence in document.get("advice", []):
            write_text(out, sentence)


def _round_up(value: float) -> str:
    """Round up to one digit: the next digits of a rounding error depend on the processor."""
    unit = 10.0 ** floor(log10(value))
    return f"{ceil(value / unit) * unit:.0e}"


def _sentence(document: dict[str, Any], expected: bool) -> str:
    """Describe the values that were compared, and how many of them differ."""
    results, verdict = document["results"], document["verdict"]
    within = "up to rounding" if document["rule"] == "step error" else "within the tolerance"
    if verdict == "not compared":
        return str(results[0]["name"]) if expected else "nothing"
    alike = [each for each in results if each["verdict"] == verdict]
    values, wrong = alike[0]["values"], alike[0]["wrong"]
    if verdict == "different":
        share = "100%" if wrong == values else f"{min(100 * wrong / values, 99.9):.3g}%"
        names = (each["name"] for each in alike)
        amount = f"{wrong:,} of {values:,} values ({share})"
        return ", ".join(filter(None, [*names, amount, alike[0]["where"]])) + "."
    amount = f"{values:,} value{'s' * (values > 1)}"
    if expected:
        return f"{results[0]['name']}, {amount}, {within}."
    each = f" of {amount} each" if len({each["values"] for each in alike}) == 1 else ""
    return f"{len(alike)} results{each} are what rnn computes, {within}."


def _draw_worst(out: TextIO, result: Result, rule: Any, *, in_file: bool) -> None:
    """Draw the values that are furthest off, and explain the last column."""
    worst, where = result["worst"], "in the file" if in_file else _label(result)
    has_layers = len({each["layer"] for each in worst}) > 1
    columns = {
        "sequence": [each["key"] for each in worst if "key" in each],
        "layer": [str(each["layer"]) for each in worst if has_layers],
        "step": [str(each["step"]) for each in worst],
        "unit": [str(each["unit"]) for each in worst],
        where: [repr(each["expected"]) for each in worst],
        "rnn computes": [repr(each["actual"]) for each in worst],
        "off by": [_short(each["difference"]) for each in worst],
        "times allowed": [_short(each["times"]) for each in worst],
    }
    drawn = [Column(*each) for each in columns.items() if each[1]]
    out.write("\n")
    draw(out, "The worst values", drawn[:-4], drawn[-4:])
    allows = "rounding" if rule == "step error" else "the tolerance"
    legend = f"times allowed: how many times larger the difference is than {allows} allows."
    out.write("\n")
    write_text(out, legend, "dim", wrap=True)


def _draw_results(out: TextIO, document: dict[str, Any]) -> None:
    """Draw a row for each result that was compared, and explain the columns."""
    rows = [each for each in document["results"] if each["verdict"] != "not compared"]
    ways = (LOOP, word("`unroll`"))
    own = [each for each in rows if each["name"].startswith(ways)]
    with_peers = any("version" in each for each in rows)
    if with_peers and len(own) > 1 and all(each["verdict"] == "equal" for each in own):
        worst = max(own, key=lambda each: (each["step_error"] or 0, each["difference"]))
        row = worst | {"name": f"{len(own)} ways of rnn"}
        rows = [row, *(each for each in rows if each not in own)]
    errors = [each["step_error"] for each in rows]
    columns = {
        "verdict": ["equal" if each["verdict"] == "equal" else "DIFFERENT" for each in rows],
        "step error": ["" if error is None else _short(error) for error in errors],
        "difference": [_short(each["difference"]) for each in rows],
    }
    labels = [Column("", [_label(each) for each in rows])]
    draw(out, model_line(document["model"]), labels, [Column(*each) for each in columns.items()])
    legend = (
        "Step error: distance from a float64 step; 1 is the most that rounding explains. "
        "Difference: how far whole runs are apart; with it as `atol` they pass."
    )
    if document["rule"] != "step error":
        atol, rtol = document["rule"].values()
        legend = f"Equal: |a - b| <= {atol:g} + {rtol:g} |b|, for all values of the whole runs."
    out.write("\n")
    write_text(out, word(legend), "dim", wrap=True)


def write_json(out: TextIO, document: dict[str, Any]) -> None:
    """Write the document, with null for numbers that JSON does not have."""
    finite = json.loads(json.dumps(_reword(document)), parse_constant=lambda _: None)
    out.write(json.dumps(finite, indent=1) + "\n")


def _reword(document: dict[str, Any]) -> dict[str, Any]:
    """Write the parameters in names as the user does."""
    lists = {name: document[name] for name in ("results", "explanations") if name in document}
    advice = {"advice": [*map(word, document["advice"])]} if "advice" in document else {}
    return (
        document
        | advice
        | {
            name: [each | {"name": word(each["name"])} for each in entries]
            for name, entries in lists.items()
        }
    )


def _label(result: Result) -> str:
    """Shorten a name for a table: a file without its folder."""
    return os.path.basename(f"{result['name']} {result.get('version') or ''}".strip())


def _short(number: float) -> str:
    """Write two digits, or all before the point."""
    return f"{number:,.0f}" if 99.5 <= number < 1e6 else f"{number:.2g}"
