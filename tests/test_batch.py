"""Batches of unequal lengths, and rows of any order: each once, and every final state."""

from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Case, NetworkCase, cases, network_cases

import rnncli
from rnncli.engine.batch import Finals, Packing, Steps, by_length
from rnncli.engine.interleaved import grouped
from rnncli.engine.rows import Rows
from rnncli.model.arrays import Integers
from rnncli.model.cells import CELLS, State
from rnncli.verify.steps import step_errors

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=9)


FALLING = st.lists(st.integers(1, 6), min_size=1, max_size=7).map(lambda n: sorted(n)[::-1])


def packed(lengths: list[int], K: int) -> tuple[Steps, list[list[list[float]]]]:
    """Steps of sequences, and the rows of each as lists."""
    batch_sizes = [sum(length > t for length in lengths) for t in range(lengths[0])]
    rows = np.arange(sum(batch_sizes) * K, dtype=np.float32).reshape(-1, K)
    parts = np.split(rows, np.cumsum(batch_sizes)[:-1])
    if batch_sizes[0] == batch_sizes[-1]:
        return Steps(rows.reshape(len(batch_sizes), -1, K)), [part.tolist() for part in parts]
    return Steps(rows, batch_sizes), [part.tolist() for part in parts]


@given(lengths=FALLING, K=st.integers(1, 3), data=st.data())
def test_steps_and_parts_of_them(lengths: list[int], K: int, data: st.DataObject) -> None:
    steps, expected = packed(lengths, K)
    assert (len(steps), steps.N) == (lengths[0], len(lengths))
    assert [rows.tolist() for rows in steps] == expected
    start = data.draw(st.integers(0, lengths[0] - 1))
    stop = data.draw(st.integers(start + 1, lengths[0] + 2))
    assert [rows.tolist() for rows in steps[start:stop]] == expected[start:stop]
    even = list(steps.even())
    assert [rows.tolist() for part in even for rows in part] == expected
    assert len(even) == len(set(lengths))
    for rows in steps:
        rows[...] = -1
    assert (steps.rows == -1).all()  # they were views


@given(lengths=FALLING)
def test_the_final_states_are_those_after_each_last_step(lengths: list[int]) -> None:
    steps, expected = packed(lengths, 2)
    start: State = (np.zeros((steps.N, 2)), np.zeros((steps.N, 1)))
    finals, state = Finals(start), start
    for t, rows in enumerate(steps, start=1):
        state = finals.running(state, len(rows))
        assert len(state[0]) == len(state[1]) == len(rows)
        state = (rows, np.full((len(rows), 1), t))
    h, count = finals.all(state)
    assert h.tolist() == [expected[length - 1][n] for n, length in enumerate(lengths)]
    assert count[:, 0].tolist() == lengths
    assert not start[0].any()


@given(lengths=LENGTHS, parts=st.integers(1, 9), K=st.integers(1, 3))
def test_packing_keeps_every_row_and_no_other(lengths: list[int], parts: int, K: int) -> None:
    ends = np.array(lengths)
    N, T = len(lengths), 7
    x = np.arange(1, N * T * K + 1, dtype=np.float32).reshape(N, T, K)
    beyond = np.arange(T) >= ends[:, None]
    together = x[~beyond]  # one sequence after the other
    starts = ends.cumsum() - ends
    back = np.zeros_like(x)
    for sequences in by_length(ends, parts):
        packing = Packing(ends[sequences])
        rows = packing.pack(x, sequences)
        assert rows.reshape(-1, K).shape[0] == ends[sequences].sum()
        np.testing.assert_array_equal(
            together[packing.places(starts[sequences])], rows.reshape(-1, K)
        )
        packing.unpack(rows, back, sequences)
    np.testing.assert_array_equal(back, np.where(beyond[..., None], 0, x))


@given(lengths=LENGTHS)
def test_every_sequence_turns_around_by_itself(lengths: list[int]) -> None:
    ends = np.sort(lengths)[::-1]
    x = np.arange(len(ends) * 7, dtype=np.float32).reshape(len(ends), 7, 1)
    packing = Packing(ends)
    everything = slice(0, len(ends))
    turned = np.zeros_like(x)
    packing.unpack(packing.reversed(packing.pack(x, everything)), turned, everything)
    for sequence, length, expected in zip(turned, ends, x, strict=True):
        np.testing.assert_array_equal(sequence[:length], expected[:length][::-1])


