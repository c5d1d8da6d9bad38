"""Columns by ranges and exclusion, and lists of them in both options that name columns."""

import json
from typing import Any

import numpy as np
import pytest
from conftest import Rnn
from hypothesis import given
from hypothesis import strategies as st

from rnncli.model.errors import InputError
from rnncli.readers.columns import choose, separated

JSON = ("--hidden", "1", "--json")
# Names with marks of ranges, of exclusion and of lists in them, none of which means these.
NAMES = ("time", "wind-speed", "wind", "speed", "!x", "a,b", "x y", "7-", "-", "é", "", "0", "10")


def read(run_rnn: Rnn, text: str, *options: str) -> Any:
    """The columns that were read, and the first row of them."""
    document = json.loads(run_rnn("run", *JSON, *options, stdin=text).stdout)
    return document["model"]["columns"], document["steps"][0]["x"]


@st.composite
def choices(draw: st.DrawFn) -> tuple[list[str], list[str], list[int]]:
    """A header, texts that choose some of its columns, and the columns they mean."""
    header = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True))
    width = len(header)
    column = st.integers(0, width - 1)

    def text_of(i: int) -> str:
        name = header[i]
        is_plain = name and "-" not in name and not name.startswith("!") and not name.isdigit()
        return name if is_plain and draw(st.booleans()) else str(i + 1)

    texts, chosen, left_out = [], list[int](), set[int]()
    for first, last in draw(st.lists(st.tuples(column, column), max_size=4)):
        first, last = min(first, last), max(first, last)
        some = set(range(first, last + 1))
        text = text_of(first) if first == last else f"{text_of(first)}-{text_of(last)}"
        if last == width - 1 and first < last and draw(st.booleans()):
            text = f"{text_of(first)}-"
        if text in header and header.index(text) != first:  # the name wins
            continue
        if draw(st.booleans()):
            if f"!{text}" not in header:
                texts.append(f"!{text}")
                left_out |= some
        elif not some & set(chosen):
            texts.append(text)
            chosen += sorted(some)
    return header, texts, [i for i in chosen or range(width) if i not in left_out]


@pytest.mark.slow
@given(choices())
def test_a_choice_is_what_its_parts_mean(case: tuple[list[str], list[str], list[int]]) -> None:
    header, texts, expected = case
    width = len(header)
    if not expected:
        with pytest.raises(InputError, match="no column is left"):
            choose("a.csv", texts, width, header, otherwise=range(width))
        return
    assert choose("a.csv", texts, width, header, otherwise=range(width)) == expected


@given(st.lists(st.text("ab,\"' -!é", min_size=1).filter(str.strip), min_size=1))
def test_a_list_has_the_names_that_were_joined(names: list[str]) -> None:
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    assert list(separated(", ".join(quoted))) == [name.strip() for name in names]


ROW = "time,sensor,humidity,wind,speed\n1,2,3,4,5\n"
LISTS: dict[str, tuple[tuple[str, ...], list[str]]] = {
    "range": (("2-4",), ["sensor", "humidity", "wind"]),
    "range to the end": (("4-",), ["wind", "speed"]),
    "range of one": (("2-2",), ["sensor"]),
    "range of names": (("sensor-wind",), ["sensor", "humidity", "wind"]),
    "from a name": (("wind-",), ["wind", "speed"]),
    "from a name to a number": (("wind-5",), ["wind", "speed"]),
    "all but one": (("!time",), ["sensor", "humidity", "wind", "speed"]),
    "all but some": (("!1-2", "!speed"), ["humidity", "wind"]),
    "some but one": (("2-5,!humidity",), ["sensor", "wind", "speed"]),
    "the order is as given": (("!3,5,1-3",), ["speed", "time", "sensor"]),
    "left out, though never chosen": (("4-,!time",), ["wind", "speed"]),
}


