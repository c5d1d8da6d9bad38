"""Writers: blocks of states as text, pictures or an array on a stream."""

from rnncli.writers.csv import write_csv
from rnncli.writers.heatmap import write_heatmap, write_svg
from rnncli.writers.json import write_json, write_jsonl
from rnncli.writers.log import continue_log
from rnncli.writers.npy import write_npy
from rnncli.writers.plot import write_plot
from rnncli.writers.selection import Selection
from rnncli.writers.table import write_table
from rnncli.writers.trajectory import PLOTS, Style, Trajectory

__all__ = ["EXTENSIONS", "PLOTS", "WRITERS", "Selection", "Style", "Trajectory", "continue_log"]

WRITERS = {
    "table": write_table,
    "json": write_json,
    "jsonl": write_jsonl,
    "csv": write_csv,
    "npy": write_npy,
    "heatmap": write_heatmap,
    "plot": write_plot,
    "svg": write_svg,
}
EXTENSIONS = {
    "": "table",
    ".txt": "table",
    ".json": "json",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".npy": "npy",
    ".svg": "svg",
}
