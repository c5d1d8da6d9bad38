"""What ``rnn explain`` shows a reader: equations, and rows below each unit that add up."""

import io
import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import pytest
from conftest import Rnn

from rnncli import seeded
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.explain.report import Report
from rnncli.explain.steps import Wanted, explained
from rnncli.explain.units import find_unit
from rnncli.writers.model import describe

NOTEBOOK = ("explain", "--seq", "1,2,3,4,5,6", "--step", "2")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(
    units: int | list[int] = 4, unit: str | None = None, digits: int | None = None, **kind: Any
) -> str:
    """The text of a step on a terminal."""
    network = seeded(1, units, **kind)
    rows, carried = Rows(np.arange(1.0, 4.0)[:, None]), Carried(np.zeros(network.state_size))
    one = None if unit is None else find_unit(network, unit)
    steps = explained(network, [rows], Wanted(2, 2), carried)
    out = Terminal()
    model = describe(network, {}, "")
    Report(out, digits=digits, unit=one).write(model, map(one.of_step, steps) if one else steps)
    return out.getvalue()


def numbers_below(text: str) -> Iterator[tuple[str, list[float]]]:
    """The label of each row, and its numbers."""
    for line in text.splitlines():
        found = re.fullmatch(r"(\S.*?)\s{2,}([-\d.e*\s]+)", line) or re.fullmatch(
            r"(\S.*?)\s+(-?\d[-\d.e*\s]*)", line
        )
        if found and " = " not in line:
            yield found[1], [float(cell.rstrip("*")) for cell in found[2].split()]


@pytest.mark.parametrize("columns", ["40", "80", "200"])
@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_rows_are_those_of_the_document(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, cell: str, columns: str
) -> None:
    """At any width, each term, sum and value stands once, with all its digits."""
    arguments = (*NOTEBOOK, "--hidden", "5", "--cell", cell)
    (step,) = json.loads(run_rnn(*arguments, "--json").stdout)["steps"]
    monkeypatch.setenv("COLUMNS", columns)
    text = run_rnn(*arguments).stdout
    assert max(map(len, text.splitlines())) <= int(columns)
    rows: dict[str, list[list[float]]] = {}
    for label, values in numbers_below(text):
        rows.setdefault(label, []).append(values)
    ((explained_cell,),) = (layer["cells"] for layer in step["layers"])
    for quantity in explained_cell["quantities"]:
        written = " ".join(text.split())
        if quantity["name"] != quantity["equation"]:
            assert f"{quantity['name']} = {quantity['equation']}" in written
        if len(quantity["terms"]) > 1:
            for term in quantity["terms"]:
                assert sorted(term["values"]) == sorted(every(rows, term["name"], 5))
        assert sorted(quantity["values"]) == sorted(every(rows, quantity["name"], 5))
    sums = [q["sum"] for q in explained_cell["quantities"] if q.get("sum") and len(q["terms"]) > 1]
    assert sorted(chain.from_iterable(sums)) == sorted(chain.from_iterable(rows["sum"]))


def every(rows: dict[str, list[list[float]]], label: str, units: int) -> list[float]:
    """The numbers of a row in all parts; a row that stands again, as n_t in h_t, once."""
    found = [value for part in rows[label] for value in part]
    return found if len(found) == units else sorted(set(found))


def test_an_only_equation_stands_above_the_units(run_rnn: Rnn) -> None:
    lines = run_rnn(*NOTEBOOK, "--hidden", "2").stdout.splitlines()
    begin = lines.index("h_t = tanh(x_t @ W_xh + h_{t-1} @ W_hh + b_h)")
    labels = [re.split(r"\s{2,}", line)[0] for line in lines[begin + 2 :]]
    assert labels[:8] == ["", "h_{t-1}", "", "x_t @ W_xh", "h_{t-1} @ W_hh", "b_h", "", "sum"]
    assert "─" in lines[begin + 8]
    assert labels[8] == "h_t"


def test_saturated_units_are_marked_and_only_then_is_there_a_legend(run_rnn: Rnn) -> None:
    legend = "* saturated: within 0.001 of an end of its function."
    text = run_rnn(*NOTEBOOK, "--hidden", "4").stdout
    assert re.findall(r"\S+\*", text) == ["0.9996015*", "-0.999949*"]
    assert text.endswith(f"\n\n{legend}\n")
    text = run_rnn("explain", "--seq", "0.1,0.2", "--hidden", "4").stdout
    assert "*" not in text
    assert not text.endswith("\n\n")


