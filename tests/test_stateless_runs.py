"""Layers without state below and above every cell, wherever networks are run."""

from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE
from hypothesis import given
from hypothesis import strategies as st

from rnncli import (
    Dense,
    Embedding,
    Masking,
    Network,
    Normalization,
    Pointwise,
    Recurrent,
    Weights,
    run,
    stream,
)
from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.model.arrays import Floats, Truths
from rnncli.model.cells import CELLS, weight_shapes

VALUE = -9.0  # of a masked row


def array(shape: tuple[int, ...], seed: int, scale: float = 1.0) -> Floats:
    return np.random.RandomState(seed).normal(0, scale, shape)


def recurrent(name: str, I: int, H: int, seed: int, direction: str = "forward") -> Recurrent:
    kind: Any = CELLS[name]
    cells = []
    for n in range(2 if direction == "bidirectional" else 1):
        shapes = weight_shapes(I, H, kind.gates).values()
        cells.append(kind(Weights(*(array(s, 10 * seed + n, H**-0.5) for s in shapes))))
    return Recurrent(*cells, direction=direction)


def stack(name: str, seed: int, H: int = 4, O: int = 3, direction: str = "forward") -> Network:
    """Normalized features, a layer of cells between two dense ones, and a head."""
    twice = 2 if direction == "bidirectional" else 1
    return Network(
        Normalization(array((2,), seed), array((2,), seed + 1), array((2,), seed + 2)),
        Dense(array((2, 3), seed + 3), array((3,), seed + 4), "leaky_relu:0.2"),
        recurrent(name, 3, H, seed, direction),
        Dense(array((twice * H, O), seed + 5, H**-0.5), array((O,), seed + 6), "tanh"),
        Pointwise("softmax", O),
    )


def expected(network: Network, layers: tuple[Floats, ...], x: Floats) -> list[Floats]:
    """What the layers of `stack` make, in float64, of what the layers below them gave."""
    normal, lower, _, upper, _ = (layer.arrays for layer in network.layers)
    a = layers[0].astype("d") @ lower["W"] + lower["b"]
    e = np.exp(layers[3].astype("d"))
    return [
        (x - normal["center"]) / normal["scale"] + normal["shift"],
        np.where(a > 0, a, 0.2 * a),
        np.tanh(layers[2].astype("d") @ upper["W"] + upper["b"]),
        e / e.sum(axis=-1, keepdims=True),
    ]


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
@pytest.mark.parametrize(("precision", "near"), [("float32", 2e-6), ("float64", 1e-14)])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_every_strategy(unroll: str, precision: str, near: float, direction: str) -> None:
    """Within rounding of a few sums of a few terms."""
    network, x = stack("lstm", 1, direction=direction), array((3, 7, 2), 2)
    lengths = [7, 0, 4]
    how: dict[str, Any] = {
        "lengths": lengths,
        "unroll": unroll,
        "precision": precision,
        "all_layers": True,
    }
    states = run(network, x.astype("f"), **how)
    each = expected(network, states.layers, x.astype("f").astype("d"))
    for layer, right in zip([*states.layers[:2], *states.layers[3:]], each, strict=True):
        for n, length in enumerate(lengths):
            np.testing.assert_allclose(layer[n, :length], right[n, :length], near, near)
            assert not layer[n, length:].any()


@pytest.mark.parametrize("unroll", ["auto", "stepwise"])
@pytest.mark.parametrize(("precision", "bits"), [("tf32", 10), ("bfloat16", 7)])
def test_the_operands_of_a_dense_layer_are_rounded(unroll: str, precision: str, bits: int) -> None:
    """1 + 2^-(bits + 1) lies halfway and becomes 1; with a little more it becomes the next."""
    half = 1 + 2.0 ** -(bits + 1)
    more = half + 2.0**-20
    network = Network(Dense([[half], [more]], [2.0**-20]))
    x: Any = [[1, 0], [0, 1], [half, 0], [more, 0]]
    states = run(network, x, precision=precision, unroll=unroll)
    above = 1 + 2.0**-bits
    assert states.h[:, 0].tolist() == [one + 2.0**-20 for one in (1, above, 1, above)]


