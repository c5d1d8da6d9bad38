"""Rows that are read many at once are as csv.reader and float read them."""

import os
from collections.abc import Callable
from decimal import Decimal, localcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_fuzz import WHOLE, damaged

from rnncli.readers import Keys, Layout, read_file
from rnncli.readers.input import is_missing, parse_number
from rnncli.readers.plain import Shape, numbers

# .ci/run asks for more.
CASES = int(os.environ.get("RNN_FUZZ_CASES", "300"))
COLUMN = Shape(1, (0,), ",", gaps=False)

# Neither digits, nor quite; too long; halfway between two floats, or close to that.
ODD = (
    "- + . -. +. 5. .5 -.5 +5 -0 -0.0 00012 1.2.3 1..2 --1 -+1 1-2 1/2 1:2",
    "1e5 1E-5 -1.5e+300 1e400 1e 1_0 _1 nan -nan NaN inf -Infinity 0x10 1.0f",
    "١٢ 1² ½ 1\0 \0001 1\x0b \x1c1 1\xa0 \u20281 1é",
    "9007199254740992 9007199254740993 9007199254740995 -9007199254740993 9007199254740993.0",
    "4503599627370496.5 4503599627370497.5 4503599627370497.49 4503599627370497.51",
    "0.500000000000000055511151231257827 1.00000000000000011 0.1234567890123456789012345678901",
    "999999999999999999 1000000000000000000 9999999999999999999 18446744073709551616",
    "99999999.99999999 100000000.000000001 123456789012345678.1 179769313486231570000000000000",
    "0.000000000000000000001 0.0000000000000000000001 0.00000000000000000000001",
    "10000000000000000000000001 0.1000000000000000000000001 00000000000000000000000000000000.5",
    "5e-324 2.5e-324 1.7976931348623157e308 1.7976931348623159e308",
)


@pytest.mark.parametrize(
    "cell", ["", " 1", "1 ", *(cell for line in ODD for cell in line.split(" "))]
)
def test_odd_cells(cell: str) -> None:
    content = f"{cell}\n".encode()
    read = numbers(content, COLUMN)
    expected = parse_number(cell)
    if expected is None or (np.isnan(expected) and not is_missing(cell)):
        assert read is None
    else:
        assert read is not None
        assert read.tobytes() == np.float64(expected).tobytes()


def as_written(random: np.random.RandomState, count: int) -> list[str]:
    values = random.normal(size=count) * 10.0 ** random.randint(-6, 7, count)
    return [f"{value:.{places}f}" for value, places in zip(values, range(count), strict=True)]


def shortest(random: np.random.RandomState, count: int) -> list[str]:
    values = np.frombuffer(random.bytes(8 * count))
    moderate = random.normal(size=count) * 10.0 ** random.randint(-6, 17, count)
    return [repr(value) for value in (*values.tolist(), *moderate.tolist())]


def digits(random: np.random.RandomState, count: int) -> list[str]:
    cells = []
    for length in range(1, count):
        cell = "".join(map(str, random.randint(0, 10, length)))
        point = random.randint(-1, length + 1)
        cell = cell if point < 0 else f"{cell[:point]}.{cell[point:]}"
        cells.append(("", "-", "+")[random.randint(3)] + cell)
    return cells


def halfway(random: np.random.RandomState, count: int) -> list[str]:
    """Between two floats, to as many digits as are read at once."""
    cells = []
    for value in (random.uniform(1, 10, count) * 10.0 ** random.randint(-3, 18, count)).tolist():
        between = (Decimal(value) + Decimal(np.nextafter(value, np.inf))) / 2
        with localcontext(prec=random.randint(16, 19)):
            cells.append(format(+between, "f"))
    return cells


