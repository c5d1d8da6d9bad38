"""Stacks, directions and lengths, against the reference and against simpler runs."""

import re
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import NetworkCase, network_cases
from whole_runs import difference

import rnncli
from rnncli.engine.batch import Packing
from rnncli.engine.passes import advance, prepare
from rnncli.engine.rows import Rows
from rnncli.engine.run import run
from rnncli.engine.stream import Carried, stream
from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Cell
from rnncli.model.errors import NotFiniteError
from rnncli.model.network import Network
from rnncli.verify import reference
from rnncli.verify.steps import step_errors


def one(network: Network, x: Floats, h0: Floats) -> tuple[list[list[Floats]], Floats]:
    """Outputs of each cell of each layer for one sequence, and the final state."""
    prepared = prepare(network, unroll="stepwise")
    passes, h_n = advance(prepared, x, Packing(np.array([len(x)])), h0[None], repeat(None))
    return [[h for (h,) in each.cells] for each in passes], h_n[0]


@pytest.mark.slow
@given(case=network_cases())
def test_every_step_of_every_cell_is_right(case: NetworkCase) -> None:
    network, x, h0 = case.network, case.x[0], case.h0[0]
    outputs, h_n = one(network, x, h0)
    layers = run(network, x, h0, unroll="stepwise", all_layers=True).layers
    for layer, below, slices, of_layer in zip(
        network.layers, (x, *layers), network.state_slices, outputs, strict=False
    ):
        for cell, direction, (place,), h in zip(
            layer.cells, layer.directions, slices, of_layer, strict=True
        ):
            turn = -1 if direction == "backward" else 1
            errors = step_errors(cell, below[::turn], h0[place], h[::turn])
            assert errors.max(initial=0) < 0.5
            np.testing.assert_array_equal(h_n[place], h[::turn][-1] if len(x) else h0[place])


@pytest.mark.slow
@given(case=network_cases())
def test_layers_are_the_references(case: NetworkCase) -> None:
    network = case.network.with_cells(damped)
    x, h0 = case.x[0], case.h0[0]
    layers = run(network, x, h0, precision="float64", all_layers=True).layers
    for h, expected in zip(layers, reference.run(network, x, h0), strict=True):
        # Twelve steps of up to three layers whose weights shrink what differs.
        assert difference(h, expected) < 1e-12


def damped(cell: Cell) -> Cell:
    """Leave no jump that a rounding could decide, and no growth."""
    assert isinstance(cell, rnncli.RNN)
    return cell.replaced(
        cell.weights._replace(W_hh=cell.weights.W_hh / 8),
        activation="tanh" if cell.activation.jumps else cell.activation,
    )


def bits(array: Floats) -> bytes:
    """Bytes of an array; the sign of NaN means nothing."""
    return np.where(np.isnan(array), np.nan, array).tobytes()


@pytest.mark.slow
@given(case=network_cases(list(CELLS)))
def test_a_batch_of_lengths_is_its_sequences_alone(case: NetworkCase) -> None:
    options: dict[str, Any] = {"unroll": "stepwise", "all_layers": True}
    batch = run(case.network, case.x, case.h0, lengths=case.lengths, **options)
    for n, length in enumerate(case.lengths):
        alone = run(case.network, case.x[n, :length], case.h0[n], **options)
        assert bits(alone.h_n) == bits(batch.h_n[n])
        for h, expected in zip(batch.layers, alone.layers, strict=True):
            assert bits(h[n, :length]) == bits(expected)
            assert not h[n, length:].any()
    np.testing.assert_array_equal(batch.h, batch.layers[-1])


@pytest.mark.slow
@given(case=network_cases(list(CELLS)))
def test_what_stands_beyond_a_sequence_is_not_looked_at(case: NetworkCase) -> None:
    x = case.x.copy()
    for n, length in enumerate(case.lengths):
        x[n, length:] = np.nan
    given_nan = run(case.network, x, case.h0, lengths=case.lengths)
    given_numbers = run(case.network, case.x, case.h0, lengths=case.lengths)
    assert bits(given_nan.h) == bits(given_numbers.h)
    assert bits(given_nan.h_n) == bits(given_numbers.h_n)


@pytest.mark.slow
@given(case=network_cases(), data=st.data())
def test_a_stream_is_each_sequence_alone(case: NetworkCase, data: st.DataObject) -> None:
    """Interleaved, cut into blocks, with rows that are masked."""
    network, x = case.network, case.x.reshape(-1, case.x.shape[2])
    n = len(x)
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    carried = Carried(case.h0[0], 0)
    parts = map(Rows, *(np.split(array, cuts) for array in (x, key, masked)))
    blocks = list(stream(network, parts, unroll="stepwise", carried=carried, all_layers=True))
    h = np.concatenate([np.empty((0, sum(widths(network))), "f"), *(b.h for b in blocks)])
    for number in range(len(carried.t)):
        rows = key == number
        outputs, h_n = one(network, x[rows & ~masked], case.h0[0])
        filled = [
            [
                fill(h, masked[rows], case.h0[0, place], direction)
                for h, direction, (place,) in zip(each, layer.directions, slices, strict=True)
            ]
            for layer, each, slices in zip(
                network.layers, outputs, network.state_slices, strict=True
            )
        ]
        assert h[rows].tobytes() == layers_of(network, filled).tobytes()
        assert carried.state[number].tobytes() == h_n.tobytes()