@pytest.mark.slow
@given(data=st.data())
def test_streams_cut_anywhere_are_the_same_to_the_bit(data: st.DataObject) -> None:
    """Interleaved sequences with rows that the input masks; matrices of one and of many pieces."""
    name, n = data.draw(st.sampled_from(list(CELLS))), data.draw(st.integers(1, 12))
    H, O = data.draw(st.sampled_from([(4, 1), (4, 3), (150, 60)]))
    network = stack(name, data.draw(st.integers(0, 9)), H, O)
    x = array((n, 2), n).astype("f")
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    start = array((network.state_size,), n).astype("f")
    carried = Carried(start, 0)
    parts = map(Rows, *(np.split(part, cuts) for part in (x, key, masked)))
    blocks = list(stream(network, parts, unroll="stepwise", carried=carried))
    h, y = (np.concatenate([getattr(block, part) for block in blocks]) for part in "hy")
    for number in range(len(carried.t)):
        active = (key == number) & ~masked
        alone = run(network, x[active], start, unroll="stepwise")
        assert alone.y is not None
        assert h[active].tobytes() == alone.h.tobytes()
        assert y[active].tobytes() == alone.y.tobytes()
        for row in np.flatnonzero((key == number) & masked):
            before = np.flatnonzero(active[:row])
            kept = alone.h[len(before) - 1] if len(before) else start[:H]
            assert h[row].tobytes() == kept.tobytes()


def filled(rows: Floats, masked: Truths, start: Floats) -> Floats:
    """Rows without the masked ones, and in place of these the row before."""
    last, found, given_ = start, [], iter(rows)
    for skipped in masked:
        last = last if skipped else next(given_)
        found.append(last)
    return np.array(found)


def masking(name: str, direction: str = "forward") -> tuple[Network, Network]:
    """A network that masks rows, and the same without what masks them."""
    network = stack(name, 5, direction=direction)
    return Network(Masking(VALUE, 2), *network.layers), network


