"""Every number that an explanation shows: it is that of a run, and follows from those before it."""

import re
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import isinf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from networks import NetworkCase, network_cases

from rnncli import Dense, LayerNormalization, Network, Normalization, run
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.explain.quantities import Quantity
from rnncli.explain.steps import ExplainedCell, ExplainedLayer, Step, Wanted, explained
from rnncli.explain.units import find_unit
from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, RNN, Cell
from rnncli.model.errors import NotFiniteError
from rnncli.model.layers import Layer, Pointwise, Recurrent
from rnncli.verify import reference

CELLS = ("rnn", "lstm", "gru")
_FUNCTIONS = {"mean": np.mean, "var": np.var, "sqrt": np.sqrt}
GATES = {RNN: "", LSTM: "ifgo", GRU: "zrn"}
ALL = Wanted(1)


def steps_of(case: NetworkCase, precision: str, wanted: Wanted = ALL) -> list[Step]:
    """The steps of a sequence that does not overflow."""
    rows, carried = Rows(case.x[0]), Carried(case.h0[0])
    try:
        return list(explained(case.network, [rows], wanted, carried, precision=precision))
    except NotFiniteError:
        return reject()


def close(actual: Any, expected: Any, size: Any, eps: float, roundings: float = 4) -> None:
    """Compare with what is exact; so many roundings of numbers of this size may lie between."""
    with np.errstate(all="ignore"):
        off = np.abs(np.asarray(actual, np.float64) - expected)
        assert (off <= roundings * eps * np.asarray(size) + np.finfo(np.float32).tiny).all(), (
            actual,
            expected,
        )


class Checked:
    """A cell, or a layer without state, and the numbers that its terms name.

    Names of weights are looked up in the network itself.
    """

    def __init__(
        self, layer: Layer, cell: Cell | None, x: Floats, shown: ExplainedCell, precision: str
    ) -> None:
        self.precision, self.eps = precision, float(np.finfo(x.dtype).eps)
        before = "t+1" if shown.direction == "backward" else "t-1"
        self.named: dict[str, Floats] = {"x_t": x}
        if cell is None:
            self.arrays: Mapping[str, Floats] = layer.arrays
            self.gates = ""
            return
        self.arrays, self.gates = cell.weights.arrays, GATES[type(cell)]
        self.named |= {f"{name}_{{{before}}}": array for name, array in shown.given.items()}
        if "b_n" not in self.arrays:
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
        """What a term stands for in float64, and how large what it adds is."""
        left, product, right = name.partition(" @ ")
        if product:
            rows = reference.rounded(self.evaluated(left), self.precision)
            W = self.array(right).astype(np.float64)
            return rows @ W, (len(W) + 4) * (np.abs(rows) @ np.abs(W))
        found = self.evaluated(name)
        size = 4 * np.abs(found)
        if " - " in name:  # what is left of a difference may be small beside its parts
            largest = max(float(np.abs(array).max(initial=0)) for array in self.named.values())
            size = size + 4 * largest
        if "mean(x_t)" in name:
            size = (len(found) + 4) * size / self.evaluated(name.partition(" / ")[2])
        return found, size

    def evaluated(self, expression: str) -> Floats:
        """A product, quotient or difference of names; those side by side are multiplied."""
        known = sorted([*self.named, *self.arrays, *_FUNCTIONS], key=len, reverse=True)
        name = "|".join(map(re.escape, known))
        code, after = "", False
        for token in re.findall(rf"(?:{name})(?:\[\w\])?|[-+/()]|[\d.]+", expression):
            value = token not in {*"-+/()", *_FUNCTIONS}
            code += " * " if after and (value or token not in "-+/)") else ""
            code += f"value({token!r})" if value and token[0].isalpha() else token
            after = value or token == ")"
        return np.asarray(eval(code, {"value": self.looked_up, **_FUNCTIONS}))

    def looked_up(self, name: str) -> Floats:
        return (self.named[name] if name in self.named else self.array(name)).astype(np.float64)

    def check(self, quantity: Quantity) -> None:
        """Each term from what it names, the sum from the terms, and the value from the sum."""
        for term in quantity.terms:
            if term.name != quantity.name:
                close(term.values, *self.value(term.name), self.eps, 1)
        total = quantity.values if quantity.sum is None else quantity.sum
        values = [term.values.astype(np.float64) for term in quantity.terms]
        close(total, sum(values), sum(map(np.abs, values)), self.eps)
        self.check_function(quantity)
        self.check_equation(quantity)
        self.named[quantity.name] = quantity.values

    def check_function(self, quantity: Quantity) -> None:
        f = quantity.function
        if f is None:
            return
        assert quantity.sum is not None
        a = quantity.sum.astype(np.float64)
        if isinstance(f, Activation):
            expected = reference.activated(f, a, quantity.clip)
            # A function with parameters takes them as the float type has them.
            slope = 1 if isinf(f.slope) else f.slope
            size = slope * np.maximum(np.abs(expected), np.maximum(1, np.abs(a)))
        else:
            expected = getattr(reference, f)(a[None])[0]
            size = 4 * np.maximum(1, np.abs(a).max())
        close(quantity.values, expected, size, self.eps, 8)

    def check_equation(self, quantity: Quantity) -> None:
        expected = " + ".join(term.name for term in quantity.terms)
        if not isinf(quantity.clip):
            expected = f"clip({expected}, -{quantity.clip:g}, {quantity.clip:g})"
        name = getattr(quantity.function, "name", quantity.function)
        if name not in (None, "linear"):
            expected = f"{name}({expected})"
        assert quantity.equation.split(" = ")[0] == expected.replace("+ -", "- ")