def widths(network: Network) -> list[int]:
    return [layer.output_size for layer in network.layers]


def fill(h: Floats, masked: np.ndarray, start: Floats, direction: str) -> Floats:
    """Put the state of the row before, in the cell's direction, where a row is masked."""
    turn = -1 if direction == "backward" else 1
    rows, state = [], start
    active = iter(h[::turn])
    for is_masked in masked[::turn]:
        state = state if is_masked else next(active)
        rows.append(state)
    return np.array(rows, "f").reshape(-1, len(start))[::turn]


def layers_of(network: Network, outputs: list[list[Floats]]) -> Floats:
    merged = []
    for layer, (first, *second) in zip(network.layers, outputs, strict=True):
        for other in second:
            assert isinstance(layer, rnncli.Recurrent)
            first = {
                "concat": np.hstack([first, other]),
                "sum": first + other,
                "ave": (first + other) / 2,
                "mul": first * other,
            }[layer.merge]
        merged.append(first)
    return np.hstack(merged)


def growing(direction: str) -> Network:
    weights = rnncli.Weights(np.full((1, 1), 3e38), np.ones((1, 1)), np.zeros(1))
    lower = rnncli.RNN(weights, rnncli.activation("linear"))
    both = (lower, lower) if direction == "bidirectional" else (lower,)
    top = rnncli.Weights(np.ones((len(both), 1)), np.ones((1, 1)), np.zeros(1))
    return Network(rnncli.Recurrent(*both, direction=direction), top)


@pytest.mark.parametrize(
    ("direction", "rows", "message"),
    [
        ("forward", 2, "layer 1: step 3, unit 0: overflow (inf)"),
        ("backward", 0, "layer 1: step 2, unit 0: overflow (inf)"),
        ("bidirectional", 0, "layer 1 backward: step 2, unit 0: overflow (inf)"),
    ],
)
def test_a_lower_layer_that_overflows_is_named(direction: str, rows: int, message: str) -> None:
    x = np.array([[0], [1], [1]], np.float32)
    network = growing(direction)
    blocks = stream(network, [x])
    if rows:
        assert len(next(blocks).h) == rows
    with pytest.raises(NotFiniteError, match=f"^{re.escape(message)}$"):
        next(blocks)


def test_two_states_that_overflow_where_they_are_merged() -> None:
    weights = rnncli.Weights(np.full((1, 1), 3e38), np.zeros((1, 1)), np.zeros(1))
    cell = rnncli.RNN(weights, rnncli.activation("linear"))
    network = Network(rnncli.Recurrent(cell, cell, direction="bidirectional", merge="sum"))
    rows = Rows(np.array([[0], [1]], np.float32))
    blocks = stream(network, [rows])
    assert len(next(blocks).h) == 1
    with pytest.raises(NotFiniteError, match=r"^step 2, unit 0: overflow \(inf\)$"):
        next(blocks)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1], r"lengths: expected 2 integers, got shape \(1,\)"),
        ([1.0, 2.0], r"lengths: expected 2 integers, got shape \(2,\), float64"),
        ([1, 4], "lengths: expected 0 to 3, got 1 to 4"),
        ([-1, 3], "lengths: expected 0 to 3, got -1 to 3"),
    ],
)
def test_bad_lengths(lengths: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(rnncli.seeded(), np.ones((2, 3, 1)), lengths=lengths)


def test_no_sequences() -> None:
    states = run(rnncli.seeded(), np.ones((0, 3, 1)))
    assert (states.h.shape, states.h_n.shape) == ((0, 3, 4), (0, 4))


@pytest.mark.parametrize("lengths", [[3, 2], [2, 3], [2, 2]])
def test_what_is_not_finite_is_named_with_its_place_in_the_batch(lengths: list[int]) -> None:
    x = np.ones((2, 3, 1))
    x[0, 1] = np.nan
    with pytest.raises(ValueError, match=r"^x: not finite in float32: nan at \[0, 1, 0\]$"):
        run(rnncli.seeded(), x, lengths=lengths)


@pytest.mark.parametrize("lengths", [None, [3, 2]])
def test_what_is_no_number_is_refused(lengths: list[int] | None) -> None:
    for dtype in (object, complex):
        with pytest.raises(ValueError, match=r"^x: expected numbers, got an array of "):
            run(rnncli.seeded(), np.ones((2, 3, 1), dtype), lengths=lengths)
