"""HDF5 by our own parser: what files hold, and what is refused of them, in little memory."""

import struct
from pathlib import Path
from typing import Any

import hdf5_cases as h5
import numpy as np
import pytest
from engine.test_costs import peak_of

from rnncli.model.errors import InputError
from rnncli.model.formats.containers import hdf5

EARLIEST = (Path(__file__).parents[1] / "data" / "hdf5" / "earliest.h5").read_bytes()


def read(content: bytes) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    return hdf5.read(content, "f.h5")


def test_values_and_attributes() -> None:
    """Every array to the bit, and its type; attributes that are text."""
    arrays, attributes = read(EARLIEST)
    assert list(arrays) == sorted(h5.VALUES)
    for name, array in arrays.items():
        assert (array.dtype, array.shape) == (h5.VALUES[name].dtype, h5.VALUES[name].shape), name
        assert array.tobytes() == h5.VALUES[name].tobytes(), name
    assert {path: found for path, found in attributes.items() if found} == h5.ATTRIBUTES


def one(layout: bytes = h5.contiguous(h5.NEXT + 1, 8), *more: Any, **about: Any) -> bytes:
    """Return a file whose only dataset, a, is of such a layout, shape, type and more."""
    values = struct.pack("<2f", 1, 2)
    return h5.rooted([(b"a", h5.NEXT)], h5.dataset(layout, *more, **about), values + b"\0" + values)


def test_values_at_odd_addresses() -> None:
    """Products of arrays that are not aligned are slow, and may round otherwise."""
    for layout in (
        h5.contiguous(h5.NEXT + 1, 8),
        struct.pack("<BBQQ", 3, 1, h5.at(h5.NEXT + 1) + 9, 8),
    ):
        arrays, _ = read(one(layout))
        assert arrays["a"].tolist() == [1, 2]
        assert arrays["a"].flags.aligned


# A root, and names, of a group.
ROOT, NAMES = h5.header(h5.symbols(2, 1)), h5.rooted([(b"abc", 0)])[h5.at(1) : h5.at(2)]


def test_a_tree_of_trees() -> None:
    trees = (
        h5.tree(0, 1, h5.to_node(3), h5.to_node(4)),
        h5.tree(0, 0, h5.to_node(5)),
        h5.tree(0, 0, h5.to_node(6)),
    )
    objects = *trees, h5.node((8, 7)), h5.node((9, 8)), h5.header(), h5.header()
    _, attributes = read(h5.made(ROOT, NAMES, *objects))
    assert list(attributes) == ["", "abc", "bc"]


def test_text_that_is_not_sound() -> None:
    """Bytes that are not UTF-8 stay; behind what is free in a heap nothing counts."""
    texts = h5.attribute(h5.TEXT, h5.space(2), h5.in_heap((2, 1, 1), (0, 0, 0)), b"\xff")
    free = struct.pack("<HHIQHHIQ", 0, 0, 0, 0, 1, 1, 0, 2) + b"no"
    _, attributes = read(h5.made(h5.header((12, texts)), h5.heap(100, b"a\xff") + free))
    assert attributes[""] == {"\udcff": ["a\udcff", ""]}


