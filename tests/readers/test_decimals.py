"""Numbers in text that array operations read: those of `float`, to the bit."""

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from conftest import NIGHTLY
from hypothesis import given
from hypothesis import strategies as st

from rnncli.model.arrays import Doubles
from rnncli.model.errors import InputError
from rnncli.readers import read_file
from rnncli.readers.decimals import read_decimals
from rnncli.readers.fields import find_fields, read_words
from rnncli.readers.input import Keys, Layout

# Two points in different words, 23 decimals, and numbers of one word beside those of three.
ODD = "1.23456789.1 12.345678.91234567 1.2345678901234567.8 .00000000000000000000001 . - -. 1-2"


def numbers(random: np.random.Generator, kind: str, count: int) -> list[str]:
    normal, digits = random.standard_normal(count), random.integers(0, 18, count)
    if kind == "float64":
        return [*map(repr, normal.tolist())]
    if kind == "float32":
        return [*map(str, normal.astype(np.float32))]
    if kind == "fixed":
        scaled = normal * 10.0 ** random.integers(-3, 9, count)
        return [f"{x:.{n}f}" for x, n in zip(scaled, digits, strict=True)]
    if kind == "integers":
        return [*map(str, random.integers(-(10**18), 10**18, count))]
    if kind == "halfway":
        odd = (2 * random.integers(2**52, 2**53, count) + 1).tolist()
        return [str(Decimal(n) / 2 ** (n // 2 % 4)) for n in odd]
    pairs = zip(normal.tolist(), np.nextafter(normal, np.inf).tolist(), strict=True)
    return [str((Decimal(a) + Decimal(b)) / 2)[: 17 + n % 4] for n, (a, b) in enumerate(pairs)]


@pytest.mark.parametrize("kind", ["float64", "float32", "fixed", "integers", "halfway", "near"])
def test_values_equal_float(kind: str) -> None:
    count = 1_000_000 if NIGHTLY else 40_000
    fields = [*numbers(np.random.default_rng(1), kind, count), *ODD.split()[3:4]]
    # `float` reads what lies halfway.
    check(fields, [*map(float, fields)], most_slow=1 if kind == "halfway" else 0.3)


@given(st.lists(st.text("0123456789.-", max_size=26) | st.sampled_from(ODD.split()), min_size=1))
def test_fields_of_digits_points_and_signs(fields: list[str]) -> None:
    check(fields, [value_of(field) for field in fields])


def value_of(field: str) -> float:
    try:
        return float(field or "nan")
    except ValueError:
        return np.inf


def check(fields: list[str], values: list[float], most_slow: float = 1) -> None:
    """The fields that are not plain are infinite."""
    for decimal in ".,":
        text = (";".join(fields) + "\n").encode().replace(b".", decimal.encode())
        bounds = find_fields(text, ";", len(fields))
        assert bounds
        starts, ends = (each.ravel() for each in bounds)
        slow = list[str]()

        def parse(texts: list[str], slow: list[str] = slow) -> Doubles:
            slow += texts
            return np.array([value_of(text.replace(",", ".")) for text in texts])

        found = read_decimals(text, starts, ends, parse, decimal)
        assert found is not None
        expected = np.array(values)
        assert found.tobytes() == expected.tobytes(), np.flatnonzero(found != expected)
        assert len(slow) <= most_slow * len(fields)


LINES = ['{"a": %s, "b.1": [%s, 2]}', "[%s,%s]", '{"t": 1, "x": %s , "\u00e9": %s}']
WRONG = ["01", "1.", ".5", "-01", "-.5", "+1", "1_0", "00", "-", "0x1", "1e", "", "1.5.5", "1 2"]


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_number_in_json_is_an_error_at_its_line(
    tmp_path: Path, line: str, wrong: str
) -> None:
    """Even in a column that is not chosen, and if Python reads it."""
    path = tmp_path / "x.jsonl"
    path.write_text("".join(line % (n, wrong if n == 70 else -n / 8) + "\n" for n in range(99)))
    blocks = read_file(str(path), Layout(np.dtype("f8"), columns=["1"]), Keys()).blocks
    assert len(next(blocks).x) == 70
    with pytest.raises(InputError, match=r"x\.jsonl:71: not JSON"):
        next(blocks)


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("number", ["0", "-0", "0.5", "-0.25", "1e3", "1E-2", "-0e1", "null"])
def test_numbers_of_json(tmp_path: Path, line: str, number: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text("".join(line % (n, number if n % 7 else 1) + "\n" for n in range(99)))
    layout = Layout(np.dtype("f8"), missing="zero", columns=["2" if "t" not in line else "3"])
    x = np.concatenate([rows.x for rows in read_file(str(path), layout, Keys()).blocks])
    value = json.loads(number) or 0
    assert x[:, 0].tolist() == [value if n % 7 else 1 for n in range(99)]


@given(st.lists(st.text("ab\u20ac ", max_size=9), min_size=1, max_size=99), st.integers(1, 9))
def test_keys_are_numbered_as_they_come(keys: list[str], at_once: int) -> None:
    """Blanks before a key are not part of it; words are those of UTF-8."""
    right, by_words = Keys(), Keys()
    for start in range(0, len(keys), at_once):
        some = keys[start : start + at_once]
        text = "".join(f"{key}\n" for key in some).encode()
        bounds = find_fields(text, "\n", 1)
        assert bounds
        words = read_words(text, *(each[:, 0] for each in bounds))
        expected = right.number([key.lstrip(" ") for key in some])
        if words is None:
            assert max(len(key.encode()) for key in some) > 16
            by_words.number([key.lstrip(" ") for key in some])
        else:
            found = by_words.number_words(words)
            assert found is not None
            assert found.tolist() == expected.tolist()
        assert by_words.names == right.names
