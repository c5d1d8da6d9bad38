"""Blocks that a thread reads while those before them are computed and written.

NumPy lets go of Python's lock within a call, and to read text as numbers
takes a few long ones.
"""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from queue import Empty, Queue
from threading import Event, Thread

from rnncli.engine.rows import Rows

# Blocks that are read before a thread starts: a short input has no more.
_WITHOUT = 2


def ahead(blocks: Iterator[Rows]) -> Iterator[Rows]:
    """Pass blocks on; after the first ones a thread reads the next, one ahead.

    It may not wait for an input that takes its time: a thread cannot be
    interrupted. Where the system has no thread left, each block is read when
    it is asked for.
    """
    yield from islice(blocks, _WITHOUT)
    block = next(blocks, None)
    if block is None:
        return
    read: Queue[Rows | BaseException | None] = Queue(1)
    left = Event()
    try:
        # A daemon: it holds up no end of the process.
        Thread(target=_read, args=(blocks, read, left), daemon=True).start()
    except RuntimeError:
        yield block
        yield from blocks
        return
    try:
        yield block
        while (following := read.get()) is not None:
            if isinstance(following, BaseException):
                raise following
            yield following
    finally:
        left.set()
        with suppress(Empty):
            read.get_nowait()  # the thread may wait for the room


def _read(blocks: Iterator[Rows], read: Queue[Rows | BaseException | None], left: Event) -> None:
    """Read on until the end, an error, or until nobody takes the blocks any more."""
    try:
        for block in blocks:
            read.put(block)
            if left.is_set():
                return
        read.put(None)
    except BaseException as error:  # it is raised where the block is awaited
        read.put(error)
