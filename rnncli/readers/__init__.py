"""Readers: text or a file becomes blocks of input, (T, I), in the order of the steps."""

import errno
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain, islice
from typing import Any

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.engine.threads import ahead
from rnncli.model.errors import InputError, check_installed, verbatim
from rnncli.readers import csv, inline, npy
from rnncli.readers.foreign import (
    ARROW,
    COMPRESSED,
    NPY,
    PARQUET,
    STDIN,
    STREAM,
    display_name,
    open_input,
    seekable,
)
from rnncli.readers.input import MISSING, Input, Layout, check_width, parse_number
from rnncli.readers.keyed import Keys
from rnncli.storage import exists, is_url

__all__ = [
    "FIRST_ROW",
    "MISSING",
    "STDIN",
    "Input",
    "Keys",
    "Layout",
    "check_width",
    "read_file",
    "read_files",
    "read_inline",
    "read_state",
]

FIRST_ROW = csv.FIRST_ROW
# Blocks of rows that are read before a thread reads the next ones.
_WITHOUT_A_THREAD = 2

read_inline = inline.read_inline
read_state = inline.read_state


def _read_arrow(path: str, file: Any, layout: Layout, keys: Keys) -> Input:
    check_installed("pyarrow", display_name(path))
    from rnncli.readers.arrow import read_arrow

    return read_arrow(path, file, layout, keys)


READERS: dict[str, Callable[[str, Any, Layout, Keys], Input]] = {
    ".npy": npy.read_npy,
    **dict.fromkeys((".parquet", ".arrow", ".feather"), _read_arrow),
}


def read_file(path: str, layout: Layout, keys: Keys) -> Input:
    """Open a file as input."""
    try:
        with ExitStack() as files:
            file = files.enter_context(open_input(path))
            start = file.peek(8)
            reader = _find_reader(path, start)
            if reader is not csv.read_text and not start.startswith(STREAM):
                file = files.enter_context(seekable(file))
            source = reader(path, file, layout, keys)
            blocks = source.blocks
            # A short input needs no thread, none waits for a pipe, or holds rows back.
            if layout.block_steps > 1 and (
                is_url(path) or (path != STDIN and os.path.isfile(path))
            ):
                blocks = chain(islice(blocks, _WITHOUT_A_THREAD), ahead(blocks))
            blocks = _closing(files.pop_all(), blocks)
            next(blocks)
            return source._replace(blocks=blocks, name=display_name(path))
    except OSError as error:
        hint = f" (numbers are given by `seq` {path})" if _is_inline(path) else ""
        if isinstance(error, IsADirectoryError):
            hint = f"give the files in it: {verbatim(os.path.join(shlex.quote(path), '*.csv'))}"
        what = f"cannot be read: {error.strerror or error}"
        raise InputError(display_name(path), what, hint) from error


def _find_reader(path: str, start: bytes) -> Callable[[str, Any, Layout, Keys], Input]:
    """Find what reads a file, by its first bytes and then by its name; all else is text."""
    if start.startswith((PARQUET, ARROW, STREAM)):
        return _read_arrow
    if start.startswith(NPY):
        return npy.read_npy
    extension = "" if start.startswith(tuple(COMPRESSED)) else os.path.splitext(path.lower())[1]
    return READERS.get(extension, csv.read_text)


def _closing(files: ExitStack, blocks: Iterator[Rows]) -> Iterator[Rows]:
    """Pass blocks on behind one without rows, with which the files are sure to be closed."""
    with files:
        yield Rows(np.empty((0, 0)))
        yield from blocks


def read_files(paths: Sequence[str], layout: Layout, keys: Keys) -> Input:
    """Open several files: a sequence each, or with ``layout.group_by`` one stream.

    Each file is opened when the one before has ended; that all are there is
    checked at once. A sequence a file has the key column ``file``.
    """
    for n, path in enumerate(paths):
        if path != STDIN and not exists(path):
            raise InputError(path, f"cannot be read: {os.strerror(errno.ENOENT)}")
        if path in paths[:n]:
            raise InputError(path, "is given twice")
    first = read_file(paths[0], layout, keys)._replace(share=lambda _: None, shape=())
    opened = chain([first], (read_file(path, layout, keys) for path in paths[1:]))
    if layout.group_by:
        return first._replace(blocks=_in_turn(first, paths, opened, [None] * len(paths)))
    numbers = keys.number(paths).tolist()
    blocks = _in_turn(first, paths, opened, numbers)
    return first._replace(blocks=blocks, key_columns=("file",), keys=keys.names)


def _in_turn(
    first: Input, paths: Sequence[str], inputs: Iterable[Input], numbers: Sequence[int | None]
) -> Iterator[Rows]:
    for number, path, source in zip(numbers, paths, inputs, strict=True):
        if number is not None and source.key_columns:
            raise InputError(path, "holds several sequences: give it alone")
        _check_types(path, source, paths[0], first)
        for expected, got in ((first.columns, source.columns), (first.header, source.header)):
            if list(got) != list(expected):
                raise InputError(
                    path,
                    f"expected the columns {', '.join(expected)}, as in {paths[0]}, "
                    f"got {', '.join(got)}",
                )
        for rows in source.blocks:
            yield rows if number is None else rows._replace(key=np.full(len(rows.x), number))


def _check_types(path: str, source: Input, first_path: str, first: Input) -> None:
    """Check that columns whose cells are kept have the types that those of the first file have."""
    if (source.types is None) != (first.types is None):
        hint = "with `passthrough` give CSV, or Parquet and Arrow"
        raise InputError(path, f"is not of the kind of {first_path}", hint)
    for got, expected in zip(source.types or (), first.types or (), strict=False):
        if got.name == expected.name and got.type != expected.type:
            what = f"column {got.name!r} holds {got.type}, that of {first_path} {expected.type}"
            raise InputError(path, what, "with `passthrough` the types have to agree")


def _is_inline(path: str) -> bool:
    return all(parse_number(part) is not None for part in path.replace(",", " ").split())
