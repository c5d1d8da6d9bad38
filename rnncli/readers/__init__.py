"""Readers: text or a file becomes blocks of input, (T, I), in the order of the steps."""

import errno
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError, verbatim
from rnncli.readers import csv, inline, npy
from rnncli.readers.foreign import NPY, STDIN, display_name, is_table, start_of
from rnncli.readers.input import MISSING, Input, Layout, parse_number
from rnncli.readers.keyed import Keys
from rnncli.readers.text import standard_input
from rnncli.storage import exists

__all__ = [
    "FIRST_ROW",
    "MISSING",
    "STDIN",
    "Input",
    "Keys",
    "Layout",
    "read_file",
    "read_files",
    "read_inline",
    "read_state",
]

FIRST_ROW = csv.FIRST_ROW


def _read_arrow(path: str, layout: Layout, keys: Keys) -> Input:
    from rnncli.readers.arrow import read_arrow

    return read_arrow(path, layout, keys)


READERS = {
    ".csv": csv.read_csv,
    ".npy": npy.read_npy,
    **dict.fromkeys((".parquet", ".arrow", ".feather"), _read_arrow),
}

read_inline = inline.read_inline
read_state = inline.read_state


def read_file(path: str, layout: Layout, keys: Keys) -> Input:
    """Open a file as input.

    Its first bytes tell Parquet, Arrow and ``.npy``, under any name; then the
    extension does. All else is CSV text.
    """
    try:
        return _find_reader(path)(path, layout, keys)
    except OSError as error:
        hint = f" (numbers are given by `seq` {path})" if _is_inline(path) else ""
        if isinstance(error, IsADirectoryError):
            hint = f"give the files in it: {verbatim(os.path.join(shlex.quote(path), '*.csv'))}"
        what = f"cannot be read: {error.strerror or error}"
        raise InputError(display_name(path), what, hint) from error


def _find_reader(path: str) -> Callable[[str, Layout, Keys], Input]:
    start = standard_input().peek(8) if path == STDIN else start_of(path)
    if is_table(start, few=path == STDIN):
        return _read_arrow
    if start.startswith(NPY) and path != STDIN:
        return npy.read_npy
    return READERS.get(os.path.splitext(path.lower())[1], csv.read_csv)


def read_files(paths: Sequence[str], layout: Layout, keys: Keys) -> Input:
    """Open several files: a sequence each, or with ``layout.group_by`` one stream.

    Each file is opened when the one before has ended; that all are there is
    checked at once. A sequence a file has the key column ``file``.
    """
    for n, path in enumerate(paths):
        if path != STDIN and not exists(path):
            missing = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            raise InputError(path, f"cannot be read: {missing.strerror}") from missing
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
