"""Readers: text or a file becomes blocks of input, (T, I), in the order of the steps."""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from rnncli.readers import csv, inline, npy
from rnncli.readers.input import MISSING, Input, Keys, Layout, parse_number
from rnncli.readers.text import STDIN
from rnncli.stream import Rows

__all__ = [
    "FIRST_ROW",
    "MISSING",
    "STDIN",
    "Input",
    "Layout",
    "read_file",
    "read_files",
    "read_inline",
    "read_state",
]

FIRST_ROW = csv.FIRST_ROW
READERS = {".csv": csv.read_csv, ".npy": npy.read_npy}

read_inline = inline.read_inline
read_state = inline.read_state


def read_file(path: str, layout: Layout, keys: Keys | None = None) -> Input:
    """Open a file as input; any name but a known one's is read as CSV text.

    Parameters
    ----------
    path : str
        A ``.csv``, ``.tsv`` or ``.npy`` file, the text also as ``.gz``, or
        ``-`` for CSV on standard input.
    layout : Layout
    keys : Keys, optional
        Those met so far, where the file continues others.

    Raises
    ------
    ValueError
        The file cannot be read, or is not of its kind. Rows that are at
        fault raise only when the iteration over the blocks reaches them.
    """
    read = READERS.get(os.path.splitext(path.lower())[1], csv.read_csv)
    try:
        return read(path, layout, keys or Keys())
    except OSError as error:
        hint = f" (numbers are given by --seq {path})" if _is_inline(path) else ""
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}{hint}") from error


def read_files(paths: Sequence[str], layout: Layout) -> Input:
    """Open several files: a sequence each, or with ``layout.group_by`` one stream.

    Each file is opened when the one before has ended; that all are there is
    checked at once. A sequence a file has the key column ``file``.

    Raises
    ------
    ValueError
        As for `read_file`, or the files do not go together.
    """
    for n, path in enumerate(paths):
        if path != STDIN and not os.path.exists(path):
            raise ValueError(f"{path}: cannot be read: {os.strerror(errno.ENOENT)}")
        if path in paths[:n]:
            raise ValueError(f"{path}: is given twice")
    keys = Keys()
    first = read_file(paths[0], layout, keys)
    opened = chain([first], (read_file(path, layout, keys) for path in paths[1:]))
    blocks = _in_turn(first, paths, opened, by_file=not layout.group_by)
    if layout.group_by:
        return first._replace(blocks=blocks)
    return first._replace(blocks=blocks, key_columns=("file",), keys=[(path,) for path in paths])


def _in_turn(
    first: Input, paths: Sequence[str], inputs: Iterable[Input], *, by_file: bool
) -> Iterator[Rows]:
    for n, (path, source) in enumerate(zip(paths, inputs, strict=True)):
        if by_file and source.keys:
            raise ValueError(f"{path}: holds several sequences: give it alone")
        if list(source.columns) != list(first.columns):
            raise ValueError(
                f"{path}: expected the columns {', '.join(first.columns)}, as in {paths[0]}, "
                f"got {', '.join(source.columns)}"
            )
        for rows in source.blocks:
            yield rows._replace(key=np.full(len(rows.x), n)) if by_file else rows


def _is_inline(path: str) -> bool:
    return all(parse_number(part) is not None for part in path.replace(",", " ").split())
