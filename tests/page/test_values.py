"""Every number that the page shows, against the document that `rnn explain --json` writes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from explained_networks import CASES, command_of, dtype_of

from page.conftest import EACH, Open, Opened

# Of each table its title, its rows with all digits of their cells, and those of its matrices.
TABLES = """() => [...document.querySelectorAll("table")].map((table) => {
  const rows = (where) => [...table.querySelectorAll(`tbody${where} tr`)].map((row) => ({
    name: row.dataset.name,
    marks: [...row.querySelectorAll("td")].map((cell) => cell.className.split(" ")),
    values: [...row.querySelectorAll("td")].map((cell) => cell.title),
  }));
  return { title: table.dataset.title, rows: rows(":not(.matrix)"), weights: rows(".matrix") };
})"""


def expected_tables(step: dict[str, Any]) -> list[tuple[str, list[tuple[str, list[float]]]]]:
    """Titles and rows of the tables of a step, without those of matrices."""
    tables = []
    for layer in step["layers"]:
        for cell in layer["cells"]:
            tables += [(name, [(name, values)]) for name, values in cell["inputs"].items()]
            tables += [(title_of(each), rows_of(each)) for each in cell["quantities"]]
        if "merge" in layer:
            tables.append((f"output = {layer['merge']} of both", [("output", layer["output"])]))
    return tables


def title_of(quantity: dict[str, Any]) -> str:
    name, equation = quantity["name"], quantity["equation"]
    return str(name) if name == equation else f"{name} = {equation}"


def rows_of(quantity: dict[str, Any]) -> list[tuple[str, list[float]]]:
    """The terms, the sum and the values; what would stand there twice is there once."""
    terms = [(term["name"], term["values"]) for term in quantity["terms"]]
    one = len(terms) == 1
    if one and "function" not in quantity and " @ " not in terms[0][0]:
        assert terms[0][1] == quantity["values"]
        terms = []
    if "sum" in quantity and not one:
        terms.append(("sum", quantity["sum"]))
    return [*terms, (quantity["name"], quantity["values"])]


def bits(values: Any, dtype: Any) -> bytes:
    return np.asarray([float(value) for value in values], dtype).tobytes()


def check_step(opened: Opened, number: int) -> None:
    step, dtype = opened.go_to(number), dtype_of(opened.document)
    if not step["layers"]:
        assert "masked" in opened.page.locator("#remark").text_content()
        assert not opened.page.locator("#layers").is_visible()
        return
    shown = opened.page.evaluate(TABLES)
    expected = expected_tables(step)
    assert [table["title"] for table in shown] == [title for title, _ in expected]
    for table, (_, rows) in zip(shown, expected, strict=True):
        assert [row["name"] for row in table["rows"]] == [name for name, _ in rows]
        for row, (_, values) in zip(table["rows"], rows, strict=True):
            assert bits(row["values"], dtype) == bits(values, dtype), row["name"]
        check_marks(table["rows"][-1], step)


def check_marks(row: dict[str, Any], step: dict[str, Any]) -> None:
    """Check which units are shown as saturated, and at which end of the function."""
    cells = [cell for layer in step["layers"] for cell in layer["cells"]]
    quantities = [each for cell in cells for each in cell["quantities"]]
    found = [each for each in quantities if each["name"] == row["name"] and "saturated" in each]
    if len(cells) == 1 and found:
        ends = ["upper" if value > 0 else "lower" for value in found[0]["sum"]]
        for unit, marks in enumerate(row["marks"]):
            assert (ends[unit] in marks) == (unit in found[0]["saturated"])
            assert len({"upper", "lower"} & {*marks}) == (unit in found[0]["saturated"])


@pytest.mark.parametrize("name", EACH)
def test_every_number_of_every_step(name: str, open_page: Open) -> None:
    opened = open_page(name)
    steps = len(opened.document["steps"])
    assert steps == 6
    for number in (0, *range(steps - 1, -1, -1)):
        check_step(opened, number)


@pytest.mark.parametrize("name", EACH)
def test_the_terms_of_a_unit(name: str, open_page: Open, run_rnn: Rnn, tmp_path: Path) -> None:
    """They are the terms of `rnn explain --unit`, then the sum and the value."""
    opened = open_page(name)
    opened.go_to(5)
    layers = CASES[name].network.layers
    number = next(n for n, layer in enumerate(layers, start=1) if layer.cells)
    command = [*command_of(CASES[name], tmp_path), "--json", "--unit", f"layer_{number}_h_1"]
    (step,) = json.loads(run_rnn(*command).stdout)["steps"]
    (cell,) = step["layers"][0]["cells"]
    opened.page.locator("select").nth(number - 1).select_option("1")
    shown = opened.page.evaluate(
        """() => [...document.querySelectorAll("ol.terms:not([hidden])")].map((list) =>
          [...list.children].map((item) => item.textContent))"""
    )
    for list_shown, quantity in zip(shown, cell["quantities"], strict=True):
        terms = [(term["name"], term) for term in quantity["terms"]]
        if "sum" in quantity and len(terms) > 1:
            terms.append(("sum", {"values": quantity["sum"]}))
        terms.append((quantity["name"], quantity))
        for text, (title, term) in zip(list_shown, terms, strict=True):
            assert text.startswith(f"{title} = ")
            np.testing.assert_allclose(float(text.split(" = ")[-1]), term["values"], rtol=2e-7)
            if "left" in term:
                factors = text.split(" = ")[1].split(" \N{MULTIPLICATION SIGN} ")
                assert [float(factor) for factor in factors] == [*term["left"], *term["right"]]