AXES = struct.pack("<BB6x99Q", 1, 99, *[1] * 99)
TEXTS = h5.attribute(h5.TEXT, values=h5.in_heap((3, 1, 1)))
REFUSED: list[tuple[str, bytes]] = [
    # What newer versions write, or other programs.
    ("a superblock of version 2", h5.made(h5.header(), version=2)),
    ("a user block", h5.made(h5.header(), base=512)),
    ("messages that objects share", h5.made(h5.header((12, b""), flags=2))),
    *(("of a newer version", h5.made(h5.header((kind, bytes(20))))) for kind in (2, 6, 21)),
    ("an attribute of version 3", h5.made(h5.header((12, b"\x03" + bytes(8))))),
    *(
        ("a: damaged, or not as h5py writes it by default: a dataset in chunks", one(layout))
        for layout in (b"\x04\x01" + bytes(16), b"\x03\x02" + bytes(16), b"\x03\x00" + bytes(16))
    ),
    ("a shape of version 2", h5.made(h5.header((12, h5.attribute(shape=b"\x02" + bytes(3)))))),
    # What is damaged.
    ("a superblock", b"x" + h5.made(h5.header())[1:]),
    ("16 bytes from byte 96 on", h5.made(h5.header())[:104]),
    ("a: damaged, or not as h5py", h5.rooted([(b"a", 4), (b"a", 5)], h5.header(), h5.header())),
    ("a: damaged", h5.rooted([(b"a", 4)], h5.header((8, h5.contiguous(5, 8))))),
    ("too small for requested array", one(h5.contiguous(5, 8), h5.space(10**9, 10**9))),
    ("too small for requested array", one(h5.contiguous(5, 4))),
    ("damaged", one(h5.contiguous(5, 8), AXES)),
    ("a type of 0 bytes", one(type_=h5.of_class(3, 0))),
    ("expected a text of 3 bytes", h5.made(h5.header((12, TEXTS)), h5.heap(64, b"ab"))),
    ("two ways lead to byte 1,120", h5.made(ROOT, NAMES, h5.tree(0, 1, h5.to_node(2)))),
    ("subsection not found", h5.made(ROOT, NAMES, h5.tree(0, 0, h5.to_node(3)), h5.node((16, 4)))),
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
        *(h5.number_type(mantissa=7), h5.number_type(size=3), h5.of_class(0, 3), h5.of_class(0, 4)),
        *map(h5.of_class, (5, 6, 8, 15)),
        h5.of_class(9, 16),
    ],
)
def test_values_of_other_types_are_not_read(type_: bytes) -> None:
    (array,) = read(one(type_=type_))[0].values()
    assert (array.dtype, array.shape) == (np.dtype("V1"), (2,))


def texts_of(*places: tuple[int, int, int]) -> tuple[bytes, int]:
    """Return a root with an attribute of texts, and the first place behind it."""
    root = h5.header((12, h5.attribute(h5.TEXT, h5.space(len(places)), h5.in_heap(*places))))
    return root, h5.slots(root)


def one_text(count: int, size: int) -> bytes:
    """Return an attribute of texts that are all the same in the heap."""
    _, place = texts_of(*[(size, 0, 1)] * count)
    return h5.made(texts_of(*[(size, place, 1)] * count)[0], h5.heap(32 + size, b"x" * size))


def heaps_within_heaps(count: int) -> bytes:
    """Return texts of as many heaps, each of which has all that follow in it."""
    _, first = texts_of(*[(1, 0, 1)] * count)
    root, _ = texts_of(*((1, first + number, 1) for number in range(count)))
    return h5.made(root, *(h5.heap(h5.SPACING * (count - number), b"x") for number in range(count)))


def shared_values(count: int) -> bytes:
    """Return datasets each of which has all of the file for its values."""
    size = h5.SPACING * count
    first = len(h5.rooted([(b"%d" % n, 0) for n in range(count)])) // h5.SPACING
    links = [(b"%d" % number, first + number) for number in range(count)]
    return h5.rooted(links, *[h5.dataset(h5.contiguous(0, size), h5.space(size // 4))] * count)


# Files that would take far more memory or time than their size calls for.
ENDLESS = {
    "messages": h5.made(h5.header(*[(0, b"")] * 250000)),
    "a text of all others": one_text(2000, 60000),
    "values of all others": shared_values(80),
    "heaps in heaps": heaps_within_heaps(400),
    "paths": h5.file_of({"/".join(["x" * 250] * 300): np.zeros(1)}),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.nightly if n == "messages" else ()) for n in ENDLESS]
)
def test_no_more_is_read_than_the_file_has(name: str) -> None:
    content = ENDLESS[name]

    def refuse() -> None:
        with pytest.raises(InputError, match="far more than its size"):
            read(content)

    assert peak_of(refuse) < 2**20 + 8 * len(content)
