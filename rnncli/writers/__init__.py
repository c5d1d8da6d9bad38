"""Writers: results as text, pictures or arrays on a stream."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TextIO

from rnncli.writers.arrow import TypedWriter
from rnncli.writers.csv import CsvWriter
from rnncli.writers.figure import FigureWriter
from rnncli.writers.json import JsonLinesWriter, JsonWriter
from rnncli.writers.npy import NpyWriter
from rnncli.writers.pictures import HeatmapWriter, PlotWriter
from rnncli.writers.result import Result, Style
from rnncli.writers.selection import Writer
from rnncli.writers.table import TableWriter

# Formats that are drawn as figures.
FIGURES = ("svg", "png", "pdf")
# Formats with columns of any type.
TABLES = ("parquet", "arrow")

WRITERS: Mapping[str, Callable[[TextIO, Result, Style], Writer]] = {
    "table": TableWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    **dict.fromkeys(("csv", "tsv"), CsvWriter),
    "npy": NpyWriter,
    **{form: partial(TypedWriter, form=form) for form in TABLES},
    "heatmap": HeatmapWriter,
    "plot": PlotWriter,
    **{form: partial(FigureWriter, form=form) for form in FIGURES},
}
EXTENSIONS = {
    **dict.fromkeys(("", ".txt"), "table"),
    ".json": "json",
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **{f".{form}": form for form in ("csv", "tsv", "npy", *TABLES, *FIGURES)},
    ".feather": "arrow",
}
