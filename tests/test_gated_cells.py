"""LSTM and GRU by every strategy, each against its float64 loop."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, runnable
from gated_loops import VARIANTS, drawn_weights, gated_cell, gated_loop, to_bits
from hypothesis import given
from hypothesis import strategies as st

import rnncli
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.model.cells import GRU, LSTM, Cell, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

# The cells are contracting: a float32 run stays within a few roundings of values up to 1.
NEAR = 1e-6


def start_of(cell: Cell, N: int, seed: int = 3) -> Any:
    random = np.random.RandomState(seed)
    return random.uniform(-1, 1, (N, sum(cell.state_sizes))).astype("f")


def parts(cell: Cell, start: Any) -> tuple[Any, ...]:
    return tuple(np.split(start, np.cumsum(cell.state_sizes)[:-1], axis=1))


def check(cell: Cell, T: int, N: int, unroll: str, within: float = NEAR, **options: Any) -> None:
    x = np.random.RandomState(2).normal(size=(N, T, len(cell.weights.W_xh))).astype("f")
    start = start_of(cell, N)
    states = rnncli.run(Network(Recurrent(cell)), x, start, unroll=unroll, **options)
    rows = gated_loop(cell, x, parts(cell, start))
    final = np.concatenate([each[:, -1] for each in rows], axis=1)
    assert np.abs(states.h - rows[0]).max() < within
    assert np.abs(states.h_n - final).max() < within


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
def test_every_strategy(variant: str, unroll: str) -> None:
    cell = gated_cell(variant, 3, 5)
    for T, N in ((40, 1), (40, 3), (40, 20)):
        check(cell, T, N, unroll)
    if unroll in ("auto", "parallel"):
        for N in (1, 2):
            check(cell, 9_001, N, unroll)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lstm", "lstm projection", "gru after", "gru before"])
@pytest.mark.parametrize(("I", "H", "N"), [(130, 64, 1), (3, 256, 40), (5, 96, 300), (1, 1, 700)])
def test_every_size(variant: str, I: int, H: int, N: int) -> None:
    """Wide matrices are multiplied in pieces; so are many rows."""
    for unroll in ("auto", "projected", "fused"):
        check(gated_cell(variant, I, H), 12, N, unroll, within=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "tf32", "bfloat16"])
@pytest.mark.parametrize("variant", ["lstm", "lstm projection", "gru after", "gru before"])
def test_every_precision(precision: str, variant: str) -> None:
    # Operands keep 10 and 7 bits: a sum of products up to 1 is off by some halves of the last.
    within = {"float64": 1e-14, "tf32": 4e-3, "bfloat16": 3e-2}[precision]
    for N, unroll in product((1, 3), runnable(precision)):
        check(gated_cell(variant, 3, 5), 60, N, unroll, within, precision=precision)


@pytest.mark.parametrize("variant", ["lstm", "lstm projection", "gru after", "gru before"])
@pytest.mark.parametrize(("precision", "bits"), [("tf32", 10), ("bfloat16", 7)])
@pytest.mark.parametrize("N", [1, 3])
def test_the_operands_of_every_product_are_rounded(
    variant: str, precision: str, bits: int, N: int
) -> None:
    """A few steps: later, a value falls on the other side of a rounding."""
    cell = gated_cell(variant, 3, 5)
    x = np.random.RandomState(2).normal(size=(N, 3, 3)).astype("f")
    start = start_of(cell, N)
    rows = gated_loop(cell, x, parts(cell, start), to_bits(bits))[0]
    exact = gated_loop(cell, x, parts(cell, start))[0]
    assert np.abs(rows - exact).max() > 2e-5
    for unroll in runnable(precision):
        h = rnncli.run(Network(Recurrent(cell)), x, start, unroll=unroll, precision=precision).h
        assert np.abs(h - rows).max() < 5e-7


@pytest.mark.slow
@given(
    variant=st.sampled_from(VARIANTS),
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    direction=st.sampled_from(["forward", "backward", "bidirectional"]),
    unroll=st.sampled_from(["auto", "stepwise", "fused", "projected"]),
)
def test_directions_and_lengths(
    variant: str, lengths: list[int], direction: str, unroll: str
) -> None:
    cells = [gated_cell(variant, 2, 4, seed) for seed in (1, 2)]
    if direction != "bidirectional":
        cells = cells[:1]
    layer = Recurrent(*cells, direction=direction)
    network, N = Network(layer), len(lengths)
    x = np.random.RandomState(5).normal(size=(N, 9, 2)).astype("f")
    start = np.random.RandomState(6).uniform(-1, 1, (N, network.state_size)).astype("f")
    states = rnncli.run(network, x, start, lengths=lengths, unroll=unroll)
    of_layer, size = network.state_slices[0], cells[0].state_sizes[0]
    for n, length in enumerate(lengths):
        assert not states.h[n, length:].any()
        for k, (cell, places) in enumerate(zip(cells, of_layer, strict=True)):
            state = tuple(start[n : n + 1, place] for place in places)
            turn = -1 if layer.directions[k] == "backward" else 1
            final = list(state)
            if length:
                rows = gated_loop(cell, x[n : n + 1, :length][:, ::turn], state)
                found = states.h[n, :length, k * size : (k + 1) * size][::turn]
                assert np.abs(found - rows[0][0]).max() < NEAR
                final = [each[:, -1] for each in rows]
            for place, array in zip(places, final, strict=True):
                assert np.abs(states.h_n[n, place] - array[0]).max() < NEAR


@pytest.mark.slow
@given(data=st.data())
def test_streams_cut_anywhere_are_one_run_to_the_bit(data: st.DataObject) -> None:
    """Interleaved sequences, with masked rows."""
    variant, n = data.draw(st.sampled_from(VARIANTS)), data.draw(st.integers(1, 12))
    lower = gated_cell(variant, 2, 4)
    upper = gated_cell(data.draw(st.sampled_from(["lstm", "gru before"])), lower.state_sizes[0], 3)
    network = Network(Recurrent(lower), Recurrent(upper))
    x = np.random.RandomState(n).normal(size=(n, 2)).astype("f")
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    start = np.random.RandomState(7).uniform(-1, 1, network.state_size).astype("f")
    carried = Carried(start, 0)
    blocks = map(Rows, *(np.split(array, cuts) for array in (x, key, masked)))
    found = [b.h for b in rnncli.stream(network, blocks, unroll="stepwise", carried=carried)]
    h = np.concatenate([np.empty((0, 3), "f"), *found])
    for number in range(len(carried.t)):
        active = (key == number) & ~masked
        alone = rnncli.run(network, x[active], start, unroll="stepwise")
        assert h[active].tobytes() == alone.h.tobytes()
        assert carried.state[number].tobytes() == alone.h_n.tobytes()


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
def test_a_run_leaves_what_it_is_given(unroll: str) -> None:
    """A step may overwrite c, but not the caller's."""
    cell = gated_cell("lstm", 2, 3)
    x, start = np.ones((4, 5, 2), "f"), start_of(cell, 4)
    arrays = [array.copy() for array in (x, start, *cell.weights[:3])]
    rnncli.run(Network(Recurrent(cell)), x, start, unroll=unroll)
    for before, after in zip(arrays, (x, start, *cell.weights[:3]), strict=True):
        assert before.tobytes() == after.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lstm", "gru after", "gru before"])
