"""HDF5 by our own parser: what files hold, and what is refused of them, in little memory."""

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hdf5_cases import (
    ATTRIBUTES,
    NEXT,
    NO_ADDRESS,
    SPACING,
    TEXT,
    VALUES,
    at,
    attribute,
    contiguous,
    dataset,
    file_of,
    header,
    heap,
    in_heap,
    made,
    node,
    number_type,
    of_class,
    rooted,
    slots,
    space,
    symbols,
    to_node,
    tree,
)

from rnncli.model.errors import InputError
from rnncli.model.formats.containers import hdf5

EARLIEST = (Path(__file__).parent / "data" / "hdf5" / "earliest.h5").read_bytes()


def read(content: bytes, *skip: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    return hdf5.read(content, "f.h5", skip)


def test_values_and_attributes() -> None:
    """Every array to the bit, and its type; attributes that are text."""
    arrays, attributes = read(EARLIEST)
    assert list(arrays) == sorted(VALUES)
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (VALUES[name].dtype, VALUES[name].shape), name
        assert array.tobytes() == VALUES[name].tobytes(), name
    assert {path: found for path, found in attributes.items() if found} == ATTRIBUTES


def test_groups_that_are_passed_over() -> None:
    _, attributes = read(EARLIEST, "layers")
    rest = {each for each in VALUES if not each.startswith("layers")}
    assert set(attributes) == {"", "names", "many", *rest}


def one(layout: bytes = contiguous(NEXT + 1, 8), *more: Any, **about: Any) -> bytes:
    """Return a file whose only dataset, a, is of such a layout, shape, type and more."""
    values = struct.pack("<2f", 1, 2)
    return rooted([(b"a", NEXT)], dataset(layout, *more, **about), values + b"\0" + values)


def test_values_at_odd_addresses() -> None:
    """Products of arrays that are not aligned are slow, and may round otherwise."""
    for layout in (contiguous(NEXT + 1, 8), struct.pack("<BBQQ", 3, 1, at(NEXT + 1) + 9, 8)):
        arrays, _ = read(one(layout))
        assert arrays["a"].tolist() == [1, 2]
        assert arrays["a"].flags.aligned


# A root, and names, of a group.
ROOT, NAMES = header(symbols(2, 1)), rooted([(b"abc", 0)])[at(1) : at(2)]


def test_a_tree_of_trees() -> None:
    trees = tree(0, 1, to_node(3), to_node(4)), tree(0, 0, to_node(5)), tree(0, 0, to_node(6))
    objects = *trees, node((8, 7)), node((9, 8)), header(), header()
    _, attributes = read(made(ROOT, NAMES, *objects))
    assert list(attributes) == ["", "abc", "bc"]


def test_text_that_is_not_sound() -> None:
    """Bytes that are not UTF-8 stay; behind what is free in a heap nothing counts."""
    texts = attribute(TEXT, space(2), in_heap((2, 1, 1), (0, 0, 0)), b"\xff")
    free = struct.pack("<HHIQHHIQ", 0, 0, 0, 0, 1, 1, 0, 2) + b"no"
    _, attributes = read(made(header((12, texts)), heap(100, b"a\xff") + free))
    assert attributes[""] == {"\udcff": ["a\udcff", ""]}


AXES = struct.pack("<BB6x99Q", 1, 99, *[1] * 99)
LONG_MESSAGE = struct.pack("<BxHII4xHHB3x", 1, 1, 1, 8, 0, 8, 0)
TEXTS = attribute(TEXT, values=in_heap((3, 1, 1)))
REFUSED: list[tuple[str, bytes]] = [
    # What newer versions write, or other programs.
    ("a superblock of version 2", made(header(), version=2)),
    ("a superblock of version 0", made(header(), widths=b"\x04\x04")),
    ("a user block", made(header(), base=512)),
    ("messages that objects share", made(header((12, b""), flags=2))),
    *(("of a newer version", made(header((kind, bytes(20))))) for kind in (2, 6, 21)),
    ("an attribute of version 3", made(header((12, b"\x03" + bytes(8))))),
    *(
        ("a: damaged, or not as h5py writes it by default: a dataset in chunks", one(layout))
        for layout in (b"\x04\x01" + bytes(16), b"\x03\x02" + bytes(16), b"\x03\x00" + bytes(16))
    ),
    ("expected 8 bytes", one(struct.pack("<BBQQ", 3, 1, NO_ADDRESS, 8))),
    ("a shape of version 2", made(header((12, attribute(shape=b"\x02" + bytes(3)))))),
    # What is damaged.
    ("a superblock", b""),
    ("expected 608 bytes, got 607", made(header())[:-1]),
    ("at byte 96", made(b"x")),
    ("longer than the block", made(LONG_MESSAGE)),
    ("8 bytes from byte 608 on", made(header((16, struct.pack("<QQ", at(1), 8))))),
    ("two ways lead to byte 96", made(header((16, struct.pack("<QQ", at(0), 8))))),
    ("two ways lead to byte 96", rooted([(b"a", 0)])),
    ("a: damaged, or not as h5py", rooted([(b"a", 4), (b"a", 5)], header(), header())),
    ("a dataset without", rooted([(b"a", 4)], header((8, contiguous(5, 8))))),
    ("expected 4,000,000,000,000,000,000 bytes", one(contiguous(5, 8), space(10**9, 10**9))),
    ("expected 8 bytes, as its shape", one(contiguous(5, 4))),
    ("damaged", one(contiguous(5, 8), AXES)),
    ("a type of 0 bytes", one(type_=of_class(3, 0))),
    ("expected a text of 3 bytes", made(header((12, TEXTS)), heap(64, b"ab"))),
    ("two ways lead to byte 1,120", made(ROOT, NAMES, tree(0, 1, to_node(2)))),
    ("expected b'TREE\\x00'", made(ROOT, NAMES, tree(1, 0))),
    ("subsection not found", made(ROOT, NAMES, tree(0, 0, to_node(3)), node((16, 4)))),
]


@pytest.mark.parametrize(("why", "content"), REFUSED)
def test_files_that_are_refused(why: str, content: bytes) -> None:
    with pytest.raises(InputError) as error:
        read(content)
    assert str(error.value).startswith("f.h5: ")
    assert why in str(error.value)


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


def texts_of(*places: tuple[int, int, int]) -> tuple[bytes, int]:
    """Return a root with an attribute of texts, and the first place behind it."""
    root = header((12, attribute(TEXT, space(len(places)), in_heap(*places))))
    return root, slots(root)


def one_text(count: int, size: int) -> bytes:
    """Return an attribute of texts that are all the same in the heap."""
    _, place = texts_of(*[(size, 0, 1)] * count)
    return made(texts_of(*[(size, place, 1)] * count)[0], heap(32 + size, b"x" * size))


def heaps_within_heaps(count: int) -> bytes:
    """Return texts of as many heaps, each of which has all that follow in it."""
    _, first = texts_of(*[(1, 0, 1)] * count)
    root, _ = texts_of(*((1, first + number, 1) for number in range(count)))
    return made(root, *(heap(SPACING * (count - number), b"x") for number in range(count)))


def shared_values(count: int) -> bytes:
    """Return datasets each of which has all of the file for its values."""
    size = SPACING * count
    first = len(rooted([(b"%d" % n, 0) for n in range(count)])) // SPACING
    links = [(b"%d" % number, first + number) for number in range(count)]
    return rooted(links, *[dataset(contiguous(0, size), space(size // 4))] * count)


# Files that would take far more memory or time than their size calls for.
ENDLESS = {
    "messages": made(header(*[(0, b"")] * 250000)),
    "a text of all others": one_text(2000, 60000),
    "values of all others": shared_values(80),
    "heaps in heaps": heaps_within_heaps(400),
    "paths": file_of({"/".join(["x" * 250] * 300): np.zeros(1)}),
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
