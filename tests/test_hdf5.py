"""HDF5 by our own parser: what files hold, and what is refused of them, in little memory."""

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hdf5_cases import (
    ATTRIBUTES,
    FILES,
    GROUP_OF_ONE,
    MANY,
    NO_ADDRESS,
    SPACING,
    TEXT,
    VALUES,
    at,
    attribute,
    contiguous,
    dataset,
    header,
    heap,
    in_heap,
    link,
    made,
    node,
    number_type,
    of_class,
    of_symbols,
    space,
    to_node,
    tree,
)

from rnncli.model.errors import InputError
from rnncli.model.formats.containers import hdf5

DATA = Path(__file__).parent / "data" / "hdf5"


def read(content: bytes, *skip: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    return hdf5.read(content, "f.h5", skip)


def check_values(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check every array to the bit, and its type; texts as lists."""
    assert list(found) == sorted(expected)
    for name, array in found.items():
        value = expected[name]
        if isinstance(value, list):
            assert array.tolist() == value, name
        else:
            assert (array.dtype, array.shape) == (value.dtype, value.shape), name
            assert array.tobytes() == value.tobytes(), name


def values_of(name: str) -> dict[str, Any]:
    many = name == "earliest"
    return {key: value for key, value in VALUES.items() if many or not key.startswith(MANY)}


@pytest.mark.parametrize("name", FILES)
def test_values_and_attributes(name: str) -> None:
    arrays, attributes = read((DATA / f"{name}.h5").read_bytes())
    check_values(arrays, values_of(name))
    for path, found in attributes.items():
        expected = ATTRIBUTES.get(path, {})
        assert set(found) == set(expected), path
        for key, value in found.items():
            assert type(value) is type(expected[key]) or isinstance(value, np.generic)
            assert np.array_equal(value, expected[key]), (path, key)


@pytest.mark.parametrize("name", FILES)
def test_groups_that_are_passed_over(name: str) -> None:
    _, attributes = read((DATA / f"{name}.h5").read_bytes(), "layers")
    rest = {each for each in values_of(name) if not each.startswith("layers")}
    assert set(attributes) == {"", "names", *rest} | ({MANY} if name == "earliest" else set())


def test_values_at_odd_addresses() -> None:
    """Products of arrays that are not aligned are slow, and may round otherwise."""
    layout = struct.pack("<BBQQ", 3, 1, 64 + 2 * SPACING + 1, 8)
    arrays, _ = read(made(GROUP_OF_ONE, dataset(layout), b"\0" + struct.pack("<2f", 1, 2)))
    assert arrays["a"].tolist() == [1, 2]
    assert arrays["a"].flags.aligned


def test_files_made_by_hand_are_read() -> None:
    """The files are sound but for the one fault of each case below."""
    found, _ = read(made(GROUP_OF_ONE, dataset(contiguous(2, 8)), struct.pack("<2f", 1, 2)))
    assert found["a"].tolist() == [1, 2]
    texts = attribute(TEXT, space(2), in_heap((2, 1, 2), (0, 0, 0)))
    _, attributes = read(made(header((12, texts)), heap(64, b"", b"bc")))
    assert attributes[""]["n"] == ["bc", ""]
    _, attributes = read(of_symbols(tree(0, 0, to_node(3)), node((4, 4))))
    assert list(attributes) == ["", "abc"]


@pytest.mark.parametrize(
    ("flags", "before"), [(0, b""), (32, bytes(16)), (16, bytes(4)), (48, bytes(20))]
)
def test_what_headers_may_hold(flags: int, before: bytes) -> None:
    """Times, and from how many attributes on they are stored otherwise."""
    root = b"OHDR\2" + bytes([flags | 2]) + before + header(link(b"a", 1))[6:]
    assert list(read(made(root, header()))[1]) == ["", "a"]


def test_a_tree_of_trees() -> None:
    trees = tree(0, 1, to_node(3), to_node(4)), tree(0, 0, to_node(5)), tree(0, 0, to_node(6))
    _, attributes = read(of_symbols(*trees, node((4, 7)), node((5, 8)), header()))
    assert list(attributes) == ["", "abc", "bc"]


def test_text_that_is_not_sound() -> None:
    """Bytes that are not UTF-8 stay; behind what is free in a heap nothing counts."""
    texts = attribute(TEXT, space(), in_heap((2, 1, 1)), b"\xff")
    free = struct.pack("<HHIQHHIQ", 0, 0, 0, 0, 1, 1, 0, 2) + b"no"
    _, attributes = read(made(header((12, texts)), heap(100, b"a\xff") + free))
    assert attributes[""] == {"\udcff": "a\udcff"}


def one(layout: bytes = contiguous(2, 8), *more: Any, **about: Any) -> bytes:
    """Return a file whose only dataset, a, is of such a layout, shape, type and more."""
    return made(GROUP_OF_ONE, dataset(layout, *more, **about))


AXES = struct.pack("<BBBB33Q", 2, 33, 0, 1, *[1] * 33)
FRACTAL_LINKS = struct.pack("<BBQQ", 0, 0, at(1), at(1))
FRACTAL_ATTRIBUTES = struct.pack("<BBHQQ", 0, 1, 9, at(1), at(1))
LONG_MESSAGE = b"OHDR\x02\x02" + struct.pack("<IBHB", 6, 0, 8, 0) + bytes(8)
# What is well formed and not read.
UNREAD: list[tuple[str, bytes]] = [
    ("a superblock of version 4", made(header(), version=4)),
    ("addresses or lengths of other than 8", made(header(), widths=b"\x04\x04")),
    ("a user block", made(header(), base=512)),
    ("messages that objects share", made(header((12, b""), flags=2))),
    ("an attribute of version 4", made(header((12, b"\x04" + bytes(8))))),
    ("types that attributes share", made(header((12, b"\x03\x01" + bytes(7))))),
    *(
        ("a: has a dataset in chunks, compressed or of another", one(layout + bytes(16)))
        for layout in (b"\x02\x01", b"\x04\x02", b"\x03\x00")
    ),
    ("many links or attributes", made(header((2, FRACTAL_LINKS)))),
    ("many links or attributes", made(header((21, FRACTAL_ATTRIBUTES)))),
    ("a superblock of version 1", made(header(), version=1)),
    ("a: has values that were never", one(struct.pack("<BBQQ", 3, 1, NO_ADDRESS, 8))),
    ("a shape of version 3", made(header((12, attribute(shape=b"\x03" + bytes(3)))))),
]
DAMAGED: list[tuple[str, bytes]] = [
    ("does not begin as", b""),
    ("expected 576 bytes, got 575", made(header())[:-1]),
    ("at byte 64", made(b"x")),
    ("longer than the block", made(LONG_MESSAGE)),
    ("8 bytes from byte 576 on", made(header((16, struct.pack("<QQ", at(1), 8))))),
    ("two ways lead to byte 64", made(header((16, struct.pack("<QQ", at(0), 8))))),
    ("a: damaged: two ways lead to byte 64", made(header(link(b"a", 0)))),
    ("a: damaged: is in the file", made(header(link(b"a", 1), link(b"a", 2)), header(), header())),
    ("a: damaged: a dataset without", made(GROUP_OF_ONE, header((8, contiguous(2, 8))))),
    ("expected 4,000,000,000,000,000,000 bytes", one(contiguous(2, 8), space(10**9, 10**9))),
    ("expected 8 bytes, as its shape", one(contiguous(2, 4))),
    ("at most 32 axes", one(contiguous(2, 8), AXES)),
    ("a type of 0 bytes", one(type_=of_class(3, 0))),
    (
        "expected a text of 3 bytes",
        made(header((12, attribute(TEXT, values=in_heap((3, 1, 1))))), heap(64, b"ab")),
    ),
    ("two ways lead to", made(header((12, attribute(TEXT, values=in_heap((3, 0, 1))))))),
    ("expected b'TREE\\x00'", of_symbols(tree(1, 0, to_node(3)))),
    ("two ways lead to byte 1,088", of_symbols(tree(0, 1, to_node(2)))),
    ("subsection not found", of_symbols(tree(0, 0, to_node(3)), node((8, 4)))),
]


@pytest.mark.parametrize(
    "type_",
    [
        *(number_type(bias=126), number_type(size=3), of_class(0, 3), of_class(0, 4)),
        *map(of_class, (5, 6, 8, 15)),
        of_class(9, 16),
    ],
)
def test_values_of_other_types_are_not_read(type_: bytes) -> None:
    (array,) = read(one(type_=type_))[0].values()
    assert (array.dtype, array.shape) == (np.dtype("V1"), (2,))


@pytest.mark.parametrize(
    ("kind", "why", "content"),
    [("has", *each) for each in UNREAD] + [("damaged", *each) for each in DAMAGED],
)
def test_files_that_are_not_read(kind: str, why: str, content: bytes) -> None:
    with pytest.raises(InputError) as error:
        read(content)
    message = str(error.value)
    assert message.startswith("f.h5: ")
    assert kind in message
    assert why in message


def after(*messages: tuple[int, bytes]) -> int:
    """Return the first place behind a root of messages that are as long."""
    return -(-len(header(*messages)) // SPACING)


def one_text(count: int, size: int) -> bytes:
    """Return an attribute of texts that are all the same in the heap."""
    texts = [(12, attribute(TEXT, space(count), in_heap(*[(size, 0, 1)] * count)))]
    place = after(*texts)
    texts = [(12, attribute(TEXT, space(count), in_heap(*[(size, place, 1)] * count)))]
    return made(header(*texts), heap(32 + size, b"x" * size))


def heaps_within_heaps(count: int) -> bytes:
    """Return texts of as many heaps, each of which has all that follow in it."""
    texts = [(12, attribute(TEXT, space(count), in_heap(*[(1, 0, 1)] * count)))]
    first = after(*texts)
    places = [(1, first + number, 1) for number in range(count)]
    heaps = [heap(SPACING * (count - number), b"x") for number in range(count)]
    return made(header((12, attribute(TEXT, space(count), in_heap(*places)))), *heaps)


def shared_values(count: int) -> bytes:
    """Return datasets each of which has all of the file for its values."""
    size = SPACING * count
    links = [link(b"%d" % number, 0) for number in range(count)]
    first = after(*links)
    links = [link(b"%d" % number, first + number) for number in range(count)]
    values = dataset(contiguous(0, size), space(size // 4))
    return made(header(*links), *[values] * count)


# Files that would take far more memory or time than their size calls for.
ENDLESS = {
    "messages": made(header(*[(0, b"")] * 250000)),
    "a text of all others": one_text(2000, 60000),
    "values of all others": shared_values(80),
    "heaps in heaps": heaps_within_heaps(400),
    "paths": made(*(header(link(b"x" * 250, number)) for number in range(1, 400)), header()),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly if n == "messages" else ()) for n in ENDLESS]
)
def test_no_more_is_read_than_there_is(name: str) -> None:
    content = ENDLESS[name]
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="far more than its size"):
            read(content)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20 + 8 * len(content)