@pytest.mark.parametrize("cells_of", [as_written, shortest, digits, halfway])
@pytest.mark.parametrize("seed", range(CASES // 30))
def test_numbers_are_those_of_python(
    cells_of: Callable[[np.random.RandomState, int], list[str]], seed: int
) -> None:
    random = np.random.RandomState(seed)
    cells = [cell for _ in range(20) for cell in cells_of(random, 24)]
    expected = [parse_number(cell) for cell in cells]
    content = "".join(f"{cell},{cell}\n" for cell in cells).encode()
    read = numbers(content, Shape(2, (1, 0), ",", gaps=False))
    assert read is not None
    assert read[:, 0].tobytes() == np.array(expected, np.float64).tobytes()
    assert read[:, 1].tobytes() == read[:, 0].tobytes()


def outcome(path: Path, block_steps: int, **layout: Any) -> tuple[list[Any], str]:
    """Everything that is read, row by row, and the fault at the end."""
    keys, rows = Keys(), []
    try:
        source = read_file(
            str(path), Layout(np.dtype(np.float32), block_steps=block_steps, **layout), keys
        )
        for block in source.blocks:
            nothing = [None] * len(block.x)
            key = nothing if block.key is None else block.key.tolist()
            held = np.zeros(len(block.x), bool) if block.masked is None else block.masked
            columns = (key, held.tolist(), block.cells or nothing)
            x = [list(map(str, row)) for row in block.x.tolist()]  # nan is not nan
            rows += list(zip(x, *columns, strict=True))
    except ValueError as error:
        return [*rows, *keys.names], str(error)
    return [*rows, *keys.names], ""


LAYOUTS: tuple[dict[str, Any], ...] = (
    {"columns": ("3", "4")},
    {"columns": ("temperature",), "group_by": ("sensor",), "missing": "hold"},
    {"columns": ("humidity",), "passthrough": True, "missing": "zero"},
    {"group_by": ("1", "2"), "passthrough": True, "first_row": "header"},
)
LINE_ENDS = (b"\r\n", b"\n\n", b"\r", b"\n ", b"\n  ")
DELIMITERS = (b", ", b",  ", b";", b"\t", b":", b" ,", b"|", b" ")
SENSORS = (b'"attic"', b'"at, tic"', b'"at\ntic"', b'at"tic', b"  attic", b"\xff", b"\0", b"")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(CASES))
def test_how_many_rows_are_read_at_once_does_not_show(tmp_path: Path, seed: int) -> None:
    """A single row is never read as a plain one."""
    random = np.random.RandomState(seed)
    content = damaged(seed, WHOLE) if seed % 2 else WHOLE
    for mark, others in ((b"attic", SENSORS), (b",", DELIMITERS), (b"\n", LINE_ENDS)):
        if random.randint(2):
            pieces = content.split(mark, random.choice([3, -1]))
            content = others[random.randint(len(others))].join(pieces)
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    layout = LAYOUTS[seed % 4]
    expected = outcome(path, 1, **layout)
    for block_steps in (2, 7, 1000):
        assert outcome(path, block_steps, **layout) == expected


@pytest.mark.parametrize("missing", ["error", "hold", "zero"])
@pytest.mark.parametrize(
    "text",
    [
        "1\n2\n\n3\n4\n5\n6\n",
        "v\n\n1\n \n\nnan\n2\n3\n4\n\n\n",
        "\n\n  1\n 2\n3 \n4",
        "k,v\n" + "x" * 140_000 + ",1\na,2\n",
        "k,v\n" + "ü" * 70_000 + ",1\na,2\n",
        "a,1\nb,-\nc,nan\nd,inf\n",
        "1_0,1\n2,1e39\n3,2\n",
        "5\n6\r",
        "5\n6\r\r",
    ],
)
def test_odd_rows(tmp_path: Path, text: str, missing: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    layout = {"missing": missing, "columns": ("v",) if "v" in text else ()}
    expected = outcome(path, 1, **layout)
    for block_steps in (2, 3, 4, 1000):
        assert outcome(path, block_steps, **layout) == expected