def check_layer(layer: Layer, shown: ExplainedLayer, precision: str) -> None:
    for cell, each in zip(layer.cells or [None], shown.cells, strict=True):
        checked = Checked(layer, cell, shown.input, each, precision)
        for quantity in each.quantities:
            checked.check(quantity)


def check_against_run(case: NetworkCase, steps: list[Step], precision: str) -> None:
    """h, c and y of every layer and cell are those of a run, to the bit; states go on."""
    ran = run(
        case.network,
        case.x[0],
        case.h0[0],
        precision=precision,
        unroll="stepwise",
        all_layers=True,
        all_states=True,
    )
    assert [step.t for step in steps] == list(range(1, len(case.x[0]) + 1))
    for n, step in enumerate(steps):
        np.testing.assert_array_equal(step.h, ran.h[n])
        if ran.y is not None:
            np.testing.assert_array_equal(step.y, ran.y[n])
        for layer, output, c in zip(step.layers, ran.layers, ran.layers_c, strict=True):
            np.testing.assert_array_equal(layer.output, output[n])
            last = [cell.quantities[-1].values for cell in layer.cells]
            merged = layer.layer.merged(last) if isinstance(layer.layer, Recurrent) else last[0]
            np.testing.assert_array_equal(merged, layer.output)
            of_c = [values for cell in layer.cells for values in named(cell, "c_t")]
            np.testing.assert_array_equal(np.concatenate([c[n][:0], *of_c]), c[n])


def named(cell: ExplainedCell, name: str) -> Iterator[Floats]:
    return (quantity.values for quantity in cell.quantities if quantity.name == name)


def check_chain(steps: list[Step]) -> None:
    """A cell starts where it ended at the step before, and a layer takes what is below."""
    for step in steps:
        for below, layer in pairwise(step.layers):
            np.testing.assert_array_equal(layer.input, below.output)
    for one, other in pairwise(steps):
        for first, second in zip(one.layers, other.layers, strict=True):
            for a, b in zip(first.cells, second.cells, strict=True):
                start, end = (a, b) if a.direction == "backward" else (b, a)
                for name, array in start.given.items():
                    if a.direction:
                        (after,) = named(end, f"{name}_t")
                        np.testing.assert_array_equal(array, after)


@st.composite
def cases(draw: st.DrawFn) -> NetworkCase:
    """A stack of any cells, with layers without state below and above, and one sequence."""
    case = draw(network_cases(CELLS))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))

    def normal(*shape: int) -> Floats:
        return random.normal(size=shape).astype("f")

    network, I, O = case.network, case.network.input_size, case.network.output_size
    below: list[Layer] = draw(
        st.sampled_from(
            [
                [],
                [Normalization(normal(I), 1 + normal(I) ** 2)],
                [Normalization(normal(I), 1 + normal(I) ** 2, normal(I), normal(I))],
                [Dense(normal(I, I), normal(I), "relu")],
            ]
        )
    )
    above: list[Layer] = draw(
        st.sampled_from(
            [
                [],
                [Dense(normal(O, 3), normal(3), "softmax")],
                [LayerNormalization(normal(O), normal(O)), Dense(normal(O, 2))],
                [Dense(normal(O, 3), None, "sigmoid"), Pointwise("log_softmax", 3)],
            ]
        )
    )
    return case._replace(network=Network(*below, *network.layers, *above))


@pytest.mark.slow
@settings(max_examples=150)
@given(cases(), st.sampled_from(list(PRECISIONS)))
def test_numbers_are_those_of_a_run_and_add_up(case: NetworkCase, precision: str) -> None:
    network = case.network.converted(PRECISIONS[precision].convert)
    steps = steps_of(case, precision)
    check_against_run(case, steps, precision)
    check_chain(steps)
    for step in steps:
        for layer, shown in zip(network.layers, step.layers, strict=True):
            check_layer(layer, shown, precision)


@pytest.mark.slow
@settings(max_examples=60)
@given(cases(), st.sampled_from(list(PRECISIONS)), st.data())
def test_single_terms_add_up(case: NetworkCase, precision: str, data: st.DataObject) -> None:
    steps = steps_of(case, precision)
    if not steps:
        return
    eps = float(np.finfo(PRECISIONS[precision].dtype).eps)
    number = data.draw(st.integers(1, len(case.network.layers)))
    layer = case.network.layers[number - 1]
    place = data.draw(st.integers(0, layer.output_size - 1))
    name = f"layer_{number}_{'h' if layer.cells else 'y'}_{place}"
    unit = find_unit(case.network, name)
    (shown,) = unit.of_step(steps[-1]).layers
    assert (shown.number, shown.layer) == (number, steps[-1].layers[number - 1].layer)
    for cell in shown.cells:
        for quantity in cell.quantities:
            singles = quantity.of_unit
            assert singles is not None
            (total,) = quantity.values if quantity.sum is None else quantity.sum
            values = np.array([single.value for single in singles], np.float64)
            close(total, values.sum(), np.abs(values).sum(), eps, len(values) + 4)
            assert (np.diff(np.abs(values)) <= 0).all()
            for single in singles:
                if single.left is not None and single.weight is not None:
                    product = np.float64(single.left) * np.float64(single.weight)
                    close(single.value, product, abs(product), eps)