def test_it_did_run_in_segments(monkeypatch: pytest.MonkeyPatch, variant: str) -> None:
    import sys

    module: Any = sys.modules["rnncli.engine.unroll.parallel"]
    right, left = module.step_by_step, []

    def counted(segments: Any, which: Any) -> None:
        left.append(len(which))
        right(segments, which)

    monkeypatch.setattr(module, "step_by_step", counted)
    check(gated_cell(variant, 3, 8), 20_001, 1, "parallel")
    assert left == [0]  # in segments, and all of them converged


@pytest.mark.slow
def test_one_unit_that_remembers_is_enough_to_run_step_by_step() -> None:
    """Its c adds the inputs up for ever: where runs from zero begin, they stay apart."""
    weights = drawn_weights(3, 5, 4, 1)
    b_h = weights.b_h.copy()
    b_h[5] = 20  # f is 1 to the last bit
    cell = LSTM(weights._replace(b_h=b_h))
    x = np.random.RandomState(2).normal(size=(1, 9_001, 3)).astype("f")
    states = rnncli.run(Network(Recurrent(cell)), x, unroll="parallel")
    rows, cs = gated_loop(cell, x, parts(cell, np.zeros((1, 10), "f")))
    c = cs[:, -1]
    assert np.abs(c[0, 0]) > 1_000
    # c adds up 9,001 roundings of values of its size.
    assert np.abs(states.h_n[0, 5] - c[0, 0]) < 9_001 * 6e-8 * np.abs(c[0, 0])
    assert np.abs(states.h - rows).max() < 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Recurrent(GRU(drawn_weights(2, 3, 3, 1), reset="behind")), "reset: "),
        (lambda: GRU(drawn_weights(2, 3, 3, 1, "b_n"), reset="before"), "b_n: "),
        (lambda: Recurrent(LSTM(drawn_weights(2, 3, 3, 1))), r"W_xh: .* \(I, 4 H\)"),
        (lambda: Recurrent(GRU(drawn_weights(2, 3, 3, 1, "w_ch"))), "w_ch: "),
        (lambda: Recurrent(LSTM(drawn_weights(2, 3, 4, 1), clip=0)), "clip: "),
        (lambda: Recurrent(LSTM(Weights(*[np.ones((0, 0))] * 3))), "expected at least 1"),
    ],
)
def test_what_is_no_cell(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
