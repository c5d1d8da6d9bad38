"""The formats of the output: one table, in which every question about a format is a field."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TextIO

from rnncli.writers.arrow import TypedWriter
from rnncli.writers.csv import CsvWriter
from rnncli.writers.figure import FigureWriter
from rnncli.writers.json import JsonLinesWriter, JsonWriter
from rnncli.writers.markdown import MarkdownWriter
from rnncli.writers.npy import NpyWriter
from rnncli.writers.pictures import HeatmapWriter, PlotWriter
from rnncli.writers.result import Result, Style
from rnncli.writers.selection import Writer
from rnncli.writers.table import TableWriter


class Format(NamedTuple):
    """A format of the output; every question about one is a field here."""

    writer: Callable[[TextIO, Result, Style], Writer]
    extensions: Sequence[str] = ()
    options: Sequence[str] = ()  # that it answers, of those that not every format does
    is_text: bool = True  # or else it is refused on a terminal
    is_table: bool = False  # has columns by name, so that no two may have the same name
    is_picture: bool = False  # draws the steps of one sequence over time
    shows_features: bool = False  # names the columns that were read
    has_digest: bool = False  # holds the description of the model, with the digest of its file
    delimiter: str = ""  # between the fields of a line
    needs: str = ""  # a package that is not always installed


_LINES = ("digits", "follow", "passthrough", "last")
_CSV = (*_LINES, "header")
_ARROW = ("passthrough", "last")


def _figure(form: str, *, is_text: bool = False) -> Format:
    writer = partial(FigureWriter, form=form)
    figure = Format(writer, [f".{form}"], is_text=is_text, needs="matplotlib")
    return figure._replace(is_picture=True, shows_features=True)


def _arrow(form: str, *extensions: str) -> Format:
    writer = partial(TypedWriter, form=form)
    table = Format(writer, extensions, _ARROW, is_text=False, is_table=True, needs="pyarrow")
    return table._replace(has_digest=True)


FORMATS: Mapping[str, Format] = {
    "table": Format(TableWriter, [".txt"], ("digits", "last"), is_table=True, shows_features=True),
    "json": Format(JsonWriter, [".json"], ("digits", "last"), shows_features=True, has_digest=True),
    "jsonl": Format(JsonLinesWriter, [".jsonl", ".ndjson"], _LINES),
    "csv": Format(CsvWriter, [".csv"], _CSV, is_table=True, delimiter=","),
    "tsv": Format(CsvWriter, [".tsv"], _CSV, is_table=True, delimiter="\t"),
    "md": Format(MarkdownWriter, [".md"], ("digits", "passthrough", "last"), is_table=True),
    "npy": Format(NpyWriter, [".npy"], ["last"], is_text=False),
    "parquet": _arrow("parquet", ".parquet"),
    "arrow": _arrow("arrow", ".arrow", ".feather"),
    "heatmap": Format(HeatmapWriter, is_picture=True, shows_features=True),
    "plot": Format(PlotWriter, is_picture=True, shows_features=True),
    "svg": _figure("svg", is_text=True),
    "png": _figure("png"),
    "pdf": _figure("pdf"),
}
EXTENSIONS: Mapping[str, str] = {
    "": "table",
    **{extension: form for form, each in FORMATS.items() for extension in each.extensions},
}
