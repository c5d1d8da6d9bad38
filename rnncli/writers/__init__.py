"""Writers: results as text, pictures or arrays on a stream."""

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import TextIO

from rnncli.writers.csv import CsvWriter
from rnncli.writers.json import JsonLinesWriter, JsonWriter
from rnncli.writers.npy import NpyWriter
from rnncli.writers.result import Result, Style
from rnncli.writers.selection import Writer
from rnncli.writers.table import TableWriter

__all__ = ["EXTENSIONS", "FIGURES", "TABLES", "WRITERS", "Result", "Style", "Writer"]

# Formats that are drawn as figures.
FIGURES = ("svg", "png", "pdf")
# Formats with columns of any type.
TABLES = ("parquet", "arrow")


def _load(
    module: str, name: str, out: TextIO, result: Result, style: Style, **settings: str
) -> Writer:
    """Make a writer whose module takes long to import."""
    made: Writer = getattr(import_module(f"rnncli.writers.{module}"), name)(
        out, result, style, **settings
    )
    return made


WRITERS: Mapping[str, Callable[[TextIO, Result, Style], Writer]] = {
    "table": TableWriter,
    "json": JsonWriter,
    "jsonl": JsonLinesWriter,
    **dict.fromkeys(("csv", "tsv"), CsvWriter),
    "npy": NpyWriter,
    **{form: partial(_load, "arrow", "TypedWriter", form=form) for form in TABLES},
    "heatmap": partial(_load, "heatmap", "HeatmapWriter"),
    "plot": partial(_load, "plot", "PlotWriter"),
    **{form: partial(_load, "figure", "FigureWriter", form=form) for form in FIGURES},
}
EXTENSIONS = {
    **dict.fromkeys(("", ".txt"), "table"),
    ".json": "json",
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
    **{f".{form}": form for form in ("csv", "tsv", "npy", *TABLES, *FIGURES)},
    ".feather": "arrow",
}
