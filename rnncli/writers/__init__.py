"""Writers: blocks of states as text, pictures or an array on a stream."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import TextIO

from rnncli.writers.csv import write_csv
from rnncli.writers.json import write_json, write_jsonl
from rnncli.writers.log import continue_log
from rnncli.writers.npy import write_npy
from rnncli.writers.selection import Selection
from rnncli.writers.table import write_table
from rnncli.writers.trajectory import Style, Trajectory

__all__ = [
    "EXTENSIONS",
    "FIGURES",
    "TABLES",
    "WRITERS",
    "Selection",
    "Style",
    "Trajectory",
    "continue_log",
]

# Formats that are drawn as figures.
FIGURES = ("svg", "png", "pdf")
# Formats with columns of any type.
TABLES = ("parquet", "arrow")


# It takes long to import what draws.
def _write_heatmap(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    from rnncli.writers.heatmap import write_heatmap

    write_heatmap(out, trajectory, style)


def _write_plot(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    from rnncli.writers.plot import write_plot

    write_plot(out, trajectory, style)


def _write_parquet(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    from rnncli.writers.arrow import write_parquet

    write_parquet(out, trajectory, style)


def _write_arrow(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    from rnncli.writers.arrow import write_arrow

    write_arrow(out, trajectory, style)


def _write_figure(form: str, out: TextIO, trajectory: Trajectory, _style: Style) -> None:
    from rnncli.writers.figure import write_figure

    write_figure(out, trajectory, form)


WRITERS: Mapping[str, Callable[[TextIO, Trajectory, Style], None]] = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "npy": write_npy,
    "parquet": _write_parquet,
    "arrow": _write_arrow,
    "heatmap": _write_heatmap,
    "plot": _write_plot,
    **{form: partial(_write_figure, form) for form in FIGURES},
}
EXTENSIONS = {
    "": "table",
    ".txt": "table",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".npy": "npy",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    **{f".{form}": form for form in FIGURES},
}
