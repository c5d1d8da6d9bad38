"""Readers: text or a file becomes blocks of input, (T, I), in the order of the steps."""

import glob
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.model.errors import InputError, check_installed, near_file, verbatim
from rnncli.readers.csv import read_text
from rnncli.readers.input import STDIN, Input, Keys, Layout, display_name, parse_number
from rnncli.readers.npy import read_npy
from rnncli.readers.text import COMPRESSED
from rnncli.storage import is_url, local_copy, matching, version

# Extensions of the files of a folder that are inputs, and those of compressed ones.
INPUTS = (".csv", ".tsv", ".jsonl", ".ndjson", ".npy", ".parquet", ".arrow", ".feather")
PACKED = (".gz", ".bz2", ".xz", ".zst")
# The first bytes of a Parquet file, which no text has, an Arrow file, an Arrow stream, and .npy.
PARQUET, ARROW, STREAM, NPY = b"PAR1\x15", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x93NUMPY"


def read_file(path: str, layout: Layout, keys: Keys) -> Input:
    """Open a file as input; it is closed after its last block."""
    with ExitStack() as files:
        file = files.enter_context(open_input(path))
        read = find_reader(path, file.peek(8))
        if read is not read_text:
            file = files.enter_context(seekable(file))
        source = read(path, file, layout, keys)
        blocks = _close_after(source.blocks, files.pop_all())
        return source._replace(blocks=blocks, name=display_name(path))


def _close_after(blocks: Iterator[Rows], files: ExitStack) -> Iterator[Rows]:
    with files:
        yield from blocks


@contextmanager
def open_input(path: str) -> Iterator[Any]:
    """Open a file, a URL or standard input; an OSError in the block becomes an InputError."""
    try:
        if path != STDIN:
            with local_copy(path) as copy, open(copy, "rb") as file:
                yield file
        elif sys.stdin is None:
            raise InputError(display_name(STDIN), "closed", "give a FILE or `seq`")
        else:
            raw: Any = sys.stdin.buffer
            yield raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)
    except OSError as error:
        is_number = all(parse_number(cell) is not None for cell in path.split(","))
        hint = f" (numbers are given by `seq` {path})" if is_number else near_file(path, _is_input)
        what = f"cannot be read: {error.strerror or error}"
        raise InputError(display_name(path), what, hint) from error


@contextmanager
def seekable(file: Any) -> Iterator[Any]:
    """Copy a file that is piped in: Parquet has its list of contents at the end."""
    if file.seekable():
        yield file
        return
    with tempfile.TemporaryFile() as copy:
        shutil.copyfileobj(file, copy, 1 << 20)
        copy.seek(0)
        yield copy


def find_reader(path: str, start: bytes) -> Callable[[str, Any, Layout, Keys], Input]:
    """Find what reads a file, by its first bytes and then by its name; all else is text."""
    name = "" if start.startswith((*COMPRESSED,)) else path.lower()
    if start.startswith(NPY) or name.endswith(".npy"):
        return read_npy
    is_arrow = name.endswith((".parquet", ".arrow", ".feather"))
    if is_arrow or start.startswith((PARQUET, ARROW, STREAM)):
        check_installed("pyarrow", display_name(path))
        from rnncli.readers.arrow import read_arrow

        return read_arrow
    return read_text


def expand(patterns: Iterable[str]) -> list[str]:
    """Return the files that names, patterns and folders stand for; a name is no pattern."""
    paths = list[str]()
    for name in patterns:
        if not is_url(name) and os.path.isdir(name):
            files = sorted(each.path for each in os.scandir(name) if each.is_file())
            inputs = [path for path in files if _is_input(os.path.basename(path).lower())]
            if not inputs:
                kinds = ", ".join(INPUTS)
                raise InputError(name, "a folder that has no file to read", f"known: {kinds}")
            paths += inputs
        elif glob.has_magic(name) and not os.path.lexists(name):
            matches = sorted(matching(name))
            if not matches:
                raise InputError(name, "matches no file")
            paths += matches
        else:
            paths.append(name)
    return paths


def _is_input(name: str) -> bool:
    """Return whether a file of a folder is an input, by its name."""
    base, extension = os.path.splitext(name)
    kind = os.path.splitext(base)[1] if extension in PACKED else extension
    return kind in INPUTS and not name.startswith(".") and name != "rnn-batch.jsonl"


def is_plain_text(path: str) -> bool:
    """Return whether a file of this machine is text that is not compressed."""
    with open(path, "rb") as file:
        start = file.read(16)
    return find_reader(path, start) is read_text and not start.startswith((*COMPRESSED,))


def read_files(paths: Sequence[str], layout: Layout, keys: Keys) -> Input:
    """Open several files in turn: a sequence each, or with ``layout.group_by`` one stream."""
    for n, path in enumerate(paths):
        if path != STDIN and not version(path):
            hint = near_file(path, _is_input)
            if layout.columns and "." not in path:
                names = ",".join([*map(str, layout.columns), path])
                hint = f"columns are separated by commas: `columns` {verbatim(names)}"
            raise InputError(path, "cannot be read: No such file or directory", hint)
        if path in paths[:n]:
            raise InputError(path, "is given twice")
    first = read_file(paths[0], layout, keys)._replace(share=lambda _: None, shape=())
    opened = chain([first], (read_file(path, layout, keys) for path in paths[1:]))
    if layout.group_by:
        return first._replace(blocks=_in_turn(paths, opened, [None] * len(paths)))
    blocks = _in_turn(paths, opened, keys.number(paths).tolist())
    return first._replace(blocks=blocks, key_columns=("file",), keys=keys.names)


def _in_turn(
    paths: Sequence[str], inputs: Iterable[Input], numbers: Sequence[int | None]
) -> Iterator[Rows]:
    expected: list[str] = []
    for number, path, source in zip(numbers, paths, inputs, strict=True):
        if number is not None and source.key_columns:
            raise InputError(path, "holds several sequences: give it alone")
        # The names of the columns, and their types.
        types = [f" ({field.type})" for field in source.types or ()]
        names = source.header or source.columns
        got = [*map("".join, zip_longest(names, types, fillvalue=""))]
        expected = expected or got
        if got != expected:
            what = f"expected the columns {', '.join(expected)}, as in {paths[0]}"
            hint = "without `passthrough` the order may differ" * (sorted(got) == sorted(expected))
            raise InputError(path, f"{what}, got {', '.join(got)}", hint)
        for rows in source.blocks:
            yield rows if number is None else rows._replace(key=np.full(len(rows.x), number))
