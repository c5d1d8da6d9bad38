"""The numbers of keys are those that a dictionary gives, row by row."""

from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncli.model.arrays import Integers
from rnncli.readers import Keys, keyed
from rnncli.readers.keyed import Cells, Key

# Some are alike but for characters that count for nothing elsewhere, or but for their lengths, on
# either side of a word and of the longest cell that is compared as it stands.
MARKS = ["", "a", "é", "\n", '"', "\1", "😀"]
LENGTHS = [0, 0, 0, 6, 7, 8, 30, 62, 63, 64, 200, 1030]
MARK = st.sampled_from(MARKS)
TEXTS = st.builds(lambda a, n, b: a + "x" * n + b, MARK, st.sampled_from(LENGTHS), MARK)
WAYS = st.sampled_from(["texts", "cells", "alike"])
TEXTS |= MARK.map(lambda mark: "y" * 300 + mark)


def cells(texts: Sequence[str]) -> Cells:
    """The texts one after another, with something before, between and behind."""
    encoded = [text.encode() for text in texts]
    stops = np.cumsum([len(text) + 1 for text in encoded], dtype=np.intp)
    sizes = np.array([*map(len, encoded)], np.intp)
    return Cells(b"x" + b",".join(encoded) + b"\n", stops - sizes, stops)


def numbered(keys: Keys, rows: Sequence[Key], how: str) -> Integers:
    """The number of each row, by one of three ways: all words of "alike" are mixed to the same."""
    columns = list(zip(*rows, strict=True))
    if how == "texts":
        return keys.number(*columns)
    with patch.object(keyed, "_GOLDEN", keyed._GOLDEN * np.uint64(how == "cells")):
        return keys.number_cells([*map(cells, columns)])


@given(data=st.data())
def test_keys_are_numbered_as_they_come(data: st.DataObject) -> None:
    key = st.tuples(*[TEXTS] * data.draw(st.integers(1, 3)))
    pool = data.draw(st.lists(key, min_size=1, max_size=12, unique=True))
    known = pool[: data.draw(st.integers(0, len(pool)))]
    keys, expected = Keys(known), {key: number for number, key in enumerate(known)}
    for _ in range(3):
        rows = data.draw(st.lists(st.sampled_from(pool), min_size=1))
        numbers = numbered(keys, rows, data.draw(WAYS))
        assert numbers.tolist() == [expected.setdefault(key, len(expected)) for key in rows]
        assert keys.names == list(expected)


@pytest.mark.parametrize("how", ["texts", "cells"])
@pytest.mark.parametrize("distinct", [1, 300, 5_000, 30_000])
def test_a_table_of_keys_grows(distinct: int, how: str) -> None:
    random = np.random.RandomState(distinct)
    words = [f"{'ab' * random.randint(24)}{i % 97}" for i in range(distinct)]
    pairs = [(words[i], f"{i // 7:x}" * (i % 3)) for i in random.randint(0, distinct, 60_000)]
    pairs[40_000] = ("a" * 49, "")
    keys, expected = Keys([("before", "it")]), {("before", "it"): 0}
    for some in (pairs[:20_000], pairs[20_000:40_000], pairs[40_000:]):
        numbers = numbered(keys, some, how)
        assert numbers.tolist() == [expected.setdefault(pair, len(expected)) for pair in some]
        numbered(keys, [("by", "text")], "texts")
        expected.setdefault(("by", "text"), len(expected))
    assert keys.names == list(expected)
