"""Where packed rows stand: every row once, none from beyond an end."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, NetworkCase, cases, network_cases

import rnncli
from rnncli.compare import step_errors
from rnncli.packing import Packing

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=9)


@given(lengths=LENGTHS, side_by_side=st.one_of(st.none(), st.integers(1, 9)), K=st.integers(1, 3))
def test_packing_keeps_every_row_and_no_other(
    lengths: list[int], side_by_side: int | None, K: int
) -> None:
    ends = np.array(lengths)
    N, T = len(lengths), 7
    x = np.arange(1, N * T * K + 1, dtype=np.float32).reshape(N, T, K)
    beyond = np.arange(T) >= ends[:, None]
    order = np.argsort(-ends, kind="stable")
    packing = Packing(ends[order], side_by_side)
    rows = packing.pack(x, order)
    assert len(rows) == ends.sum()
    np.testing.assert_array_equal(packing.unpack(rows, T, order), np.where(beyond[..., None], 0, x))
    # The same from sequences that stand one after the other.
    together = x[~beyond]
    starts = (ends.cumsum() - ends)[order]
    np.testing.assert_array_equal(together[packing.places(starts)], rows)


@given(lengths=LENGTHS, side_by_side=st.one_of(st.none(), st.integers(1, 9)))
def test_every_sequence_turns_around_by_itself(
    lengths: list[int], side_by_side: int | None
) -> None:
    ends = np.sort(lengths)[::-1]
    x = np.arange(len(ends) * 7, dtype=np.float32).reshape(len(ends), 7, 1)
    packing = Packing(ends, side_by_side)
    order = np.arange(len(ends))
    turned = packing.unpack(packing.reversed(packing.pack(x, order)), 7, order)
    for sequence, length, expected in zip(turned, ends, x, strict=True):
        np.testing.assert_array_equal(sequence[:length], expected[:length][::-1])


@given(lengths=LENGTHS)
def test_rectangles_follow_each_other(lengths: list[int]) -> None:
    packing = Packing(np.sort(lengths)[::-1], 3)
    row = 0
    for group in packing.groups:
        step = 0
        for part in group:
            assert (part.rows.start, part.steps.start) == (row, step)
            T, N = part.shape
            row, step = row + T * N, part.steps.stop
            assert (packing.lengths[part.sequences] >= step).all()
    assert row == sum(lengths)


@pytest.fixture(scope="module")
def narrow() -> Iterator[None]:
    """A lane of a row or two and blocks of two steps: small batches take several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnncli.unroll.lanes.VALUES", 4)
        patch.setattr("rnncli.unroll.lanes.BLOCK", 2)
        yield


@pytest.mark.usefixtures("narrow")
@given(case=network_cases())
def test_groups_in_threads_give_what_each_sequence_does_alone(case: NetworkCase) -> None:
    options: dict[str, Any] = {"unroll": "stepwise"}
    batch = rnncli.run(case.network, case.x, case.h0, lengths=case.lengths, **options)
    for n, length in enumerate(case.lengths):
        alone = rnncli.run(case.network, case.x[n, :length], case.h0[n], **options)
        assert batch.h[n, :length].tobytes() == alone.h.tobytes()
        assert batch.h_n[n].tobytes() == alone.h_n.tobytes()


@pytest.mark.usefixtures("narrow")
@given(case=cases())
def test_every_step_in_lanes_and_blocks_is_right(case: Case) -> None:
    options: dict[str, Any] = {"precision": case.precision, "unroll": "projected"}
    states = rnncli.run(case.network, case.x, case.h0, **options).h
    for x, h0, h in zip(case.x, case.h0, states, strict=True):
        assert step_errors(case.cell, x, h0, h, case.precision).max(initial=0) < 0.5
