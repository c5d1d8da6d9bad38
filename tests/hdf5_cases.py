"""The content of ``data/hdf5/earliest.h5``, and HDF5 files made by hand."""

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

Arrays = Mapping[str, np.ndarray[Any, np.dtype[Any]]]
Texts = str | list[str]

NO_ADDRESS = 2**64 - 1

_TABLE = np.arange(6).reshape(2, 3)
VALUES: dict[str, Any] = {
    "layers/lstm/cell/vars/0": _TABLE.astype("<f4") / 7,
    "layers/lstm/cell/vars/1": _TABLE.astype("<f2") / 4,
    "layers/lstm/cell/vars/2": (_TABLE / 7).astype(">f8"),
    "layers/dense/vars/2": np.float32(1.5),
    "layers/dense/vars/3": np.zeros((0, 3), "<f4"),
    "names/one": np.float32(0.5),
    **{f"many/{number:02}": np.float32(number) for number in range(12)},
}
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "": {"keras_version": "3.15.1", "layer_names": ["lstm", "dense"]},
    "layers/lstm/cell/vars": {"name": "lstm"},
    "names": {"fixed": ["a", "bc"], "any": ["", "é", "three"]},
    "many": {f"{number:02}": "x" * number for number in range(40)},
}
# Files made by hand: the superblock, and objects each at its place.
SPACING, START = 512, 96


def at(number: int) -> int:
    """Return the address of an object."""
    return START + SPACING * number


def made(*objects: bytes, version: int = 0, base: int = 0, root: int = 0) -> bytes:
    """Return a file of objects of which the first is the root, if no other is."""
    places = b"".join(each.ljust(slots(each) * SPACING, b"\0") for each in objects)
    fields = struct.pack("<6Q", base, NO_ADDRESS, START + len(places), NO_ADDRESS, 0, at(root))
    start = b"\x89HDF\r\n\x1a\n" + bytes([version, 0, 0, 0, 0, 8, 8]) + bytes(9) + fields
    return start.ljust(START, b"\0") + places


def slots(content: bytes) -> int:
    """Return over how many places an object goes."""
    return -(-len(content) // SPACING)


def header(*messages: tuple[int, bytes], flags: int = 0) -> bytes:
    """Return an object of messages."""
    body = b"".join(struct.pack("<HHB3x", k, len(text), flags) + text for k, text in messages)
    return struct.pack("<BxHII4x", 1, min(len(messages), 65535), 1, len(body)) + body


def group(
    first: int, links: Iterable[tuple[bytes, int]], *messages: tuple[int, bytes]
) -> list[bytes]:
    """Return a group at a place: its header, the names of its links, a tree, and its only node."""
    names, entries = bytes(8), []
    for name, number in links:
        entries.append((len(names), number))
        names += name + b"\0"
    place = first + slots(header(symbols(0, 0), *messages))
    heap = b"HEAP\0\0\0\0" + struct.pack("<QQQ", len(names), 0, at(place) + 32) + names
    leaf = place + slots(heap)
    about = header(symbols(leaf, place), *messages)
    return [about, heap, tree(0, 0, to_node(leaf + 1)), node(*entries)]


def space(*shape: int) -> bytes:
    return struct.pack(f"<BB6x{len(shape)}Q", 1, len(shape), *shape)


def contiguous(number: int, size: int) -> bytes:
    return struct.pack("<BBQQ", 3, 1, at(number), size)


def number_type(size: int = 4, mantissa: int = 23) -> bytes:
    return struct.pack("<BBBBIHHBBBBI", 0x11, 0x20, 31, 0, size, 0, 32, 23, 8, 0, mantissa, 127)


def of_class(kind: int, size: int = 4, bits: int = 0) -> bytes:
    return struct.pack("<BBBBI", 0x10 | kind, bits, 0, 0, size) + bytes(16)


F4 = number_type()
TEXT = of_class(9, 16, 1)[:8]
NEXT = 4  # the number of the first object behind a root of few links


def dataset(
    layout: bytes, shape: bytes = space(2), type_: bytes = F4, *more: tuple[int, bytes]
) -> bytes:
    return header((3, type_), (1, shape), (8, layout), *more)


def attribute(
    type_: bytes = F4, shape: bytes = space(), values: bytes = bytes(4), name: bytes = b"n"
) -> bytes:
    fields = [name + b"\0", type_, shape]
    sizes = map(len, fields)
    aligned = b"".join(each.ljust(-(-len(each) // 8) * 8, b"\0") for each in fields)
    return struct.pack("<BxHHH", 1, *sizes) + aligned + values


def in_heap(*texts: tuple[int, int, int]) -> bytes:
    """Return places of texts: size, object of the heap, number in it."""
    return b"".join(struct.pack("<IQI", size, at(heap), number) for size, heap, number in texts)


def heap(size: int, *texts: bytes) -> bytes:
    objects = b"".join(
        struct.pack("<HHIQ", number, 1, 0, len(text)) + text.ljust(-(-len(text) // 8) * 8, b"\0")
        for number, text in enumerate(texts, start=1)
    )
    return b"GCOL\1\0\0\0" + struct.pack("<Q", size) + objects


def symbols(tree: int, names: int) -> tuple[int, bytes]:
    return 17, struct.pack("<QQ", at(tree), at(names))


def tree(kind: int, level: int, *entries: bytes) -> bytes:
    return b"TREE" + struct.pack("<BBHQQ", kind, level, len(entries), 0, 0) + b"".join(entries)


def node(*entries: tuple[int, int]) -> bytes:
    """Return the links of a group: where a name is, and what it leads to."""
    fields = b"".join(struct.pack("<QQ24x", name, at(number)) for name, number in entries)
    return b"SNOD\1\0" + struct.pack("<H", len(entries)) + fields


def to_node(number: int) -> bytes:
    return struct.pack("<QQ", 0, at(number))


def rooted(links: Iterable[tuple[bytes, int]], *objects: bytes) -> bytes:
    """Return a file whose root is a group of links, and the objects from `NEXT` on."""
    return made(*group(0, links), *objects)


def file_of(arrays: Arrays, attributes: Mapping[str, Mapping[str, Texts]] = {}) -> bytes:
    """Return a file of float32 arrays by their paths, and attributes of groups by theirs."""
    objects: list[bytes] = []

    def add(content: bytes) -> int:
        number = sum(map(slots, objects))
        objects.append(content)
        return number

    def add_group(path: str) -> int:
        if path in arrays:
            values = arrays[path].astype("<f4").tobytes()
            layout = contiguous(add(values), len(values))
            return add(dataset(layout, space(*arrays[path].shape)))
        stem = f"{path}/" if path else ""
        inner = (each.removeprefix(stem) for each in arrays if each.startswith(stem))
        names = dict.fromkeys(each.partition("/")[0] for each in inner)
        links = [(name.encode(), add_group(stem + name)) for name in names]
        texts = [(12, _texts(*each)) for each in attributes.get(path, {}).items()]
        number = sum(map(slots, objects))
        objects.extend(group(number, links, *texts))
        return number

    root = add_group("")
    return made(*objects, root=root)


def _texts(name: str, value: Texts) -> bytes:
    """Return an attribute of a text, or of a list of texts."""
    texts = [each.encode() for each in ([value] if isinstance(value, str) else value)]
    size = max(map(len, texts))
    shape = space() if isinstance(value, str) else space(len(texts))
    values = b"".join(each.ljust(size, b"\0") for each in texts)
    return attribute(of_class(3, size)[:8], shape, values, name.encode())
