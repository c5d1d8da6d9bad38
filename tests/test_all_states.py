"""c at every step: against loops in float64, and the same however the rows come."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from any_cell import Head
from conftest import RUNNABLE
from gated_loops import gated_loop
from hypothesis import given
from hypothesis import strategies as st

import rnncli
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, RNN, Weights
from rnncli.model.errors import NotFiniteError
from rnncli.model.layers import Masking, Recurrent
from rnncli.model.network import Network

ALL_UNROLLS = ["auto", *RUNNABLE]


def drawn(I: int, H: int, seed: int, *, peepholes: bool = False, P: int | None = None) -> LSTM:
    random = np.random.RandomState(seed)
    arrays = {"W_xh": (I, 4 * H), "W_hh": (P or H, 4 * H), "b_h": (4 * H,)}
    if peepholes:
        arrays["w_ch"] = (3 * H,)
    if P:
        arrays["W_hr"] = (H, P)
    k = 1 / np.sqrt(H)
    return LSTM(Weights(**{name: random.uniform(-k, k, size) for name, size in arrays.items()}))


def lstm_loop(cell: LSTM, x: Floats, h: Floats, c: Floats) -> tuple[Floats, Floats]:
    """h and c after every step of one sequence, (T, H) each."""
    of_h, of_c = gated_loop(cell, x[None], (h[None], c[None]))
    return of_h[0], of_c[0]


def layer_loop(layer: Any, x: Floats, states: Sequence[Any]) -> tuple[Floats, Floats]:
    """What a layer gives, concatenated or summed, and c of its cells side by side."""
    h, c = [], []
    for cell, direction, (h_0, c_0) in zip(layer.cells, layer.directions, states, strict=True):
        turn = -1 if direction == "backward" else 1
        rows = lstm_loop(cell, x[::turn], h_0, c_0)
        h.append(rows[0][::turn])
        c.append(rows[1][::turn])
    return np.sum(h, axis=0) if layer.merge == "sum" else np.hstack(h), np.hstack(c)


def stack() -> Network:
    return Network(
        Recurrent(drawn(2, 3, 1), drawn(2, 3, 2), direction="bidirectional", merge="sum"),
        Recurrent(drawn(3, 4, 3, peepholes=True, P=2), direction="backward"),
        Recurrent(drawn(2, 2, 4), drawn(2, 2, 5), direction="bidirectional"),
    )


@pytest.mark.parametrize("unroll", ALL_UNROLLS)
@pytest.mark.parametrize("lengths", [[7], [7, 7, 7], [3, 7, 0, 5]])
def test_c_of_stacks_in_both_directions(unroll: str, lengths: list[int]) -> None:
    """In float64, 20 steps of which the loop rounds otherwise: 1e-13 is a hundred times that."""
    network, random = stack(), np.random.RandomState(6)
    x = random.normal(size=(len(lengths), 7, 2))
    start = random.uniform(-1, 1, (len(lengths), network.state_size))
    states = rnncli.run(
        network,
        x,
        start,
        lengths=lengths,
        precision="float64",
        unroll=unroll,
        all_layers=True,
        all_states=True,
    )
    assert states.c is states.layers_c[-1]
    for n, T in enumerate(lengths):
        below: Any = x[n, :T]
        for number, layer in enumerate(network.layers):
            before = [[start[n, place] for place in each] for each in network.state_slices[number]]
            if not T:
                continue
            below, c = layer_loop(layer, below, before)
            np.testing.assert_allclose(states.layers[number][n, :T], below, atol=1e-13)
            np.testing.assert_allclose(states.layers_c[number][n, :T], c, atol=1e-13)
            assert not states.layers_c[number][n, T:].any()


@pytest.mark.parametrize("unroll", ["auto", "stepwise", "fused", "projected"])
@pytest.mark.parametrize("shape", [(9, 2), (4, 9, 2)])
def test_asking_for_c_changes_no_bit_of_h(unroll: str, shape: tuple[int, ...]) -> None:
    x = np.random.RandomState(1).normal(size=shape)
    with_c, without = (
        rnncli.run(stack(), x, unroll=unroll, all_states=asked) for asked in (True, False)
    )
    assert with_c.h.tobytes() == without.h.tobytes()
    assert with_c.h_n.tobytes() == without.h_n.tobytes()
    assert without.c is None


@pytest.mark.slow
@pytest.mark.parametrize("unroll", ["auto", "parallel"])
def test_c_of_a_sequence_that_would_run_in_segments(unroll: str) -> None:
    cell = drawn(2, 4, 7)
    x = np.random.RandomState(8).normal(size=(20_000, 2))
    network = Network(Recurrent(cell))
    c: Any = rnncli.run(network, x, precision="float64", unroll=unroll, all_states=True).c
    right: Any = lstm_loop(cell, x, np.zeros(4), np.zeros(4))[1]
    np.testing.assert_allclose(c, right, atol=1e-13)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("kind", [RNN, GRU])
def test_a_cell_whose_state_is_h_alone_has_no_columns_of_c(kind: Any, layers: int) -> None:
    gates = 3 if kind is GRU else 1
    weights = Weights(*(np.zeros(shape) for shape in ((2, 2 * gates), (2, 2 * gates), 2 * gates)))
    states = rnncli.run(
        Network(*[kind(weights)] * layers), np.ones((5, 2)), all_layers=True, all_states=True
    )
    assert [c.shape for c in states.layers_c] == [(5, 0)] * layers
    assert states.c is not None
    assert states.c.shape == (5, 0)


def test_c_is_of_the_top_recurrent_layer_below_a_head() -> None:
    cell, x = drawn(2, 3, 1), np.random.RandomState(2).normal(size=(6, 2))
    network = Network(Recurrent(cell), Head(np.ones((3, 1))), Head(np.ones((1, 2))))
    c: Any = rnncli.run(network, x, precision="float64", all_states=True).c
    right: Any = lstm_loop(cell, x, np.zeros(3), np.zeros(3))[1]
    np.testing.assert_allclose(c, right, atol=1e-13)
    every = rnncli.run(network, x, all_layers=True, all_states=True)
    assert [c.shape for c in every.layers_c] == [(6, 3), (6, 0), (6, 0)]
    assert every.c is every.layers_c[0]
    alone = rnncli.run(Network(Head(np.ones((2, 1)))), x, all_states=True)
    assert alone.c is not None
    assert alone.c.shape == (6, 0)


@pytest.mark.parametrize("both", [False, True])
def test_c_stays_where_a_layer_masks_a_row(both: bool) -> None:
    """In a layer of two directions too, whose h is 0 there, as Keras has it."""
    cells = [drawn(2, 3, 1), drawn(2, 3, 2)][: 1 + both]
    top = Recurrent(*cells, direction="bidirectional" if both else "forward")
    x = np.random.RandomState(3).normal(size=(2, 6, 2))
    active = np.array([[1, 1, 0, 0, 1, 0], [0, 1, 1, 0, 0, 0]], bool)
    x[~active] = 7
    lengths = [6, 4]
    states = rnncli.run(
        Network(Masking(7, 2), top), x, lengths=lengths, precision="float64", all_states=True
    )
    assert states.c is not None
    for n, T in enumerate(lengths):
        steps = active[n, :T]
        _, c = layer_loop(top, x[n, :T][steps], [(np.zeros(3), np.zeros(3))] * len(cells))
        right = np.zeros((T, 3 * len(cells)))
        for t in range(T):
            done, left = steps[: t + 1].sum(), steps[t:].sum()
            right[t, :3] = c[done - 1, :3] if done else 0
            right[t, 3:] = c[-left, 3:] if left else 0
        np.testing.assert_allclose(states.c[n, :T], right, atol=1e-13)
        assert not states.c[n, T:].any()
        assert bool(states.h[n, :T][~steps].any()) != both


@pytest.mark.slow
@given(data=st.data())
def test_streams_cut_anywhere(data: st.DataObject) -> None:
    """Interleaved, with masked rows, where c stays as it is: as each sequence alone, to the bit."""
    seed, n = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 12))
    forward = Network(Recurrent(drawn(2, 3, seed)), Recurrent(drawn(3, 4, seed + 1, P=2)))
    network = data.draw(st.sampled_from([forward, stack()]))
    random = np.random.RandomState(seed)
    x = random.normal(size=(n, 2)).astype("f")
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    start = random.uniform(-1, 1, network.state_size).astype("f")
    parts = map(Rows, *(np.split(array, cuts) for array in (x, key, masked)))
    options: Any = {"unroll": "stepwise", "all_layers": True, "all_states": True}
    blocks = list(rnncli.stream(network, parts, carried=Carried(start, 0), **options))
    c = np.concatenate([block.c for block in blocks if block.c is not None])
    first = np.concatenate([start[places[1]] for layer in network.state_slices for places in layer])
    for number in range(3):
        rows = np.flatnonzero((key == number) & ~masked)
        alone = rnncli.run(network, x[rows], start, **options)
        assert c[rows].tobytes() == np.hstack(alone.layers_c).tobytes()
        if network is forward:
            here = c[key == number]
            for t in np.flatnonzero(masked[key == number]):
                assert here[t].tobytes() == (here[t - 1] if t else first).tobytes()


def growing() -> LSTM:
    """``c_t = c_{t-1} + 2e38`` of unit 1, of which the tanh is 1."""
    weights = Weights(np.zeros((1, 8)), np.zeros((2, 8)), np.array([9e1] * 4 + [0, 2e38] + [9] * 2))
    return LSTM(weights, "linear", output_activation="tanh")


@pytest.mark.parametrize("key", [None, np.array([0, 1, 0, 1])])
def test_c_overflows_where_h_does_not(key: Any) -> None:
    cell = growing()
    rows = Rows(np.ones((4, 1)), key)
    for asked, step in ((True, 2), (False, 4 if key is None else 2)):
        blocks = rnncli.stream(Network(Recurrent(cell)), [rows], all_states=asked)
        rows_before = 1 if asked and key is None else 3 if key is None else 2
        assert len(next(blocks).t) == rows_before
        sequence = "" if key is None else "sequence 0: "
        message = rf"^{sequence}step {step}, unit 1 of c: overflow \(inf\)$"
        with pytest.raises(NotFiniteError, match=message):
            next(blocks)


def test_the_sequence_whose_c_overflows_is_named() -> None:
    rows = Rows(np.ones((4, 1)), np.array([2, 0, 2, 1]))
    blocks = rnncli.stream(Network(Recurrent(growing())), [rows])
    assert len(next(blocks).t) == 2
    message = r"^sequence 2: step 2, unit 1 of c: overflow \(inf\)$"
    with pytest.raises(NotFiniteError, match=message):
        next(blocks)


def test_of_blocks_of_one_row_that_whose_c_overflows_is_left_out() -> None:
    """What follows rows leaves the state of those that are out."""
    blocks = rnncli.stream(Network(Recurrent(growing())), np.ones((4, 1, 1)))
    assert next(blocks).t.tolist() == [1]
    with pytest.raises(NotFiniteError, match=r"^step 2, unit 1 of c: "):
        next(blocks)
