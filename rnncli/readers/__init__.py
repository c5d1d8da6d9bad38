"""Readers: text or a file becomes blocks of input, (T, I), in the order of the steps."""

import os

from rnncli.readers import csv, inline, npy
from rnncli.readers.input import Input, Layout, parse_number
from rnncli.readers.text import STDIN

__all__ = ["FIRST_ROW", "STDIN", "Input", "Layout", "read_file", "read_inline", "read_state"]

FIRST_ROW = csv.FIRST_ROW
READERS = {".csv": csv.read_csv, ".npy": npy.read_npy}

read_inline = inline.read_inline
read_state = inline.read_state


def read_file(path: str, layout: Layout) -> Input:
    """Open a file as input; any name but a known one's is read as CSV text.

    Parameters
    ----------
    path : str
        A ``.csv``, ``.tsv`` or ``.npy`` file, the text also as ``.gz``, or
        ``-`` for CSV on standard input.
    layout : Layout

    Raises
    ------
    ValueError
        The file cannot be read, or is not of its kind. Rows that are at
        fault raise only when the iteration over the blocks reaches them.
    """
    read = READERS.get(os.path.splitext(path.lower())[1], csv.read_csv)
    try:
        return read(path, layout)
    except OSError as error:
        hint = f" (numbers are given by --seq {path})" if _is_inline(path) else ""
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}{hint}") from error


def _is_inline(path: str) -> bool:
    return all(parse_number(part) is not None for part in path.replace(",", " ").split())
