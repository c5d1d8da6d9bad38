"""The numbers of keys."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncli.readers import Keys

TEXTS = st.lists(st.text(max_size=3), min_size=1, max_size=9, unique=True)


@pytest.mark.slow
@given(data=st.data())
def test_coded_keys_are_numbered_as_they_come(data: st.DataObject) -> None:
    """Over several calls, with texts of no row, and after the keys of an earlier run."""
    width = data.draw(st.integers(1, 3))
    known = data.draw(st.lists(st.tuples(*[st.text(max_size=1)] * width), unique=True, max_size=3))
    keys, expected = Keys(known), {key: number for number, key in enumerate(known)}
    for _ in range(2):
        texts = [data.draw(TEXTS) for _ in range(width)]
        rows = data.draw(st.lists(st.tuples(*(st.integers(0, len(of) - 1) for of in texts))))
        codes = np.array(rows, np.intp).reshape(-1, width).T
        numbers = keys.number_coded(list(zip(codes, texts, strict=True)))
        each = [tuple(of[i] for of, i in zip(texts, row, strict=True)) for row in rows]
        assert numbers.tolist() == [expected.setdefault(key, len(expected)) for key in each]
        assert keys.names == list(expected)


def test_many_texts_in_each_column() -> None:
    """More pairs than there could be a place for."""
    texts = [str(i) for i in range(3_000)]
    codes = np.random.RandomState(5).randint(0, len(texts), (3, 5_000))
    keys = Keys()
    numbers = keys.number_coded([(each, texts) for each in codes])
    assert [keys.names[number] for number in numbers] == list(
        zip(*([texts[i] for i in each] for each in codes.tolist()), strict=True)
    )
    assert len(set(keys.names)) == len(keys.names)
