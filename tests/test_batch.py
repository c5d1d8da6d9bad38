"""Batches of unequal lengths, and rows of any order: each once, and every final state."""

from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from networks import Case, NetworkCase, cases, network_cases

import rnncli
from rnncli.engine.interleaved import grouped
from rnncli.engine.rows import Rows
from rnncli.model.arrays import Integers
from rnncli.model.cells import CELLS
from rnncli.verify.steps import step_errors


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
