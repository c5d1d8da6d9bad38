"""``rnn explain``: every number that it shows is that of a run, or follows from those before it."""

import json
import re
from collections.abc import Iterator, Mapping
from itertools import chain, pairwise
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import NIGHTLY, ROOT
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from random_networks import NetworkCase, slope
from saved_stacks import STACKS, invoke

import rnncli
from rnncli import Embedding, Network
from rnncli.cli import rnn
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import Rows
from rnncli.engine.runner import Runner
from rnncli.engine.stream import Carried
from rnncli.explanation.steps import Wanted, explain_steps
from rnncli.model.activations import activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, Cell
from rnncli.model.layers import Layer
from rnncli.verification import reference

GATES = {LSTM: "ifgo", GRU: "zrn"}
BY_ITSELF = ("LayerNormalization(x_t)", "Embedding(x_t)")  # terms that are the whole output
Item = dict[str, Any]


def document(*arguments: Any) -> list[Item]:
    steps: list[Item] = json.loads(invoke("explain", *arguments, "--json").stdout)["steps"]
    return steps


def close(actual: Any, expected: Any, size: Any, eps: float, roundings: float = 4) -> None:
    """Compare with what is exact; so many roundings of numbers of this size may lie between."""
    with np.errstate(all="ignore"):
        off = np.abs(np.asarray(actual, np.float64) - expected)
        least = roundings * eps * np.asarray(size) + np.finfo(np.float32).tiny
        assert (off <= least).all(), (actual, expected)


class Checked:
    """A cell, or a layer without state, and the numbers that its terms name."""

    def __init__(self, layer: Layer, cell: Cell | None, shown: Item, precision: str) -> None:
        self.precision = precision
        # The shortest digits of a float, which may lie between two operands, are not the float.
        self.dtype = PRECISIONS[precision].dtype
        self.eps = float(np.finfo(self.dtype).eps)
        self.named = {name: np.array(each, self.dtype) for name, each in shown["inputs"].items()}
        self.gates = GATES.get(type(cell), "")
        self.arrays: Mapping[str, Floats] = cell.weights.arrays if cell else layer.arrays
        if cell and "b_n" not in self.arrays:
            self.arrays = {**self.arrays, "b_n": np.zeros(cell.hidden_size)}

    def array(self, name: str) -> Floats:
        """Weights, or the block of a gate."""
        name, _, gate = name.rstrip("]").partition("[")
        array = self.arrays[name]
        if not gate:
            return array
        gates = "ifo" if name == "w_ch" else self.gates
        return np.split(array, len(gates), axis=-1)[gates.index(gate)]

    def value(self, name: str) -> tuple[Floats, Floats]:
        """The value of a term in float64, and the size of its terms."""
        left, product, right = name.partition(" @ ")
        if product:
            rows = reference.round_to(self.evaluated(left), self.precision)
            W = self.array(right).astype(np.float64)
            return rows @ W, (len(W) + 4) * (np.abs(rows) @ np.abs(W))
        found = self.evaluated(name)
        size = 4 * np.abs(found)
        if " - " in name:  # what is left of a difference may be small beside its parts
            largest = max(float(np.abs(array).max(initial=0)) for array in self.named.values())
            size = size + 4 * largest
        return found, size

    def evaluated(self, expression: str) -> Floats:
        """A product, quotient or difference of names; neighbours are multiplied."""
        known = sorted([*self.named, *self.arrays], key=len, reverse=True)
        name = rf"(?:{'|'.join(map(re.escape, known))})(?:\[\w\])?"
        code = re.sub(name, lambda found: f"value({found[0]!r})", expression)
        code = re.sub(r"(?<=\)) (?=[v(])", " * ", code)
        return np.asarray(eval(code, {"value": self.looked_up}))

    def looked_up(self, name: str) -> Floats:
        return (self.named[name] if name in self.named else self.array(name)).astype(np.float64)

    def check(self, quantity: Item) -> None:
        """Each term from what it names, the sum from the terms, and the value from the sum."""
        for term in quantity["terms"]:
            if term["name"] not in (quantity["name"], *BY_ITSELF):
                close(term["values"], *self.value(term["name"]), self.eps, 1)
        total = quantity.get("sum", quantity["values"])
        values = [np.array(term["values"]) for term in quantity["terms"]]
        size = sum(map(np.abs, values))
        if any(" - " in term["name"] for term in quantity["terms"]):
            size = size + max(np.abs(array).max(initial=0) for array in self.named.values())
        close(total, sum(values), size, self.eps)
        if "function" in quantity:
            self.check_function(quantity)
        self.check_equation(quantity)
        self.named[quantity["name"]] = np.array(quantity["values"], self.dtype)

    def check_function(self, quantity: Item) -> None:
        name, a = quantity["function"], np.array(quantity["sum"])
        if name in ("softmax", "log_softmax"):
            expected = reference.log_softmax(a[None])[0]
            expected = np.exp(expected) if name == "softmax" else expected
            size = 4 * np.maximum(1, np.abs(a).max())
        else:
            name, _, parameters = name.partition(":")
            f = activation(name, *map(float, filter(None, parameters.split(","))))
            expected = reference.activate(f, a, quantity.get("clip", inf))
            # A function with parameters takes them as the float type has them.
            size = slope(f) * np.maximum(np.abs(expected), np.maximum(1, np.abs(a)))
        close(quantity["values"], expected, size, self.eps, 8)

    def check_equation(self, quantity: Item) -> None:
        expected = " + ".join(term["name"] for term in quantity["terms"])
        if "clip" in quantity:
            expected = f"clip({expected}, -{quantity['clip']:g}, {quantity['clip']:g})"
        function = quantity.get("function", "linear").partition(":")[0]
        if function != "linear":
            expected = f"{function}({expected})"
        assert quantity["equation"].split(" = ")[0] == expected.replace("+ -", "- ")


