"""A log in pieces: each is read by itself, and its rows are divided among parts by their keys.

Rows stay what they are: lines of text as they stand in a file, or rows of a
table with its types. So the file of a part is read as the log itself would
be. A row keeps its number, for messages about it to name the file that it is
from.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np

from rnncli.batches.log.pieces import Log, Piece
from rnncli.batches.log.table import open_table
from rnncli.batches.log.text import open_text
from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError
from rnncli.readers import Layout
from rnncli.readers.arrow.cells import key_cells
from rnncli.readers.foreign import STDIN, is_table
from rnncli.readers.keyed import Keys
from rnncli.storage import opened


def open_log(path: str, layout: Layout, order_by: str | None) -> Log:
    """Look at the first file of a log.

    Parameters
    ----------
    path : str
    layout : Layout
    order_by : str, optional
        The column that rows of a key are ordered by, given as in
        ``layout.columns``.

    Raises
    ------
    InputError
        It cannot be read, or has no such column.
    """
    return (open_table if _is_table(path) else open_text)(path, layout, order_by)


def cut(log: Log, path: str) -> tuple[list[Piece], int]:
    """Cut a file of a log into pieces; return how much memory its rows take, too.

    Raises
    ------
    InputError
        It cannot be read, or is of another kind than the first.
    """
    if (is_a_table := _is_table(path)) != log.is_table:
        kinds = {True: "Parquet or Arrow", False: "text"}
        what = f"is {kinds[is_a_table]}, and {log.path} is {kinds[log.is_table]}"
        raise InputError(path, f"{what}: expected files of one kind")
    return log.cut(path)


def divided(piece: Piece, log: Log, parts: int) -> dict[int, bytes]:
    """Read a piece, and divide its rows among so many parts.

    Returns
    -------
    dict
        Of each part that has rows here: these in their order, as an Arrow
        stream.

    Raises
    ------
    InputError
        The piece cannot be read, or is unlike the first file of the log.
    """
    import pyarrow as pa

    table, keys = log.read(piece)
    part = _parts_of(keys, parts)
    order = np.argsort(part, kind="stable")
    rows = table.take(pa.array(order)).replace_schema_metadata({"piece": json.dumps(piece)})
    present, starts = np.unique(part[order], return_index=True)
    edges = [*starts.tolist(), len(rows)]
    found: dict[int, bytes] = {}
    for number, (start, stop) in zip(present.tolist(), pairwise(edges), strict=True):
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows.slice(start, stop - start))
        found[number] = stream.getvalue().to_pybytes()
    return found


def part_of(key: Sequence[str], parts: int) -> int:
    """Return the part of a key: the same in every version and on every machine.

    It is the CRC-32 of the key in UTF-8, with a NUL between its columns.
    """
    return crc32("\0".join(key).encode(errors="surrogatepass")) % parts


def _parts_of(keys: Sequence[Any], parts: int) -> Integers:
    """Return the part of each row; `keys` has a column for each column of the key."""
    known = Keys()
    numbers = known.number_cells([key_cells(column.combine_chunks()) for column in keys])
    return np.array([part_of(key, parts) for key in known.names], np.intp)[numbers]


def _is_table(path: str) -> bool:
    """Tell by its first bytes whether a file is Parquet or Arrow."""
    if path == STDIN:
        raise InputError("standard input", "cannot be cut into parts", "give files")
    with opened(path, seekable=True) as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY"):
        raise InputError(path, "is an .npy array, which has no keys")
    return is_table(start)
