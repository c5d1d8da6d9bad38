"""The numbers of keys are those that a dictionary gives, row by row."""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncli.model.arrays import Integers
from rnncli.readers import Keys, Layout, read_files
from rnncli.readers.keyed import Cells

Key = tuple[str, ...]
# Some are alike but for characters that count for nothing elsewhere, or but for their lengths, on
# either side of a word and of the longest cell that is compared as it stands.
MARKS = ["", "a", "é", "\n", '"', "\0", "\0\0", "\ud800"]
LENGTHS = [0, 0, 0, 6, 7, 8, 30, 126, 127, 128, 200, 1030]
MARK = st.sampled_from(MARKS)
TEXTS = st.builds(lambda a, n, b: a + "x" * n + b, MARK, st.sampled_from(LENGTHS), MARK)


def cells(texts: Sequence[str]) -> Cells:
    """The texts one after another, with something before, between and behind."""
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    stops = np.cumsum([len(text) + 1 for text in encoded], dtype=np.intp)
    sizes = np.array([*map(len, encoded)], np.intp)
    return Cells(b"x" + b",".join(encoded) + b"\n", stops - sizes, stops)


def numbered(keys: Keys, rows: Sequence[Key], how: str) -> Integers:
    """The number of each row, by one of three ways."""
    columns = list(zip(*rows, strict=True))
    if how == "texts":
        return keys.number(*columns)
    if how == "cells":
        return keys.number_cells([*map(cells, columns)])
    coded = []
    for column in columns:
        texts = ["of no row", *column]  # every second row has a code of its own
        codes = [row if row % 2 else texts.index(texts[row]) for row in range(1, len(texts))]
        coded.append(Cells.of(texts).cut(codes))
    return keys.number_cells(coded)


@pytest.mark.slow
@given(data=st.data())
def test_keys_are_numbered_as_they_come(data: st.DataObject) -> None:
    """In any turn, and after the keys of an earlier run."""
    key = st.tuples(*[TEXTS] * data.draw(st.integers(1, 3)))
    pool = data.draw(st.lists(key, min_size=1, max_size=12, unique=True))
    known = pool[: data.draw(st.integers(0, len(pool)))]
    keys, expected = Keys(known), {key: number for number, key in enumerate(known)}
    for _ in range(3):
        rows = data.draw(st.lists(st.sampled_from(pool), min_size=1))
        numbers = numbered(keys, rows, data.draw(st.sampled_from(["texts", "cells", "codes"])))
        assert numbers.tolist() == [expected.setdefault(key, len(expected)) for key in rows]
        assert keys.names == list(expected)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["texts", "cells"])
@pytest.mark.parametrize("distinct", [1, 300, 5_000, 30_000])
def test_a_table_of_keys_grows(distinct: int, how: str) -> None:
    """With keys that follow others in the table, and longer ones than those before."""
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


def test_files_with_and_without_quotes_share_the_keys(tmp_path: Path) -> None:
    """Rows without quotes are looked up in the table, the others one by one."""
    plain, quoted = "k,v\nb,1\na,1\nb,1\n", 'k,v\nc,1\n"a",1\n"d",1\n'
    paths = [tmp_path / f"{i}.csv" for i in range(4)]
    for path, text in zip(paths, (plain, quoted, plain, quoted), strict=True):
        path.write_text(text)
    keys = Keys([("d",)])
    layout = Layout(np.dtype(np.float32), group_by=("k",))
    numbers = [
        rows.key.tolist()
        for rows in read_files([*map(str, paths)], layout, keys).blocks
        if rows.key is not None
    ]
    assert [*chain(*numbers)] == [1, 2, 1, 3, 2, 0] * 2
    assert keys.names == [("d",), ("b",), ("a",), ("c",)]
