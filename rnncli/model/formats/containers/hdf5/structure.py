"""What stands around the values in HDF5: headers of objects, groups, heaps of texts."""

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

# Kinds of messages.
DATASPACE, LINKS, DATATYPE, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 6, 7, 8
ATTRIBUTE, ATTRIBUTES = 12, 21
_CONTINUATION, _SYMBOLS = 16, 17
# The messages of an object, by their kinds.
Messages = dict[int, list[bytes]]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
NO_ADDRESS = 2**64 - 1
# Kind of the trees of groups.
_GROUP = 0
# Kind of an entry in a group that leads on by a name.
_SOFT_LINK = 2

# Messages, entries and texts in a file: less than a second's work. An object takes about ten.
_MOST_ITEMS = 200_000
# Bytes of the structure and of texts: as many as the file has for each, but no more than this.
_LEAST_BYTES, _MOST_BYTES = 2**16, 2**25


class UnknownError(ValueError):
    """A part of HDF5 that is not read."""


class Source:
    """An HDF5 file: what is read of its structure is checked and counted.

    Whatever a method raises for a damaged file is a ValueError, an IndexError,
    an OverflowError or a `struct.error`.

    Parameters
    ----------
    file : binary file
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self._items_left = _MOST_ITEMS
        self._bytes_left = min(_LEAST_BYTES + 2 * self.size, _MOST_BYTES)
        self._values_left = self.size
        self._visited: set[int] = set()
        self._heaps: dict[int, dict[int, bytes]] = {}

    def spend(self, size: int = 0, items: int = 1) -> None:
        """Count items of the structure, and the bytes that they take."""
        self._items_left -= items
        self._bytes_left -= size
        if self._items_left < 0:
            raise UnknownError(f"over {_MOST_ITEMS:,} messages, links and texts")
        if self._bytes_left < 0:
            raise ValueError("its groups, attributes and texts take more than a file of its size")

    def claim(self, address: int, size: int) -> None:
        """Refuse values that do not lie in the file, or share their place with others."""
        self._check(address, size)
        self._values_left -= size
        if self._values_left < 0:
            raise ValueError("its datasets take more than the file, so that some overlap")

    def take(self, address: int, size: int) -> bytes:
        """Read bytes that must be there."""
        self._check(address, size)
        self._file.seek(address)
        content = self._file.read(size)
        if len(content) < size:
            raise ValueError("became shorter while it was read")
        return content

    def root(self) -> int:
        """Return the address of the root group."""
        block = self._block(0, min(self.size, 96))
        if not block.startswith(_SIGNATURE):
            raise ValueError("does not begin as an HDF5 file")
        version = block[8]
        if version > 3:
            raise UnknownError(f"a superblock of version {version}")
        start = (24, 28, 12, 12)[version]
        widths = block[13:15] if version < 2 else block[9:11]
        if widths != b"\x08\x08":
            raise UnknownError("addresses or lengths of other than 8 bytes")
        base, _, end, root = struct.unpack_from("<4Q", block, start)
        if version < 2:  # the root is an entry as in a group: its name, its address
            root = struct.unpack_from("<Q", block, start + 40)[0]
        if base:
            raise UnknownError("a user block")
        if end > self.size:
            raise ValueError(f"cut short: expected {end:,} bytes, got {self.size:,}")
        return int(root)

    def messages(self, address: int) -> Messages:
        """Read the messages of an object."""
        self._visit(address)
        start = self._block(address, 16)
        newer = start.startswith(b"OHDR")
        if newer:
            place, size = self._newer_messages(address, start[5])
            form = struct.Struct("<BHB2x" if start[5] & 4 else "<BHB")
        elif start[0] == 1:
            place, size = address + 16, struct.unpack_from("<I", start, 8)[0]
            form = struct.Struct("<HHB3x")
        else:
            raise ValueError(f"expected the header of an object at byte {address:,}")
        messages: Messages = {}
        waiting = [self._block(place, size)]
        while waiting:
            for kind, message in self._split(waiting.pop(0), form):
                if kind == _CONTINUATION:
                    place, size = struct.unpack_from("<QQ", message)
                    signature = b"OCHK" if newer else b""
                    block = self._signed(place, signature, size)
                    waiting.append(block[4:-4] if newer else block)  # a checksum ends it
                else:
                    messages.setdefault(kind, []).append(message)
        return messages

    def links(self, messages: Messages) -> Iterator[tuple[str, int]]:
        """Return the name and the address of each thing in a group."""
        for message in messages.get(LINKS, []):
            if struct.unpack_from("<Q", message, 10 if message[1] & 1 else 2)[0] != NO_ADDRESS:
                raise UnknownError("a group whose links are in a fractal heap")
        for message in messages.get(LINK, []):
            yield from _link(message)
        for message in messages.get(_SYMBOLS, []):
            tree, heap = struct.unpack_from("<QQ", message)
            size, place = struct.unpack_from("<Q8xQ", self._signed(heap, b"HEAP", 32), 8)
            names = self._block(place, size)
            for node in self._leaves(tree):
                yield from self._symbols(node, names)

    def _leaves(self, address: int) -> Iterator[int]:
        """Return the addresses of the nodes in the tree of a group."""
        waiting = [address]
        while waiting:
            place = waiting.pop()
            found, level, count = struct.unpack_from("<4xBBH", self._signed(place, b"TREE", 24))
            if found != _GROUP:
                raise ValueError(f"expected the tree of a group, got kind {found}")
            block = self._block(place + 24, 16 * count)
            children = [child for (child,) in struct.iter_unpack("<8xQ", block)]
            if level:
                waiting += children
            else:
                self.spend(items=count)
                yield from children

    def text(self, size: int, address: int, number: int) -> str:
        """Read a text that lies in a heap, under a number."""
        self.spend(size)
        if not size:
            return ""
        if address not in self._heaps:
            self._heaps[address] = dict(self._heap(address))
        content = self._heaps[address].get(number, b"")
        if len(content) < size:
            raise ValueError(f"expected a text of {size:,} bytes, got {len(content):,}")
        return as_text(content[:size])

    def _check(self, address: int, size: int) -> None:
        """Refuse bytes that do not lie in the file."""
        if address + size > self.size:
            what = f"expected {size:,} bytes from byte {address:,} on"
            raise ValueError(f"{what}, got {self.size:,} in all")

    def _visit(self, address: int) -> None:
        """Refuse what was met before."""
        if address in self._visited:
            raise ValueError(f"two ways lead to byte {address:,}, or a circle")
        self._visited.add(address)

    def _block(self, address: int, size: int) -> bytes:
        """Read bytes of the structure."""
        self.spend(size)
        return self.take(address, size)

    def _signed(self, address: int, signature: bytes, size: int) -> bytes:
        """Read a block that begins with a signature, for the only time."""
        self._visit(address)
        block = self._block(address, size)
        if not block.startswith(signature):
            raise ValueError(f"expected {signature.decode()} at byte {address:,}")
        return block

    def _newer_messages(self, address: int, flags: int) -> tuple[int, int]:
        """Return where the messages of an object of version 2 start, and their size."""
        place = address + 6 + (16 if flags & 32 else 0) + (4 if flags & 16 else 0)
        width = 1 << (flags & 3)
        return place + width, int.from_bytes(self._block(place, width), "little")

    def _split(self, block: bytes, form: struct.Struct) -> Iterator[tuple[int, bytes]]:
        """Split a block into messages; return the kind of each, and what it says."""
        place = 0
        while place + form.size <= len(block):
            self.spend()
            kind, size, flags = form.unpack_from(block, place)
            place += form.size
            if place + size > len(block):
                raise ValueError("a message is longer than the block that it stands in")
            if flags & 2 and kind in (DATASPACE, DATATYPE, ATTRIBUTE):
                raise UnknownError("messages that objects share")
            yield kind, block[place : place + size]
            place += size

    def _symbols(self, address: int, names: bytes) -> Iterator[tuple[str, int]]:
        """Return the links in a node of a group."""
        (count,) = struct.unpack_from("<6xH", self._signed(address, b"SNOD", 8))
        for start, child, kind in struct.iter_unpack(
            "<QQI20x", self._block(address + 8, 40 * count)
        ):
            end = names.find(0, start)
            if end < 0:
                raise ValueError("a name without an end")
            self.spend(end - start)
            if kind != _SOFT_LINK:
                yield as_text(names[start:end]), child

    def _heap(self, address: int) -> Iterator[tuple[int, bytes]]:
        """Return the number and the content of each object in a heap of texts."""
        (size,) = struct.unpack_from("<8xQ", self._signed(address, b"GCOL", 16))
        block = self._block(address, size)
        place = 16
        while place + 16 <= size:
            self.spend()
            number, length = struct.unpack_from("<H6xQ", block, place)
            if not number:  # all that follows is free
                return
            place += 16
            yield number, block[place : place + length]
            place += -(-length // 8) * 8


def as_text(content: bytes) -> str:
    """Return text up to a zero; bytes that are not UTF-8 as `errors.printable` shows them."""
    return content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _link(message: bytes) -> Iterator[tuple[str, int]]:
    """Return the link that a message holds, unless it is a soft one or leads to another file."""
    flags, place = message[1], 2
    if flags & 8:
        if message[place]:
            return
        place += 1
    place += (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
    width = 1 << (flags & 3)
    size = int.from_bytes(message[place : place + width], "little")
    place += width
    (address,) = struct.unpack_from("<Q", message, place + size)
    yield as_text(message[place : place + size]), address