def values_of(cell: Item, name: str) -> Iterator[list[float]]:
    return (each["values"] for each in cell["quantities"] if each["name"] == name)


def check_against_run(steps: list[Item], ran: rnncli.States) -> None:
    """h, c and y of every layer are those of a run, to the bit."""
    assert ran.layers_c is not None
    assert [step["t"] for step in steps] == list(range(1, len(ran.h) + 1))
    for n, step in enumerate(steps):
        assert np.array_equal(np.array(step["h"], ran.h.dtype), ran.h[n])
        assert ran.y is None or np.array_equal(np.array(step["y"], ran.h.dtype), ran.y[n])
        for layer, output, c in zip(step["layers"], ran.layers, ran.layers_c, strict=True):
            assert np.array_equal(np.array(layer["output"], output.dtype), output[n])
            if len(layer["cells"]) == 1:
                assert layer["cells"][0]["quantities"][-1]["values"] == layer["output"]
            of_c = [value for cell in layer["cells"] for value in values_of(cell, "c_t")]
            assert np.array_equal(np.concatenate([[], *of_c]).astype(c.dtype), c[n])


def check_chain(steps: list[Item]) -> None:
    """A cell starts where it ended at the step before, and a layer takes what is below."""
    for step in steps:
        for below, layer in pairwise(step["layers"]):
            assert all(cell["inputs"]["x_t"] == below["output"] for cell in layer["cells"])
    for one, other in pairwise(steps):
        for first, second in zip(one["layers"], other["layers"], strict=True):
            for cells in zip(first["cells"], second["cells"], strict=True):
                end, start = cells[::-1] if cells[0].get("direction") == "backward" else cells
                for name, array in start["inputs"].items():
                    if "_{t" in name:
                        assert [array] == list(values_of(end, f"{name[0]}_t"))


def check_singles(quantity: Item, eps: float) -> None:
    """Every single term of a unit adds up to its sum."""
    (total,) = quantity["sum"] if "sum" in quantity else quantity["values"]
    values = np.array([term["values"] for term in quantity["terms"]])
    close(total, values.sum(), np.abs(values).sum(), eps, len(values) + 4)
    for term in quantity["terms"]:
        if "left" in term:
            product = term["left"][0] * term["right"][0]
            close(term["values"], product, abs(product), eps)


def explained(case: NetworkCase, precision: str, unit: str) -> tuple[list[Item], Item]:
    """All steps of a sequence that does not overflow, and one unit of the last."""
    options: list[Any] = ["--precision", precision]
    for name, place in case.network.state_names.items():
        options += [f"--{name}0", json.dumps(case.h0[0, place].tolist())]
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", case.x[0])
        rnncli.save(case.network, f"{folder}/w.npz")
        command = (f"{folder}/x.npy", "--weights", f"{folder}/w.npz", *options)
        result = invoke("explain", *command, "--steps", "1:", "--json", code=None)
        if result.exit_code:
            reject()
        (step,) = document(*command, "--unit", unit)
    return json.loads(result.stdout)["steps"], step