@pytest.mark.parametrize(("lists", "expected"), LISTS.values(), ids=LISTS)
def test_ranges_and_exclusion(run_rnn: Rnn, lists: tuple[str, ...], expected: list[str]) -> None:
    given = [word for text in lists for word in ("--columns", text)]
    columns, x = read(run_rnn, ROW, *given)
    names = ROW.partition("\n")[0].split(",")
    assert columns == expected
    assert x == [names.index(name) + 1 for name in expected]


def test_numbers_are_no_header(run_rnn: Rnn) -> None:
    for text, expected in (("2-3", [2, 3]), ("!1", [2, 3]), ("2-", [2, 3]), ("!2-", [1])):
        assert read(run_rnn, "1,2,3\n4,5,6\n", "--columns", text) == (expected, expected)
    assert read(run_rnn, "1,2\n3,4\n", "--group-by", "1", "--columns", "!1") == ([2], [2])
    words = "mon,1,2\ntue,3,4\n"  # in a column that is not read
    assert read(run_rnn, words, "--columns", "!1") == ([2, 3], [1, 2])


def test_a_name_that_is_there_wins(run_rnn: Rnn) -> None:
    text = "a,2-4,!x,x,4\n1,2,3,4,5\n"
    for columns, expected in (
        ("2-4", [2]),
        ("!x", [3]),
        ("!!x", [1, 2, 4, 5]),
        ("!2-4", [1, 3, 4, 5]),
        ("4", [4]),  # a number is one, as ever
    ):
        assert read(run_rnn, text, "--columns", columns)[1] == expected
    # The names stand in a row that no word tells from data.
    assert read(run_rnn, "2-3,2,3\n4,5,6\n", "--columns", "2-3") == (["2-3"], [4])
    assert read(run_rnn, "1,!2,3\n4,5,6\n", "--columns", "!2") == (["!2"], [5])


def test_names_are_ends_of_a_range_only_where_no_other_way_to_cut_is_there(run_rnn: Rnn) -> None:
    header = "a,b,a-b,b-c,c\n1,2,3,4,5\n"
    assert read(run_rnn, header, "--columns", "a-b") == (["a-b"], [3])
    result = run_rnn("run", *JSON, "--columns", "a-b-c", stdin=header)  # a to b-c, or a-b to c
    assert result.exit_code == 2
    assert "no column 'a-b-c'; there are " in result.stderr


def test_arrays_have_ranges_too(run_rnn: Rnn, tmp_path: Any) -> None:
    np.save(tmp_path / "x.npy", [[1.0, 2.0, 3.0, 4.0]])
    for text, expected in (("2-3", [2, 3]), ("!1", [2, 3, 4]), ("2-,!3", [2, 4])):
        result = run_rnn("run", str(tmp_path / "x.npy"), "--columns", text, *JSON)
        document = json.loads(result.stdout)
        assert document["model"]["columns"] == document["steps"][0]["x"] == expected


KEYED = 'a,b,"a,b",v\n1,2,3,4\n'


@pytest.mark.parametrize(
    ("options", "key"),
    [
        (("--group-by", "a", "--group-by", "b"), {"a": "1", "b": "2"}),
        (("--group-by", "b,a"), {"b": "2", "a": "1"}),
        (("--group-by", "1-2"), {"a": "1", "b": "2"}),
        (("--group-by", '"a,b"'), {"a,b": "3"}),
        (("--group-by", 'b,"a,b"'), {"b": "2", "a,b": "3"}),
        (("--group-by", "a,b"), {"a,b": "3"}),  # the header has it as it stands
    ],
)
def test_keys_of_several_columns(run_rnn: Rnn, options: tuple[str, ...], key: Any) -> None:
    options = (*options, "--columns", "v", "--hidden", "1", "--format", "jsonl")
    assert json.loads(run_rnn("run", *options, stdin=KEYED).stdout)["key"] == key


def test_numbers_of_keys_in_a_list(run_rnn: Rnn) -> None:
    options = ("--group-by", "1,2", "--hidden", "1", "--format", "csv", "--digits", "0")
    assert run_rnn("run", *options, stdin="1,2,0\n").stdout.splitlines()[1].startswith("1,2,1,")