@given(lengths=LENGTHS)
def test_steps_of_equal_batch_sizes_follow_each_other(lengths: list[int]) -> None:
    packing = Packing(np.sort(lengths)[::-1])
    row = step = 0
    for part in packing.equal_steps:
        assert (part.rows.start, part.steps.start) == (row, step)
        T, N = part.shape
        row, step = row + T * N, part.steps.stop
        assert (packing.lengths[:N] >= step).all()
        assert (packing.lengths[N:] < step).all()
    assert row == sum(lengths)


@given(lengths=LENGTHS, parts=st.integers(1, 12))
def test_parts_hold_every_sequence_once_the_longest_first(lengths: list[int], parts: int) -> None:
    ends = np.array(lengths)
    found = [np.arange(len(ends))[sequences] for sequences in by_length(ends, parts)]
    assert sorted(np.concatenate(found).tolist()) == list(range(len(ends)))
    assert 1 <= len(found) <= parts
    assert all(len(part) for part in found)
    fallen = ends[np.concatenate(found)]
    assert (fallen[1:] <= fallen[:-1]).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.uint64])
@pytest.mark.parametrize("most", [0, 3, 200, 2**16, 2**31 - 1, 2**40])
def test_rows_are_grouped_in_the_order_of_their_keys(most: int, dtype: type) -> None:
    random = np.random.RandomState(most % 1000)
    key: Integers = random.randint(0, min(most, np.iinfo(dtype).max) + 1, 3000).astype(dtype)
    key[:1000] = key[1000:2000]  # several rows of each
    groups = grouped(Rows(np.empty((len(key), 1)), key))
    order = sorted(range(len(key)), key=lambda row: int(key[row]))
    assert groups.order.tolist() == order
    assert groups.key.tolist() == key[order].tolist()
    counts = Counter(key.tolist())
    assert groups.present.tolist() == sorted(counts)
    assert groups.lengths.tolist() == [counts[number] for number in sorted(counts)]
    assert groups.starts.tolist() == [0, *accumulate(groups.lengths.tolist())][:-1]
    last = {number: row for row, number in enumerate(key.tolist())}
    assert groups.last.tolist() == [last[number] for number in sorted(last)]
    chosen = random.rand(len(key)) < 0.2
    alone = groups.only(chosen)
    assert alone.order.tolist() == [row for row in order if chosen[row]]
    counts = Counter(key[chosen].tolist())
    assert dict(zip(alone.present.tolist(), alone.lengths.tolist(), strict=True)) == counts


def test_parts_have_as_many_steps_each() -> None:
    ends = np.random.RandomState(0).randint(5, 201, 10_000)
    steps = [ends[sequences].sum() for sequences in by_length(ends, 4)]
    assert len(steps) == 4
    assert max(steps) < 1.05 * min(steps)


@pytest.fixture(scope="module")
def narrow() -> Iterator[None]:
    """Threads, blocks and pieces of a row or two: small batches take several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnncli.engine.threads.VALUES", 4)
        patch.setattr("rnncli.engine.threads.WORK", 1)
        # By import_module: the package has the function by that name.
        projected = import_module("rnncli.engine.unroll.projected")
        patch.setattr(projected, "VALUES", 4)
        patch.setattr(projected, "STEPS", 2)
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
@given(case=network_cases(list(CELLS)))
def test_groups_in_threads_give_what_each_sequence_does_alone(case: NetworkCase) -> None:
    options: dict[str, Any] = {"unroll": "stepwise"}
    batch = rnncli.run(case.network, case.x, case.h0, lengths=case.lengths, **options)
    for n, length in enumerate(case.lengths):
        alone = rnncli.run(case.network, case.x[n, :length], case.h0[n], **options)
        assert batch.h[n, :length].tobytes() == alone.h.tobytes()
        assert batch.h_n[n].tobytes() == alone.h_n.tobytes()


@pytest.mark.slow
@pytest.mark.usefixtures("narrow")
@given(case=cases())
def test_every_step_in_threads_and_blocks_is_right(case: Case) -> None:
    options: dict[str, Any] = {"precision": case.precision, "unroll": "projected"}
    states = rnncli.run(case.network, case.x, case.h0, **options).h
    for x, h0, h in zip(case.x, case.h0, states, strict=True):
        assert step_errors(case.cell, x, h0, h, case.precision).max(initial=0) < 0.5
