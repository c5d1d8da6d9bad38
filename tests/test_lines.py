"""Lines are the same however the text comes and however they are taken."""

import io
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncli.model.errors import InputError
from rnncli.readers.text import Lines

TEXTS = st.lists(st.sampled_from(["a", "1,2", "ü", "\u2028", "\n"]), max_size=30)


def expected(text: bytes) -> list[str]:
    """Lines as Python's own text files give them."""
    return list(io.TextIOWrapper(io.BytesIO(text), "utf-8", newline=""))


@pytest.mark.slow
@given(
    text=TEXTS.map(lambda parts: "".join(parts).encode()),
    cuts=st.lists(st.integers(0, 60), max_size=8),
    ways=st.lists(st.sampled_from(["one", "several", "put back"]), max_size=20),
    count=st.integers(1, 4),
)
def test_lines(text: bytes, cuts: list[int], ways: list[str], count: int) -> None:
    bounds = [0, *sorted(cuts), len(text)]
    pieces = [text[start:stop] for start, stop in pairwise(bounds)]
    lines = Lines(filter(None, pieces))
    taken: list[bytes] = []
    for way in ways:
        if way == "one":
            taken.append(next(iter(lines), "").encode())
        elif way == "several":
            several = lines.take(count)
            taken.append(several or b"")
            assert len(expected(several or b"")) <= count
        elif taken:
            lines.put_back(taken.pop())
    before = expected(b"".join(taken))
    assert before + list(lines) == expected(text)


@pytest.mark.parametrize("count", [None, 1, 2, 3])
def test_whole_lines_before_damage_are_returned(count: int | None) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"1\n2"
        yield b"3\n4"
        raise InputError("a.csv", "damaged")

    lines = Lines(pieces())
    taken = lines.take(count) if count else None
    assert taken == {None: None, 1: b"1\n", 2: b"1\n23\n", 3: None}[count]
    rest = iter(lines)
    several = [
        *expected(taken or b""),
        *(next(rest) for _ in range(2 - (taken or b"").count(b"\n"))),
    ]
    assert several == ["1\n", "23\n"]
    with pytest.raises(InputError, match="damaged"):
        next(rest)


def test_a_line_is_returned_before_the_next_is_there() -> None:
    def pieces() -> Iterator[bytes]:
        yield b"1\n"
        raise AssertionError("was waited for")

    assert next(iter(Lines(pieces()))) == "1\n"
