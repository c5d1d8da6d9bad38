"""One page of HTML with all steps of a run: it needs no network, and no other file."""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any, TextIO

from rnncli.explanation.report import as_json
from rnncli.explanation.steps import Step
from rnncli.explanation.units import Unit
from rnncli.model.description import model_line
from rnncli.model.errors import printable
from rnncli.model.network import Network

# Numbers that a page may have: a browser shows them without delay.
MOST_NUMBERS = 1_000_000


def most_steps(network: Network) -> int:
    """Count the steps that a page can hold, with the terms, sums and functions of all units."""
    numbers = network.input_size
    for layer in network.layers:
        numbers += 2 * layer.input_size + 6 * layer.output_size
        numbers += sum(8 * cell.gates * cell.hidden_size for cell in layer.cells)
    return MOST_NUMBERS // numbers


def write_page(
    out: TextIO, model: Mapping[str, Any], steps: Iterable[Step], unit: Unit | None = None
) -> None:
    """Write a page that shows every step, with `unit` chosen."""
    items: list[Any] = []
    weights: list[Any] = []
    for step in steps:
        key = {printable(name): printable(value) for name, value in (step.key or {}).items()}
        items.append(as_json(step._replace(key=key)))
        if not weights and step.layers:
            weights = [[_matrices(cell.quantities) for cell in each.cells] for each in step.layers]
    document = {
        "steps": items,
        "weights": weights,
        "columns": [
            printable(name) if isinstance(name, str) else f"column {name}"
            for name in model.get("columns", ())
        ],
        "unit": unit and [unit.layer, unit.cell, unit.column],
    }
    data = zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 9)
    text = {"title": escape(model_line(model)), "data": base64.b64encode(data).decode()}
    for name, kind in {"style": "css", "script": "js", "page": "html"}.items():
        file = files("rnncli.explanation").joinpath(f"page.{kind}")
        text[name] = file.read_text(encoding="utf-8")
        # The policy of the page allows no other style or script.
        digest = hashlib.sha256(text[name].encode()).digest()
        text[f"{name}_hash"] = f"sha256-{base64.b64encode(digest).decode()}"
    out.write(Template(text["page"]).substitute(text))


def _matrices(quantities: Sequence[Any]) -> dict[str, Any]:
    """Return the matrices of a cell by the names that its terms have for them."""
    return {
        term.name.rpartition(" @ ")[2]: as_json(list(term.right))
        for quantity in quantities
        for term in quantity.terms
        if getattr(term.right, "ndim", 0) > 1
    }
