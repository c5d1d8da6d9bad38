"""Any cell, with any state, runs as its own written-out loop does, wherever cells are run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from any_cell import Gated, Head, Leaky, drawn, layer_loop, loop
from conftest import RUNNABLE, runnable
from hypothesis import given
from hypothesis import strategies as st

import rnncli
from rnncli.engine.compiled.loops import is_written
from rnncli.engine.rows import Rows
from rnncli.engine.state import State as StateFile
from rnncli.engine.state import cells_of, fingerprint, fitting_states, load_state, save_state
from rnncli.engine.stream import Carried
from rnncli.model.arrays import Floats
from rnncli.model.cells import Combine, Multiplier, Operands, State, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

KINDS = [Leaky, Gated]
# The cells are contracting: float32 runs stay this near to float64, at a few roundings.
NEAR = 4e-6


def near(a: Floats, b: Floats) -> bool:
    return bool((np.abs(a - b) <= NEAR).all())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
@pytest.mark.parametrize(("T", "N"), [(40, 1), (40, 3), (9_001, 1), (9_001, 2)])
def test_every_strategy(kind: type[Leaky], unroll: str, T: int, N: int) -> None:
    cell = drawn(kind, 3, 5, seed=1)
    random = np.random.RandomState(2)
    x = random.normal(size=(N, T, 3)).astype("f")
    start = random.uniform(-1, 1, (N, 10)).astype("f")  # h, then c
    states = rnncli.run(Network(Recurrent(cell)), x, start, unroll=unroll)
    for n in range(N):
        rows, (h, c) = loop(cell, x[n], (start[n, :5], start[n, 5:]))
        assert near(states.h[n], rows)
        assert near(states.h_n[n], np.concatenate([h, c]))


def test_a_step_that_a_newer_combine_does_not_keep_to_is_not_compiled() -> None:
    assert is_written(drawn(Leaky, 3, 5, seed=1))
    assert not is_written(drawn(Gated, 3, 5, seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_it_did_run_in_segments(monkeypatch: pytest.MonkeyPatch, kind: type[Leaky]) -> None:
    import sys

    module: Any = sys.modules["rnncli.engine.unroll.parallel"]
    right, left = module.step_by_step, []

    def counted(segments: Any, which: Any) -> None:
        left.append(len(which))
        right(segments, which)

    monkeypatch.setattr(module, "step_by_step", counted)
    x = np.random.RandomState(2).normal(size=(9_001, 3))
    rnncli.run(Network(Recurrent(drawn(kind, 3, 5, seed=1))), x, unroll="parallel")
    assert left == [0]  # in segments, and all of them converged


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_runs_join_only_where_every_array_of_the_state_has_converged(kind: type[Leaky]) -> None:
    """c is near 100, where tanh(c) is 1 whatever c is: h alone would join two runs at once."""
    weights = Weights(*(np.full(shape, 0, "f") for shape in ((1, 2), (1, 2), 2)))
    weights = weights._replace(b_h=np.array([9, 9], "f"))
    cell = kind(weights, keep=0.99)
    x = np.zeros((20_000, 1), "f")
    _, (_, c) = loop(cell, x, (np.zeros(1), np.zeros(1)))
    states = rnncli.run(Network(Recurrent(cell)), x, unroll="parallel")
    assert states.h_n[1] == pytest.approx(c[0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "tf32", "bfloat16"])
def test_every_precision(precision: str) -> None:
    cell = drawn(Leaky, 3, 5, seed=3)
    x = np.random.RandomState(4).normal(size=(5_000, 3))
    rows, _ = loop(cell, x, (np.zeros(5), np.zeros(5)))
    within = {"float64": 1e-13, "tf32": 5e-3, "bfloat16": 4e-2}[precision]
    for unroll in runnable(precision):
        h = rnncli.run(Network(Recurrent(cell)), x, precision=precision, unroll=unroll).h
        assert np.abs(h - rows).max() < within


def stack(seed: int) -> Network:
    """Both directions merged, a backward layer, a vanilla one, and a head without state."""
    lower = [drawn(kind, 2, 3, seed + n) for n, kind in enumerate(KINDS)]
    vanilla = rnncli.seeded(2, 4, seed, "torch").layers[0].cells[0].weights
    return Network(
        Recurrent(*lower, direction="bidirectional", merge="sum"),
        Recurrent(drawn(Leaky, 3, 2, seed + 2), direction="backward"),
        vanilla,
        Head(np.random.RandomState(seed).normal(size=(4, 2)).astype("f")),
    )


def vanilla_loop(network: Network, x: Floats, h: Floats) -> tuple[Floats, Floats]:
    W_xh, W_hh, b_h = (array.astype(np.float64) for array in network.layers[2].cells[0].weights[:3])
    rows = []
    for x_t in x:
        h = np.tanh(x_t @ W_xh + h @ W_hh + b_h)
        rows.append(h)
    return np.array(rows).reshape(-1, len(h)), h


def stack_loop(network: Network, x: Floats, state: Floats) -> tuple[list[Floats], Floats]:
    """What every layer of `stack` gives, and the final state: all h, then all c."""
    h = np.split(state[:12], [3, 6, 8])
    c = np.split(state[12:], [3, 6])
    first, second, _, head = network.layers
    assert isinstance(first, Recurrent)
    assert isinstance(second, Recurrent)
    assert isinstance(head, Head)
    below, finals = layer_loop(first, x, list(zip(h[:2], c[:2], strict=True)))
    middle, more = layer_loop(second, below, [(h[2], c[2])])
    top, last = vanilla_loop(network, middle, h[3])
    states = [*finals, *more]
    final = np.concatenate([*(each[0] for each in states), last, *(each[1] for each in states)])
    return [below, middle, top, top @ head.W], final


@pytest.mark.slow
@given(seed=st.integers(0, 99), lengths=st.lists(st.integers(0, 9), min_size=1, max_size=5))
def test_stacks_directions_lengths_and_a_layer_without_state(seed: int, lengths: list[int]) -> None:
    network, random = stack(seed), np.random.RandomState(seed)
    N = len(lengths)
    x = random.normal(size=(N, 9, 2)).astype("f")
    start = random.uniform(-1, 1, (N, network.state_size)).astype("f")
    for unroll in ("auto", "stepwise"):
        states = rnncli.run(network, x, start, lengths=lengths, unroll=unroll, all_layers=True)
        assert states.h is states.layers[-2]
        assert states.y is states.layers[-1]
        for n, length in enumerate(lengths):
            expected, final = stack_loop(network, x[n, :length], start[n])
            assert near(states.h_n[n], final)
            for given_, right in zip(states.layers, expected, strict=True):
                assert near(given_[n, :length], right)
                assert not given_[n, length:].any()


def forward_stack(seed: int) -> Network:
    head = Head(np.random.RandomState(seed).normal(size=(3, 2)).astype("f"))
    return Network(
        *(Recurrent(drawn(kind, I, 3, seed)) for kind, I in ((Leaky, 2), (Gated, 3))), head
    )


@pytest.mark.slow
@given(data=st.data())
def test_streams_of_several_sequences_cut_anywhere(data: st.DataObject) -> None:
    """Interleaved, with masked rows: each sequence as it is alone, to the bit."""
    seed, n = data.draw(st.integers(0, 99)), data.draw(st.integers(1, 12))
    network = data.draw(st.sampled_from([forward_stack, stack]))(seed)
    random = np.random.RandomState(seed)
    x = random.normal(size=(n, 2)).astype("f")
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    start = random.uniform(-1, 1, network.state_size).astype("f")
    carried = Carried(start, 0)
    parts = map(Rows, *(np.split(array, cuts) for array in (x, key, masked)))
    blocks = rnncli.stream(network, parts, unroll="stepwise", carried=carried)
    found = list(blocks)
    h, y = (np.concatenate([getattr(block, name) for block in found]) for name in "hy")
    for number in range(len(carried.t)):
        active = (key == number) & ~masked
        alone = rnncli.run(network, x[active], start, unroll="stepwise")
        assert alone.y is not None
        assert h[active].tobytes() == alone.h.tobytes()
        assert y[active].tobytes() == alone.y.tobytes()
        assert carried.state[number].tobytes() == alone.h_n.tobytes()


def test_a_layer_without_state_at_masked_rows_is_given_what_stands_below() -> None:
    network = forward_stack(5)
    x = np.random.RandomState(6).normal(size=(4, 2)).astype("f")
    masked = np.array([True, False, True, False])
    rows = Rows(x, masked=masked)
    (block,) = rnncli.stream(network, [rows], unroll="stepwise", all_layers=True)
    head = network.layers[-1]
    assert isinstance(head, Head)
    h, y = block.h[:, 3:], block.y
    assert y is not None
    assert not h[0].any()
    assert h[2].tobytes() == h[1].tobytes()
    np.testing.assert_allclose(y, h @ head.W, rtol=1e-5, atol=1e-6)


def test_a_network_without_any_state() -> None:
    head = Head(np.ones((2, 3), "f"))
    states = rnncli.run(Network(head), np.ones((4, 5, 2)), lengths=[5, 5, 0, 5])
    assert states.h[0].tolist() == [[2, 2, 2]] * 5
    assert not states.h[2].any()
    assert states.h_n.shape == (4, 0)
    (block,) = rnncli.stream(Network(head), [np.ones((3, 2))])
    assert block.h.tolist() == [[2, 2, 2]] * 3


@pytest.mark.parametrize("cut", [0, 1, 7])
def test_a_state_file_carries_every_array(tmp_path: Path, cut: int) -> None:
    """h and c by their names; the run goes on from them to the bit."""
    network = forward_stack(3)
    x = np.random.RandomState(4).normal(size=(9, 2)).astype("f")
    whole = rnncli.run(network, x, unroll="stepwise")
    half = rnncli.run(network, x[:cut], unroll="stepwise")
    whose, names = fingerprint(network, "float32"), network.state_names
    assert list(names) == ["h", "c"]
    arrays = {name: half.h_n[None, place] for name, place in names.items()}
    path = str(tmp_path / "state.npz")
    with open(path, "wb") as file:
        save_state(file, StateFile(whose, (), [()], np.array([cut]), arrays, cells_of(network)))
    loaded = load_state(path)
    assert loaded is not None
    (state,) = fitting_states(path, loaded, network, whose, (), np.dtype("f"))
    rest = rnncli.run(network, x[cut:], state, unroll="stepwise")
    assert np.concatenate([half.h, rest.h]).tobytes() == whole.h.tobytes()
    assert rest.h_n.tobytes() == whole.h_n.tobytes()


def test_networks_with_other_settings_have_other_fingerprints() -> None:
    weights = drawn(Leaky, 2, 3, 0).weights
    networks = [
        Network(Recurrent(Leaky(weights))),
        Network(Recurrent(Gated(weights))),
        Network(Recurrent(Leaky(weights, keep=0.4))),
        Network(Recurrent(Leaky(weights)), Head(np.ones((3, 1), "f"))),
        Network(Recurrent(Leaky(weights)), Head(np.full((3, 1), 2, "f"))),
    ]
    assert len({fingerprint(network, "float32") for network in networks}) == len(networks)


def test_a_layer_without_state_may_stand_below_where_rows_are_masked() -> None:
    network = Network(Head(np.array([[2]], "f")), rnncli.seeded(1, 3).layers[0])
    x = np.array([[np.nan], [1], [np.nan], [2]], "f")
    masked = np.isnan(x[:, 0])
    (block,) = rnncli.stream(network, [Rows(x, masked=masked)], unroll="stepwise")
    alone = rnncli.run(network, x[~masked], unroll="stepwise").h
    assert block.h[[1, 3]].tobytes() == alone.tobytes()
    assert block.h[[0, 2]].tobytes() == np.stack([np.zeros(3, "f"), alone[0]]).tobytes()


def test_two_directions_of_unlike_size_are_refused() -> None:
    wide = rnncli.seeded(2, 4).layers[0].cells[0]
    with pytest.raises(ValueError, match=r"^both directions have to have as many hidden units$"):
        Recurrent(drawn(Leaky, 2, 2, seed=0), wide, direction="bidirectional")


class Split(Leaky):
    """The same once more, its products taken within the step, of columns cut out of a matrix."""

    @property
    def operands(self) -> Operands:
        W_xh, W_hh, b_h = self.weights[:3]
        return Operands(W_xh, W_hh[:, :0], b_h)

    def combine(self, multiplier: Multiplier) -> Combine:
        H = self.hidden_size
        products = [multiplier(self.weights.W_hh[:, n : n + H]) for n in (0, H)]
        step = super().combine(multiplier)

        def combine(sums: Floats, out: Floats, h: Floats, c: Floats) -> State:
            for block, product in zip(sums, products, strict=True):
                block += product(h)
            after: State = step(sums, out, h, c)
            return after

        return combine


@pytest.mark.parametrize("unroll", RUNNABLE)
@pytest.mark.parametrize("N", [1, 3])
def test_products_of_several_matrices_are_apart(unroll: str, N: int) -> None:
    cell = drawn(Leaky, 3, 5, seed=1)
    x = np.random.RandomState(2).normal(size=(N, 40, 3)).astype("f")
    h = rnncli.run(Network(Recurrent(Split(cell.weights))), x, unroll=unroll).h
    for n in range(N):
        assert near(h[n], loop(cell, x[n], (np.zeros(5), np.zeros(5)))[0])