MASKED = np.array([[1, 0, 1, 1, 0, 0, 1], [0, 0, 1, 0, 0, 1, 0], [1, 1, 1, 1, 1, 1, 1]], bool)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("unroll", ["auto", "stepwise"])
@pytest.mark.parametrize("lengths", [[7, 7, 7], [5, 6, 2]])
def test_masked_rows_keep_the_state(name: str, unroll: str, lengths: list[int]) -> None:
    with_mask, without = masking(name)
    x = array((3, 7, 2), 3)
    x[MASKED] = VALUE
    h0 = array((3, without.state_size), 4)
    states = run(with_mask, x, h0, lengths=lengths, unroll=unroll, precision="float64")
    assert states.y is not None
    for n, (length, masked) in enumerate(zip(lengths, MASKED, strict=True)):
        masked = masked[:length]
        alone = run(without, x[n, :length][~masked], h0[n], unroll=unroll, precision="float64")
        right = filled(alone.h, masked, h0[n, :4])
        np.testing.assert_allclose(states.h[n, :length], right, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(states.h_n[n], alone.h_n, rtol=1e-13, atol=1e-13)
        dense = without.layers[3].arrays
        e = np.exp(np.tanh(right @ dense["W"] + dense["b"]))
        np.testing.assert_allclose(states.y[n, :length], e / e.sum(1, keepdims=True), rtol=1e-13)
        assert not states.h[n, length:].any()


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
def test_a_head_gives_at_a_masked_row_what_it_gave_before(unroll: str) -> None:
    network = masking("lstm")[1]
    for seed in range(20):
        rows = Rows(array((4, 2), seed), masked=np.arange(4) == 3)
        (block,) = stream(network, [rows], unroll=unroll)
        assert block.y is not None
        assert block.y[3].tobytes() == block.y[2].tobytes()


def test_rows_are_masked_by_the_input_and_by_the_network() -> None:
    """At the one's the features do not count; the other's become 0 below the cells."""
    network, without = masking("lstm")
    x = array((7, 2), 3)
    held = MASKED[1]
    x[held], x[MASKED[0]] = np.nan, VALUE
    masked = held | MASKED[0]
    rows = Rows(np.where(held[:, None], np.nan, x), masked=held)
    (block,) = stream(network, [rows], unroll="stepwise")
    alone = run(without, x[~masked], unroll="stepwise")
    assert block.h.tobytes() == filled(alone.h, masked, np.zeros(4, "f")).tobytes()
    assert np.isnan(block.x[held]).all()


@pytest.mark.parametrize("name", CELLS)
def test_both_directions_give_0_where_a_layer_masks_and_repeat_where_the_input_does(
    name: str,
) -> None:
    with_mask, without = masking(name, "bidirectional")
    x, masked = array((7, 2), 3), MASKED[0]
    x[masked] = VALUE
    alone = run(without, x[~masked], precision="float64")
    states = run(with_mask, x, precision="float64")
    np.testing.assert_allclose(states.h_n, alone.h_n, rtol=1e-13)
    np.testing.assert_allclose(states.h[~masked], alone.h, rtol=1e-13)
    assert not states.h[masked].any()
    (held,) = stream(without, [Rows(x, masked=masked)], precision="float64")
    forward, backward = alone.h[:, :4], alone.h[::-1, 4:]
    np.testing.assert_allclose(held.h[:, :4], filled(forward, masked, np.zeros(4)), rtol=1e-13)
    turned = filled(backward, masked[::-1], np.zeros(4))[::-1]
    np.testing.assert_allclose(held.h[:, 4:], turned, rtol=1e-13)
    zeros = Network(Masking(0, 2), *without.layers)
    (same,) = stream(zeros, [Rows(x, masked=masked)], precision="float64")
    assert same.h.tobytes() == held.h.tobytes()


def test_an_embedding_masks_zeros() -> None:
    table = array((5, 3), 1)
    top = recurrent("gru", 3, 4, 2)
    x = np.array([[0], [2], [0], [4], [4]])
    states = run(Network(Embedding(table, mask_zero=True), top), x, all_layers=True)
    assert states.layers[0].tobytes() == table.astype("f")[x[:, 0]].tobytes()
    alone = run(Network(top), table[[2, 4, 4]])
    masked = x[:, 0] == 0
    right = filled(alone.h, masked, np.zeros(4, "f"))
    np.testing.assert_allclose(states.h, right, rtol=1e-6, atol=1e-6)
    plain = run(Network(Embedding(table), top), x)
    np.testing.assert_allclose(plain.h, run(Network(top), table[x[:, 0]]).h, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_a_head_over_the_final_state(direction: str) -> None:
    """Of a backward cell that is the state after the first step."""
    network, x = stack("lstm", 1, direction=direction), array((3, 7, 2), 2)
    lengths = [7, 1, 4]
    states = run(network, x, lengths=lengths, unroll="stepwise")
    dense = network.layers[3].arrays
    for n, length in enumerate(lengths):
        h = states.h[n, length - 1].astype("d")
        h[4:] = states.h[n, 0, 4:]
        e = np.exp(np.tanh(h @ dense["W"] + dense["b"]))
        assert states.y_n is not None
        np.testing.assert_allclose(states.y_n[n], e / e.sum(), rtol=2e-6)
        if direction == "forward":
            assert states.y is not None
            assert states.y_n[n].tobytes() == states.y[n, length - 1].tobytes()
        alone = run(network, x[n, :length], unroll="stepwise")
        assert alone.y_n is not None
        assert alone.y_n.tobytes() == states.y_n[n].tobytes()
    assert run(Network(*network.layers[:3]), x).y_n is None


def test_several_layers_mask() -> None:
    """The first, and one above others: 3 becomes 2 between them."""
    between, cell = Normalization([1, 1], [1, 1]), recurrent("rnn", 2, 3, 1)
    network = Network(Masking(VALUE, 2), between, Masking(2, 2), cell)
    x = np.array([[0, 1], [VALUE, VALUE], [3, 3], [3, 1]])
    masked = np.array([False, True, True, False])
    alone = run(Network(between, cell), x[~masked], unroll="stepwise")
    right = filled(alone.h, masked, np.zeros(3, "f"))
    assert run(network, x, unroll="stepwise").h.tobytes() == right.tobytes()


def test_no_row_at_all() -> None:
    network, _ = masking("lstm")
    states = run(network, np.ones((2, 3, 2)), lengths=[0, 0])
    assert not states.h.any()
    assert run(network, np.empty((0, 2))).h.shape == (0, 4)
    assert len(list(stream(network, [np.empty((0, 2))]))) == 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [(12, "12.0"), (-1, "-1.0"), (2.5, "2.5"), (10, "10.0")],
)
def test_an_index_outside_an_embedding(value: float, shown: str) -> None:
    network = Network(Embedding(array((10, 3), 1)), recurrent("rnn", 3, 2, 2))
    x = np.full((2, 4, 1), 9.0)
    what = rf"{shown} is outside the embedding \(whole numbers 0 to 9\)"
    x[1, 2] = value
    with pytest.raises(ValueError, match=rf"^x: {what} at \[1, 2, 0\]$"):
        run(network, x)
    assert run(network, x, lengths=[4, 2]).h.shape == (2, 4, 2)  # it is not looked at
    with pytest.raises(ValueError, match=rf"^x: {what} at \[2, 0\]$"):
        list(stream(network, [x[1]]))
    masked = np.array([False, False, True, False])
    (block,) = stream(network, [Rows(x[1], masked=masked)])
    assert block.h[2].tobytes() == block.h[1].tobytes()


def test_layers_that_have_their_place() -> None:
    cell = recurrent("rnn", 2, 1, 1)
    with pytest.raises(ValueError, match=r"^layer 2: an embedding takes whole numbers: it is the "):
        Network(cell, Embedding(array((3, 2), 1)))
    with pytest.raises(ValueError, match=r"^layer 2: a layer that masks rows stands below all "):
        Network(cell, Masking(0, 1), recurrent("rnn", 1, 1, 1))
    with pytest.raises(ValueError, match=r"^x: expected shape .* as an embedding has 1 feature, "):
        run(Network(Embedding(array((3, 2), 1))), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"^x: expected shape .* as center has 2 values, got "):
        run(Network(Normalization([0, 0], [1, 1])), np.ones((3, 1)))
