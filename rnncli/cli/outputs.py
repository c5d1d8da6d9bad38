"""From the values of options to a format, and to where the result goes."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TextIO, cast

import click

from rnncli.cli.options import OutputOptions
from rnncli.model.errors import did_you_mean, on_a_line, sentence
from rnncli.readers import STDIN
from rnncli.storage import check_writable, writing
from rnncli.storage.local import descriptor
from rnncli.storage.replacement import sync
from rnncli.writers import EXTENSIONS, FIGURES, TABLES, Selection, Style
from rnncli.writers.screen import Screen

# Formats that show steps over time.
PICTURES = ("heatmap", "plot", *FIGURES)
# Where the notes of one of many runs go, whose progress is not shown either.
collected: ContextVar[list[str] | None] = ContextVar("collected", default=None)
# Formats that are no text.
_BYTES = ("npy", "png", "pdf", *TABLES)


def choose_format(
    options: OutputOptions, style: Style, selection: Selection, *, passthrough: bool
) -> str:
    """Return the format: by option, else by the extension of the file, else a table."""
    if options.json and options.format not in (None, "json"):
        raise click.UsageError(f"--json and --format {options.format}: give one")
    if options.last and options.no_last:
        raise click.UsageError("--last and --no-last: give one")
    for name in selection.given() if style.follow else ():
        raise click.UsageError(f"--{name} and --follow: give one")
    chosen = "json" if options.json else options.format or ""
    chosen = chosen or EXTENSIONS[extension_of(options.output, EXTENSIONS, ": give --format")]
    _check_is_no_figure(chosen, options.output)
    _check_numbers(chosen, style)
    _check_goes_with(chosen, options, style, selection)
    of_rows = ("--follow", style.follow, "CSV and JSONL", ("csv", "jsonl"))
    of_cells = ("CSV, JSONL, Parquet and Arrow", ("csv", "jsonl", *TABLES))
    for name, given, known, forms in (of_rows, ("--passthrough", passthrough, *of_cells)):
        if given and chosen not in forms:
            raise click.UsageError(
                f"{name} is for {known}, the format is {chosen}: give --format csv"
            )
    if style.follow and options.last:
        raise click.UsageError("--follow and --last: give one")
    return chosen


def extension_of(path: str | None, known: Iterable[str], way_out: str = "") -> str:
    """Return the extension of the file that a result is written to."""
    extension, names = os.path.splitext(path or "")[1].lower(), list(known)
    if extension not in names:
        listed = ", ".join(filter(None, names))
        what = f"no format has the extension {extension!r} (known: {listed}){way_out}"
        raise click.UsageError(sentence(f"-o {path}", what, did_you_mean(extension, names)))
    return extension


def _check_is_no_figure(chosen: str, path: str | None) -> None:
    """Refuse a picture for the terminal in a file that is named like a figure."""
    extension = os.path.splitext(path or "")[1].lower()
    if chosen in PICTURES and chosen not in FIGURES and EXTENSIONS.get(extension) in FIGURES:
        what = f"--format {chosen} is text, without it this is a figure"
        raise click.UsageError(f"-o {path}: {what}")


def _check_numbers(chosen: str, style: Style) -> None:
    """Check that a format has numbers as a style asks for them."""
    if style.digits is not None and chosen in ("npy", *TABLES, *PICTURES):
        raise click.UsageError(f"--digits is for text, the format is {chosen}")


def _check_goes_with(
    chosen: str, options: OutputOptions, style: Style, selection: Selection
) -> None:
    if not style.header and chosen != "csv":
        raise click.UsageError(f"--no-header is for CSV, the format is {chosen}")
    if options.last and chosen in PICTURES:
        raise click.UsageError(f"--last is not for pictures, the format is {chosen}")
    if selection.head and selection.tail and chosen in PICTURES:
        raise click.UsageError(f"--head and --tail: a {chosen} shows steps in a row, give one")
    if chosen in _BYTES and on_screen(options.output):
        raise click.UsageError(f"{chosen} is not text: give -o FILE, or pipe it on")


def check_files_apart(written: Mapping[str, str | None], read: Iterable[str | None]) -> None:
    """Check that no file is written that is also read, and none twice."""
    files = [(f"{option} {path}", path) for option, path in written.items() if path]
    for place, (name, path) in enumerate(files):
        for other, other_path in files[place + 1 :]:
            if _is_same_file(path, other_path):
                raise click.UsageError(f"{name} and {other}: one file; give two")
        for source in filter(None, read):
            if _is_same_file(path, source):
                raise click.UsageError(f"{name}: would write over {source}, which is read")


def _is_same_file(one: str, other: str) -> bool:
    """Return whether two names are of one plain file, there or not; ``-`` names none."""
    if STDIN in (one, other):
        return False
    if os.path.exists(one) and os.path.exists(other):
        return os.path.isfile(one) and os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def check_destination(path: str | None, *, append: bool = False) -> None:
    """Check before a long run that its result can be written, or added, to a file."""
    if path is not None and not _is_stdout(path):
        check_writable(path, append=append)


def on_screen(path: str | None) -> bool:
    """Return whether results are shown on a terminal as they come."""
    return _is_stdout(path) and sys.stdout is not None and sys.stdout.isatty()


def _is_stdout(path: str | None) -> bool:
    return path is None or path == "-" or descriptor(path) == 1


@contextmanager
def destination(path: str | None, *, append: bool = False) -> Iterator[TextIO]:
    """Open what the result is written or added to: a file, or standard output.

    A file is on its disk when the block has ended.
    """
    if path is not None and not _is_stdout(path):
        with writing(path, append=append) as file:
            yield _guarded(file)
        return
    if sys.stdout is None:
        raise OSError(None, "closed", "standard output")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield _guarded(sys.stdout)
        finally:
            sync(sys.stdout)
    except OSError as error:
        error.filename = error.filename or "standard output"
        raise


def _guarded(out: TextIO) -> TextIO:
    """Keep what could steer a terminal away from it; a file or a pipe gets all as it is."""
    return cast(TextIO, Screen(out)) if out.isatty() else out


def note(text: str) -> None:
    """Write on standard error, if it is open, what a result does not show."""
    notes = collected.get()
    if notes is not None:
        notes.append(on_a_line(text))
    elif sys.stderr is not None:
        with suppress(OSError):
            click.echo(f"Note: {on_a_line(text)}", err=True)
