"""Any network over any input, however it is run, against the plain loop and to the bit."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from conftest import RUNNABLE, runnable
from hypothesis import assume, given
from hypothesis import strategies as st
from random_networks import Choices, NetworkCase, gated_cell, network_cases

import rnncli
from rnncli.engine.precision import PRECISIONS
from rnncli.verification import reference
from rnncli.verification.case import case_of_batch
from rnncli.verification.steps import case_step_errors

ANY = network_cases(Choices())
UNROLLS = st.sampled_from(["auto", *runnable("float64")])
# A run of float64 beside the loop: 12 steps of three layers, which may each multiply what differs
# by rounding, from 1e-16.
NEAR = 1e-9
# Share of the bound of a step error that right code stays below. It uses a few hundredths; half of
# it is an operand on the other side of the middle between two, where a precision rounds them.
RIGHT = 0.6


@contextmanager
def narrow(yes: bool) -> Iterator[None]:
    """Let threads, blocks and pieces have a row or two: small batches take several."""
    with pytest.MonkeyPatch.context() as patch:
        if yes:
            patch.setattr("rnncli.engine.runner.STATES_IN_CACHE", 4)
            patch.setattr("rnncli.engine.runner.WORK", 1)
            patch.setattr("rnncli.engine.unroll.loops.SUMS_IN_CACHE", 4)
            patch.setattr("rnncli.engine.unroll.loops.STEPS", 2)
        yield


def near(values: Any, right: Any) -> None:
    np.testing.assert_allclose(values, right, rtol=NEAR, atol=NEAR)


def same(values: Any, right: Any) -> None:
    """To the bit, but for the sign of 0 and of what is no number."""
    np.testing.assert_array_equal(values, right)


def by_loop(case: NetworkCase) -> list[reference.Result]:
    """Run each sequence by the loop; leave out a case whose states grow without end."""
    each = zip(case.x, case.h0, case.lengths, strict=True)
    runs = [reference.run(case.network, x[:T], h0) for x, h0, T in each]
    assume(all(np.abs(a).max(initial=0) < 1e4 for run in runs for a in (*run.outputs, *run.c)))
    return runs


def beyond(case: NetworkCase) -> Any:
    """Return the input with no numbers beyond the end of each sequence."""
    steps = np.arange(case.x.shape[1])
    return np.where((steps >= case.lengths[:, None])[..., None], np.nan, case.x)


@given(case=ANY, unroll=UNROLLS, in_pieces=st.booleans())
def test_a_batch_is_each_sequence_by_the_loop(
    case: NetworkCase, unroll: str, in_pieces: bool
) -> None:
    network, top = case.network, len(case.network.layers) - 1 - case.network.head
    right = by_loop(case)
    options: dict[str, Any] = {"lengths": case.lengths, "unroll": unroll, "all_layers": True}
    with narrow(in_pieces):
        runs = [
            rnncli.run(
                network, beyond(case), case.h0, precision="float64", all_states=asked, **options
            )
            for asked in (False, True)
        ]
    for states in runs:
        assert states.h is states.layers[top]
        assert states.y is (states.layers[-1] if network.head else None)
        for n, (T, each) in enumerate(zip(case.lengths, right, strict=True)):
            for h, outputs in zip(states.layers, each.outputs, strict=True):
                near(h[n, :T], outputs)
                assert not h[n, T:].any()
            for c, of_loop in zip(states.layers_c, each.c, strict=bool(states.layers_c)):
                near(c[n, :T], of_loop)
                assert not c[n, T:].any()
            near(states.h_n[n], each.h_n)
            if network.last or network.head:
                assert states.y_n is not None
                near(states.y_n[n], each.y_n)
    assert runs[0].c is None
    assert runs[1].c is runs[1].layers_c[top]


@given(case=ANY, precision=st.sampled_from(["float32", "float64", "tf32"]), in_pieces=st.booleans())
def test_the_bits_of_a_sequence_do_not_depend_on_its_batch(
    case: NetworkCase, precision: str, in_pieces: bool
) -> None:
    how: dict[str, Any] = {"unroll": "stepwise", "precision": precision, "all_layers": True}
    with narrow(in_pieces):
        batch = rnncli.run(case.network, beyond(case), case.h0, lengths=case.lengths, **how)
    with_c = rnncli.run(case.network, case.x, case.h0, lengths=case.lengths, all_states=True, **how)
    same(with_c.h, batch.h)
    for n, T in enumerate(case.lengths):
        alone = rnncli.run(case.network, case.x[n, :T], case.h0[n], **how)
        same(alone.h_n, batch.h_n[n])
        for h, of_batch in zip(alone.layers, batch.layers, strict=True):
            same(h, of_batch[n, :T])
        if alone.y_n is not None:
            assert batch.y_n is not None
            same(alone.y_n, batch.y_n[n])


@given(case=ANY, data=st.data(), in_pieces=st.booleans())
def test_a_stream_is_each_sequence_alone(
    case: NetworkCase, data: st.DataObject, in_pieces: bool
) -> None:
    """Interleaved and cut into blocks; the input masks some rows, whose features are no numbers."""
    network, x, h0 = case.network, case.x.reshape(-1, case.x.shape[2]), case.h0[0]
    n, top = len(x), len(network.layers) - network.head
    ends = {top: "", len(network.layers): ""}  # the layers whose results have no number
    prefixes = [ends.get(number, f"layer_{number}_") for number in range(1, 1 + max(ends))]
    key = np.array(data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)), np.intp)
    masked = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), bool)
    cuts = sorted(data.draw(st.lists(st.integers(0, n), max_size=2)))
    right = [reference.run(network, x[key == k], h0, by_input=masked[key == k]) for k in range(3)]
    assume(all(np.abs(a).max(initial=0) < 1e4 for r in right for a in (*r.outputs, *r.c)))
    given = np.where(masked[:, None], np.nan, x)
    blocks = map(rnncli.Rows, *(np.split(array, cuts) for array in (given, key, masked)))
    carried = rnncli.Carried(h0, 0)
    how: dict[str, Any] = {"unroll": "stepwise", "precision": "float64", "all_layers": True}
    with narrow(in_pieces):
        found = list(rnncli.stream(network, blocks, carried=carried, all_states=True, **how))
    assert sum(len(block.h) for block in found) == n
    for k in range(len(carried.t)):
        rows = key == k
        alone = rnncli.run(network, x[rows & ~masked], h0, **how)
        same(carried.state[k], alone.h_n)
        assert carried.t[k] == rows.sum()
        if not rows.any():
            continue
        t = np.concatenate([block.t[block.key == k] for block in found])
        assert t.tolist() == list(range(1, rows.sum() + 1))
        values = {
            name: np.concatenate([block.values[name][block.key == k] for block in found])
            for name in found[0].values
        }
        for n, (prefix, layer) in enumerate(zip(prefixes, network.layers, strict=True)):
            output = values.pop(f"{prefix}{'h' if layer.cells else 'y'}")
            near(output, right[k].outputs[n])
            same(output[~masked[rows]], alone.layers[n])
            if n < top:
                near(values.pop(f"{prefix}c"), right[k].c[n])
        assert not values


@given(
    case=ANY, unroll=UNROLLS, precision=st.sampled_from(list(PRECISIONS)), in_pieces=st.booleans()
)
def test_every_step_is_right_in_every_precision(
    case: NetworkCase, unroll: str, precision: str, in_pieces: bool
) -> None:
    """Whole runs may end far from the loop: each step is judged by the states before it."""
    assume(unroll in ("auto", *runnable(precision)))
    network = rnncli.Network(*case.network.layers)
    by_loop(case)
    judged = case_of_batch(network, case.x, case.h0, case.lengths, precision)
    with narrow(in_pieces):
        errors = case_step_errors(judged, judged.outputs(unroll))
    assert errors is None or errors.max(initial=0) < RIGHT


@pytest.mark.parametrize(("I", "H", "N"), [(130, 64, 1), (3, 256, 40), (5, 96, 300), (1, 1, 700)])
@pytest.mark.parametrize(
    "variant", ["rnn", "lstm", "lstm peepholes projection", "gru after", "gru before"]
)
def test_wide_matrices_and_many_rows(variant: str, I: int, H: int, N: int) -> None:
    """Both are multiplied in pieces; three sequences are compared."""
    network = rnncli.seeded(I, H, 1, "torch")
    if variant != "rnn":
        network = rnncli.Network(gated_cell(variant, I, H))
    random = np.random.RandomState(2)
    x, h0 = random.normal(size=(N, 12, I)), random.uniform(-1, 1, (N, network.state_size))
    for unroll in ("auto", *RUNNABLE):
        states = rnncli.run(network, x, h0, unroll=unroll)
        for n in {0, N // 2, N - 1}:
            right = reference.run(network, x[n].astype("f"), h0[n].astype("f"))
            # The cells are contracting: a few roundings of float32 at every step.
            np.testing.assert_allclose(states.h[n], right.outputs[0], rtol=0, atol=3e-6)
            np.testing.assert_allclose(states.h_n[n], right.h_n, rtol=0, atol=3e-6)


@pytest.mark.parametrize("unroll", ["auto", *RUNNABLE])
def test_a_head_gives_at_a_masked_row_the_bits_that_it_gave_before(unroll: str) -> None:
    network = rnncli.seeded(2, 4, 1, "torch", cell="lstm", head=3, head_activation="softmax")
    for seed in range(20):
        x = np.random.RandomState(seed).normal(size=(4, 2)).astype("f")
        rows = rnncli.Rows(x, masked=np.arange(4) == 3)
        (block,) = rnncli.stream(network, [rows], unroll=unroll)
        assert block.y is not None
        assert block.y[3].tobytes() == block.y[2].tobytes()


def test_keys_of_any_size_come_back_in_the_order_of_the_rows() -> None:
    network, random = rnncli.seeded(1, 2), np.random.RandomState(0)
    x, key = random.normal(size=(400_000, 1)).astype("f"), random.randint(0, 200_000, 400_000)
    (*blocks,) = rnncli.stream(network, [rnncli.Rows(x, key)], unroll="stepwise")
    h = np.concatenate([block.h for block in blocks])
    for k in (0, 3, 65_535, 65_536, 131_072, 199_999):
        same(h[key == k], rnncli.run(network, x[key == k], unroll="stepwise").h)