def test_a_unit_has_its_largest_terms_first(run_rnn: Rnn) -> None:
    text = run_rnn(*NOTEBOOK, "--hidden", "4", "--unit", "2").stdout
    rows = [(label, numbers) for label, numbers in numbers_below(text) if "[" in label]
    assert sorted(label for label, _ in rows) == sorted(
        ["x_t[0] W_xh[0, 2]", "b_h[2]", *(f"h_{{t-1}}[{k}] W_hh[{k}, 2]" for k in range(4))]
    )
    products = [numbers[-1] for _, numbers in rows]
    assert products == sorted(products, key=lambda value: -abs(value))
    for _, numbers in rows[:-1]:
        left, right, product = numbers
        assert product == pytest.approx(left * right, rel=1e-6)


def test_a_wide_layer_is_cut_on_a_terminal_alone(run_rnn: Rnn) -> None:
    shown = re.findall(r"unit (\d+)", drawn(100))
    assert [int(unit) for unit in shown] == [*range(6), *range(94, 100)]
    assert "Only the first and last 6 are shown: `unit` shows one, `output` FILE all." in drawn(100)
    assert "Only the first" not in drawn(16)
    piped = run_rnn(*NOTEBOOK, "--hidden", "100").stdout
    assert len(set(re.findall(r"unit (\d+)", piped))) == 100


def test_the_smaller_terms_of_a_unit_are_added_up_on_a_terminal(run_rnn: Rnn) -> None:
    text = re.sub(r"\x1b\[[\d;]*m", "", drawn(100, unit="3"))
    rows = dict(numbers_below(text))
    assert "the other 86" in rows
    shown = [numbers[-1] for label, numbers in rows.items() if label not in ("sum", "h_t")]
    assert len(shown) == 17
    assert sum(shown) == pytest.approx(rows["sum"][0], rel=1e-5)
    assert "The smaller terms are added up: `output` FILE has each." in text
    piped = run_rnn(*NOTEBOOK, "--hidden", "100", "--unit", "3").stdout
    assert len(re.findall(r"^\S+ W_hh\[\d+, 3\]", piped, re.MULTILINE)) == 100
    assert "the other" not in piped


def test_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = drawn(4)
    assert "\x1b[1;33m0.9996015*" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    plain = drawn(4)
    assert "33m" not in plain
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == re.sub(r"\x1b\[[\d;]*m", "", plain)


def test_stacks_directions_and_merges() -> None:
    text = re.sub(r"\x1b\[[\d;]*m", "", drawn([2, 3], direction="bidirectional", merge="ave"))
    assert text.count("Forward\n") == text.count("Backward\n") == 2
    assert text.count("h_{t+1} @ W_hh") == 4
    assert "Layer 2: RNN 3, bidirectional, ave, tanh, x_t is what layer 1 gives" in text
    assert text.count("h_t = (forward h_t + backward h_t) / 2") == 2
    concat = re.sub(r"\x1b\[[\d;]*m", "", drawn(2, direction="bidirectional"))
    assert "h_0 to h_1 of the layer are the forward units, h_2 to h_3 the backward" in concat
    one = re.sub(r"\x1b\[[\d;]*m", "", drawn(2, unit="h_3", direction="bidirectional"))
    assert ("Forward" in one, "\nBackward, unit 1\n" in one) == (False, True)
    assert "Unit h_3 of layer 1: RNN 2, bidirectional" in one


def test_what_rounded_products_take_is_said(run_rnn: Rnn) -> None:
    text = run_rnn(*NOTEBOOK, "--hidden", "2", "--precision", "tf32", "--digits", "2").stdout
    assert "\ntf32: each product (@) takes both sides rounded to 10 bits.\n" in text
    assert text.endswith("Rounded to 2 digits after the point (--digits).\n")


def test_names_from_an_input_cannot_steer_a_terminal(run_rnn: Rnn) -> None:
    text = "k,\x1b[31mv\x07\n\x1b]0;x\x07,1\n"
    shown = run_rnn("explain", "--group-by", "k", "--hidden", "1", stdin=text).stdout
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert r"k \x1b]0;x\x07: t = 1" in shown
    assert r"x_t = \x1b[31mv\x07 1.0" in shown