def check_step(network: Network, step: Item, precision: str) -> None:
    for layer, shown in zip(network.layers, step["layers"], strict=True):
        for cell, each in zip(layer.cells or [None], shown["cells"], strict=True):
            checked = Checked(layer, cell, each, precision)
            for quantity in each["quantities"]:
                checked.check(quantity)


@settings(max_examples=400 if NIGHTLY else 25)
@given(STACKS, st.sampled_from(list(PRECISIONS)), st.data())
def test_numbers_equal_a_run_and_add_up(
    case: NetworkCase, precision: str, data: st.DataObject
) -> None:
    assume(len(case.x[0]))
    right = reference.run(case.network, case.x[0], case.h0[0])
    # Sums of states that grow without end are no floats of the precision.
    assume(all(np.abs(array).max(initial=0) < 1e4 for array in (*right.outputs, *right.c)))
    network = case.network.converted(PRECISIONS[precision].convert)
    number = data.draw(st.integers(1, len(network.layers)))
    layer = network.layers[number - 1]
    unit = data.draw(st.integers(0, layer.output_size - 1))
    name = f"layer_{number}_{'h' if layer.cells else 'y'}_{unit}"
    steps, step = explained(case, precision, name)
    options: dict[str, Any] = {"all_layers": True, "all_states": True, "unroll": "stepwise"}
    ran = rnncli.run(case.network, case.x[0], case.h0[0], precision=precision, **options)
    check_against_run(steps, ran)
    check_chain(steps)
    for each in steps:
        check_step(network, each, precision)

    (of_unit,), whole = step["layers"], steps[-1]["layers"][number - 1]
    assert of_unit["layer"] == number
    for cell in of_unit["cells"]:
        for quantity in cell["quantities"]:
            check_singles(quantity, float(np.finfo(PRECISIONS[precision].dtype).eps))
    last = [cell["quantities"][-1]["values"][0] for cell in of_unit["cells"]]
    if whole.get("merge", "concat") == "concat":
        values = chain(*(each["quantities"][-1]["values"] for each in whole["cells"]))
        assert last == [list(values)[unit]]
    else:
        assert last == [each["quantities"][-1]["values"][unit] for each in whole["cells"]]


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_rows_that_a_layer_masks_are_no_steps(tmp_path: Path, direction: str) -> None:
    cells = rnncli.seeded(2, [3, 2], direction=direction, merge="ave", cell="gru").layers
    x = np.array([[1.0], [0], [3], [4], [0], [0]])
    table = np.random.RandomState(3).normal(size=(5, 2))
    network = Network(Embedding(table, mask_zero=True), *cells)
    np.save(tmp_path / "x.npy", x)
    rnncli.save(network, tmp_path / "w.npz")
    options = (tmp_path / "x.npy", "--weights", tmp_path / "w.npz")
    steps = document(*options, "--steps", "1:")
    ran = rnncli.run(network, x, unroll="stepwise")
    assert ["note" in step for step in steps] == [not row[0] for row in x]
    assert [step["layers"] == [] for step in steps] == [not row[0] for row in x]
    assert np.array_equal(np.array([step["h"] for step in steps], "f"), ran.h)
    # The state before a step is that which was kept.
    for cell in steps[2]["layers"][1]["cells"]:
        h_t = cell["quantities"][-1]
        total = np.sum([term["values"] for term in h_t["terms"]], axis=0)
        np.testing.assert_allclose(total, h_t["values"], rtol=1e-5, atol=1e-6)


def test_a_layer_takes_what_its_sources_give() -> None:
    path = ROOT / "tests" / "data" / "models" / "keras_branches.keras"
    (step,) = rnncli.explain(path, np.load(path.with_suffix(".npz"))["x"][0])
    outputs = [step["x"], *(layer["output"] for layer in step["layers"])]
    assert [layer.get("sources") for layer in step["layers"][2:6]] == [[1, 2], [0], None, [3, 5]]
    for layer in step["layers"]:
        sources = layer.get("sources", [layer["layer"] - 1])
        assert layer["cells"][0]["inputs"]["x_t"] == [*chain(*(outputs[k] for k in sources))]


