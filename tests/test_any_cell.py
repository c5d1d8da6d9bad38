"""Any cell, with any state, runs as its own written-out loop does, wherever cells are run."""

import numpy as np
import pytest
from any_cell import Gated, Head, Leaky, drawn, loop
from conftest import RUNNABLE, runnable

import rnncli
from rnncli.engine.compiled.loops import is_written
from rnncli.engine.rows import Rows
from rnncli.engine.state import fingerprint
from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
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


def forward_stack(seed: int) -> Network:
    head = Head(np.random.RandomState(seed).normal(size=(3, 2)).astype("f"))
    return Network(
        *(Recurrent(drawn(kind, I, 3, seed)) for kind, I in ((Leaky, 2), (Gated, 3))), head
    )


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
