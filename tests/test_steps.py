"""Steps of ever fewer rows: each a view of its own rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rnncli.engine.steps import Steps

LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=7).map(lambda n: sorted(n)[::-1])


def packed(lengths: list[int], K: int) -> tuple[Steps, list[list[list[float]]]]:
    """Steps of sequences, and the rows of each as lists."""
    counts = [sum(length > t for length in lengths) for t in range(lengths[0])]
    rows = np.arange(sum(counts) * K, dtype=np.float32).reshape(-1, K)
    parts = np.split(rows, np.cumsum(counts)[:-1])
    if counts[0] == counts[-1]:
        return Steps(rows.reshape(len(counts), -1, K)), [part.tolist() for part in parts]
    return Steps(rows, counts), [part.tolist() for part in parts]


@given(lengths=LENGTHS, K=st.integers(1, 3), data=st.data())
def test_steps_and_parts_of_them(lengths: list[int], K: int, data: st.DataObject) -> None:
    steps, expected = packed(lengths, K)
    assert (len(steps), steps.N) == (lengths[0], len(lengths))
    assert [rows.tolist() for rows in steps] == expected
    start = data.draw(st.integers(0, lengths[0] - 1))
    stop = data.draw(st.integers(start + 1, lengths[0] + 2))
    assert [rows.tolist() for rows in steps[start:stop]] == expected[start:stop]
    even = list(steps.even())
    assert [rows.tolist() for stretch in even for rows in stretch] == expected
    assert len(even) == len(set(lengths))
    for rows in steps:
        rows[...] = -1
    assert (steps.rows == -1).all()  # they were views


@given(lengths=LENGTHS)
def test_the_last_row_is_that_of_the_last_step(lengths: list[int]) -> None:
    steps, expected = packed(lengths, 2)
    last = [expected[length - 1][n] for n, length in enumerate(lengths)]
    assert steps.last().tolist() == last