@pytest.mark.parametrize(("wanted", "expected"), [(Wanted(9), [9, 10, 11]), (Wanted(), [11])])
def test_a_step_of_several_blocks_is_that_of_a_run(wanted: Wanted, expected: list[int]) -> None:
    x, network = np.random.RandomState(4).normal(size=(11, 1)).astype("f"), rnncli.seeded(1, 2)
    right = rnncli.run(network, x, unroll="stepwise").h
    blocks = map(Rows, np.array_split(x, 3))
    steps = [*explain_steps(network, blocks, wanted, Carried(np.zeros(2)))]
    assert [step.t for step in steps] == expected
    assert np.array_equal([step.h for step in steps], right[np.array(expected) - 1])


@pytest.mark.parametrize(("cell", "columns"), [("rnn", "80"), ("lstm", "40"), ("gru", "200")])
def test_the_text_has_the_numbers_of_the_document(cell: str, columns: str) -> None:
    """At any width, below each unit, with all digits."""
    options = ("--seq", "1,2,3", "--hidden", "5", "--cell", cell)
    (step,) = document(*options)
    text = CliRunner(env={"COLUMNS": columns}).invoke(rnn, ["explain", *options]).stdout
    assert max(map(len, text.splitlines())) <= int(columns)
    assert not re.search(r"\b[hc]_?\d", text)  # h_1: unit 1, or the state at t = 1?
    shown = [*map(float, re.findall(r"(?<![\w.])-?\d[\d.e-]*\b", text))]
    ((explained,),) = (layer["cells"] for layer in step["layers"])
    written = " ".join(text.split())
    for name, values in explained["inputs"].items():
        assert f"{name} = {', '.join(map(str, values))}" in written
    for quantity in explained["quantities"]:
        several = len(quantity["terms"]) > 1
        for term in quantity["terms"] if several else []:
            assert {*term["values"]} <= {*shown}, term["name"]
        assert {*quantity["values"], *quantity.get("sum", [])} <= {*shown}, quantity["name"]
        if quantity["name"] != quantity["equation"]:
            assert f"{quantity['name']} = {quantity['equation']}" in written


def test_the_library_gives_the_steps_of_the_document(tmp_path: Path) -> None:
    layers = rnncli.seeded(2, [3, 2], cell="lstm").layers
    network = Network(*layers, rnncli.Dense(np.ones((2, 1))), last="state")
    x, h0 = np.random.RandomState(0).normal(size=(4, 2)), np.linspace(0, 1, 10)
    np.save(tmp_path / "x.npy", x)
    rnncli.save(network, tmp_path / "w.npz")
    command = [tmp_path / "x.npy", "--weights", tmp_path / "w.npz"]
    for name, place in network.state_names.items():
        command += [f"--{name}0", json.dumps(h0[place].tolist())]
    given: list[Any] = [
        ({}, ""),
        ({"steps": 2}, "--step 2"),
        ({"steps": (3, None)}, "--step 3:"),
        ({"unit": "c_1", "precision": "float64"}, "--unit c_1 --precision float64"),
    ]
    for options, words in given:
        expected = document(*command, *words.split())
        assert rnncli.explain(network, x, h0=h0, **options) == expected
    (step,) = rnncli.explain(tmp_path / "w.npz", x)
    assert step["y"] == pytest.approx(rnncli.run(network, x).y_n)
    for wrong, options in ((x[0], {}), (x[:, :1], {}), (x, {"h0": [1]}), (x, {"steps": 9})):
        with pytest.raises(ValueError, match=r"expected shape|there is no step 9"):
            rnncli.explain(network, wrong, **options)
    numbers = rnncli.seeded(1, 2)
    assert rnncli.explain(numbers, [1, 2]) == rnncli.explain(numbers, [[1], [2]])
    wrong_steps: list[Any] = [0, (3, 2), (0, 2), "1:", 1.5, (1, 2, 3), (1, "2")]
    for steps in wrong_steps:
        with pytest.raises(ValueError, match=r"^steps: expected steps from 1 on"):
            rnncli.explain(network, x, steps=steps)


def test_an_explained_row_is_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = list[int]()
    run_rows = Runner.run_rows

    def count(self: Runner, x: Any, *rest: Any) -> Any:
        runs.append(len(x))
        return run_rows(self, x, *rest)

    monkeypatch.setattr(Runner, "run_rows", count)
    steps = [*rnncli.explain(rnncli.seeded(1, 2, cell="lstm"), [[1], [2], [3]], steps=(1, 3))]
    assert (len(steps), runs) == (3, [3])
