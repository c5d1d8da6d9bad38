"""HDF5 files, as Keras writes them with h5py: in the earliest version of the format.

Numbers of versions, messages and classes are those of the HDF5 file format specification. A file
is not trusted: each address and size in it has to lie within the file, no block is read twice, and
a budget bounds the memory.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnncli.model.errors import InputError, one_line, shown
from rnncli.model.formats.containers.budget import Budget

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
# Kinds of messages, and kinds that only newer versions of the format have.
_DATASPACE, _DATATYPE, _LAYOUT, _ATTRIBUTE, _CONTINUATION, _SYMBOLS = 1, 3, 8, 12, 16, 17
_NEWER = (2, 6, 21)
# Classes of types.
_FLOAT, _TEXT, _SEQUENCE = 1, 3, 9
_MANTISSAS = {2: 10, 4: 23, 8: 52}  # bits of IEEE 754's floats, by their size
# The position of a text: its size, the address of its heap, its number there.
_IN_HEAP = np.dtype([("size", "<u4"), ("address", "<u8"), ("number", "<u4")])
# Messages, links and texts in a file: less than a second's work.
_MOST_OBJECTS = 200_000


def read(data: bytes, where: str) -> tuple[dict[str, NDArray[Any]], dict[str, dict[str, Any]]]:
    """Read the arrays of a file, and the attributes of each group and array, by path.

    Arrays are views of `data`; one that has no floats is `V1` of its shape. Only attributes of text
    are read. The root's path is empty. Soft links are left out.
    """
    file = _File(data, Budget(where, _MOST_OBJECTS, 2**16 + 3 * len(data)))
    arrays: dict[str, NDArray[Any]] = {}
    attributes: dict[str, dict[str, Any]] = {}
    path = ""
    try:
        waiting = [("", file.root())]
        while waiting:
            path, address = waiting.pop()
            if path in attributes:
                raise ValueError("is in the file twice")
            messages = file.messages(address)
            attributes[path] = dict(file.attributes(messages))
            if _LAYOUT in messages:
                arrays[path] = file.array(messages)
                continue
            tables = [struct.unpack_from("<QQ", each) for each in messages.get(_SYMBOLS, [])]
            links = [link for table in tables for link in file.links(*table)]
            for name, child in sorted(links, reverse=True):
                inner = f"{path}/{name}" if path else name
                file.budget.spend(1, len(inner))
                waiting.append((inner, child))
    except InputError:
        raise
    except (ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
        what = f"damaged, or not as h5py writes it by default: {one_line(error)}"
        raise InputError(f"{where}: {shown(path)}" if path else where, what) from error
    return arrays, attributes


class _File:
    """The blocks of a file."""

    def __init__(self, data: bytes, budget: Budget) -> None:
        self.data, self.budget = data, budget
        self._read: set[int] = set()
        self._heaps: dict[int, dict[int, bytes]] = {}

    def root(self) -> int:
        """Return the address of the root group."""
        start = self.data[:96].ljust(96, b"\0")
        base, root = struct.unpack_from("<24xQ32xQ", start)
        if not start.startswith(_SIGNATURE) or start[8] or start[13:15] != b"\x08\x08" or base:
            raise ValueError(f"a superblock of version {start[8]}, or a user block")
        return int(root)

    def messages(self, address: int) -> dict[int, list[bytes]]:
        """Read the messages of an object."""
        (size,) = struct.unpack_from("<8xI", self._block(address, 16, b"\1\0"))
        messages: dict[int, list[bytes]] = {}
        waiting = [self._block(address + 16, size)]
        while waiting:
            block, start = waiting.pop(0), 0
            while start + 8 <= len(block):
                self.budget.spend()
                kind, size, flags = struct.unpack_from("<HHB", block, start)
                message, start = block[start + 8 : start + 8 + size], start + 8 + size
                if kind in _NEWER or (flags & 2 and kind in (_DATASPACE, _DATATYPE, _ATTRIBUTE)):
                    raise ValueError("messages that objects share, or of a newer version")
                if kind == _CONTINUATION:
                    address, size = struct.unpack_from("<QQ", message)
                    waiting.append(self._block(address, size, b""))
                else:
                    messages.setdefault(kind, []).append(message)
        return messages

    def links(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        """Return the name and the address of each object in a group; the names lie in a heap."""
        size, address = struct.unpack_from("<8xQ8xQ", self._block(heap, 32, b"HEAP"))
        names, trees = self._block(address, size), [tree]
        while trees:
            address = trees.pop()
            level, count = struct.unpack_from("<5xBH", self._block(address, 24, b"TREE\0"))
            block = self._block(address + 24, 16 * count)
            children = [child for (child,) in struct.iter_unpack("<8xQ", block)]
            trees += children if level else []
            for node in [] if level else children:
                (count,) = struct.unpack_from("<6xH", self._block(node, 8, b"SNOD"))
                entries = self._block(node + 8, 40 * count)
                for start, child, kind in struct.iter_unpack("<QQI20x", entries):
                    end = names.index(0, start)
                    self.budget.spend(1, end - start)
                    if kind != 2:  # a soft link
                        yield _decode(names[start:end]), child

    def attributes(self, messages: dict[int, list[bytes]]) -> Iterator[tuple[str, str | list[str]]]:
        """Return the name and the value of each attribute that is text."""
        for message in messages.get(_ATTRIBUTE, []):
            version, *sizes = struct.unpack_from("<BxHHH", message)
            if version != 1:
                raise ValueError(f"an attribute of version {version}")
            fields, start = [], 8
            for size in sizes:
                fields.append(message[start : start + size])
                start += -(-size // 8) * 8
            dtype, shape = _read_dtype(fields[1]), _read_shape(fields[2])
            if dtype.kind == "S" or dtype == _IN_HEAP:
                array = np.ndarray(shape, dtype, message, start)
                self.budget.spend(array.size, array.nbytes)
                values = array.ravel().tolist()
                texts = [_decode(e) if dtype.kind == "S" else self._read_text(*e) for e in values]
                yield _decode(fields[0]), texts if shape else texts[0]

    def array(self, messages: dict[int, list[bytes]]) -> NDArray[Any]:
        """Return the values of a dataset."""
        layout, shape = messages[_LAYOUT][0], _read_shape(messages[_DATASPACE][0])
        dtype = _read_dtype(messages[_DATATYPE][0])
        if dtype.kind != "f":
            return np.broadcast_to(np.zeros((), "V1"), shape)
        if layout[:2] != b"\3\1":
            raise ValueError("a dataset in chunks, or compressed")
        address, size = struct.unpack_from("<QQ", layout, 2)
        content = memoryview(self.data)[address : address + size]
        self.budget.spend(1, len(content))
        # Products of arrays that are not aligned are slow.
        return np.require(np.ndarray(shape, dtype, content), requirements="A")

    def _read_text(self, size: int, address: int, number: int) -> str:
        """Read a text that lies in a heap, under a number."""
        self.budget.spend(0, size)
        if size and address not in self._heaps:
            heap = self._heaps[address] = {}
            (end,) = struct.unpack_from("<8xQ", self._block(address, 16, b"GCOL"))
            block, start = self._block(address, end), 16
            while start + 16 <= end:
                self.budget.spend()
                key, length = struct.unpack_from("<H6xQ", block, start)
                if not key:  # all that follows is free
                    break
                heap[key] = block[start + 16 : start + 16 + length]
                start += 16 + -(-length // 8) * 8
        content = self._heaps[address].get(number, b"") if size else b""
        if len(content) < size:
            raise ValueError(f"expected a text of {size:,} bytes, got {len(content):,}")
        return _decode(content[:size])

    def _block(self, address: int, size: int, signature: bytes | None = None) -> bytes:
        """Read bytes of the structure; a block that has a signature may be read once."""
        if address + size > len(self.data):
            raise ValueError(f"expected {size:,} bytes from byte {address:,} on")
        self.budget.spend(0, size)
        if signature is not None:
            if address in self._read:
                raise ValueError(f"two ways lead to byte {address:,}, or a circle")
            self._read.add(address)
            if not self.data.startswith(signature, address):
                raise ValueError(f"expected {signature!r} at byte {address:,}")
        return self.data[address : address + size]


def _decode(content: bytes) -> str:
    """Return text up to a zero; bytes that are not UTF-8 as `errors.printable` shows them."""
    return content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _read_shape(message: bytes) -> tuple[int, ...]:
    """Read the shape in a message."""
    if message[0] != 1:
        raise ValueError(f"a shape of version {message[0]}")
    return struct.unpack_from(f"<{message[1]}Q", message, 8)


def _read_dtype(message: bytes) -> np.dtype[Any]:
    """Read the type in a message; V1 for one that is not read."""
    kind, size = message[0] & 15, *struct.unpack_from("<4xI", message)
    if not 0 < size < 2**31:
        raise ValueError(f"a type of {size:,} bytes")
    if kind == _FLOAT and message[15] == _MANTISSAS.get(size):
        return np.dtype(f"{'>' if message[1] & 1 else '<'}f{size}")
    if kind == _SEQUENCE and message[1] & 15 == 1 and size == _IN_HEAP.itemsize:
        return _IN_HEAP
    return np.dtype(f"S{size}" if kind == _TEXT else "V1")
