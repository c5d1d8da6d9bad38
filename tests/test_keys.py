"""The numbers of keys are those that a dictionary gives, row by row."""

from hypothesis import given
from hypothesis import strategies as st

from rnncli.readers import Keys

TEXTS = st.text(max_size=3) | st.sampled_from(["", "a", "\0", "\ud800", "x" * 1030])


@given(data=st.data())
def test_keys_are_numbered_as_they_come(data: st.DataObject) -> None:
    key = st.tuples(*[TEXTS] * data.draw(st.integers(1, 3)))
    pool = data.draw(st.lists(key, min_size=1, max_size=12, unique=True))
    known = pool[: data.draw(st.integers(0, len(pool)))]
    keys, expected = Keys(known), {key: number for number, key in enumerate(known)}
    for _ in range(3):
        rows = data.draw(st.lists(st.sampled_from(pool), min_size=1))
        numbers = keys.number(*zip(*rows, strict=True))
        assert numbers.tolist() == [expected.setdefault(key, len(expected)) for key in rows]
        assert keys.names == list(expected)
