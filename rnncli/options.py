"""The options of a run: their values, and which of them go together."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import STRATEGIES
from rnncli.model.errors import (
    OptionError,
    check_installed,
    choice,
    did_you_mean,
    sentence,
    shown,
    verbatim,
)
from rnncli.readers import FIRST_ROW, MISSING, STDIN
from rnncli.readers.foreign import UTF_8
from rnncli.writers import EXTENSIONS, FIGURES, TABLES, WRITERS
from rnncli.writers.sink import is_packed, on_screen

# A center or scale that is computed from the input.
AUTO: tuple[float, ...] = ()
# Begins the error for an argument that is no network.
OF_NETWORK = "network: expected a Network, or the name of a file"
# Options that name a state file.
STATE_FILES = ("state", "state_in", "state_out")
# Formats that show steps over time; that have a line per step.
PICTURES = ("heatmap", "plot", *FIGURES)
LINES = ("csv", "tsv", "jsonl")
_BINARY = ("npy", "png", "pdf", *TABLES)
_COMPRESSIBLE = ("table", "json", *LINES)
# Compressed files that are read and not written.
_NOT_WRITTEN = (".bz2", ".xz", ".zst")
_DELIMITERS = {"comma": ",", "tab": "\t", "\\t": "\t", "semicolon": ";", "space": " ", "pipe": "|"}


class Options(NamedTuple):
    """The options of ``rnn run`` but for those of the network."""

    files: Sequence[str] = ()
    seq: str | None = None
    columns: Sequence[str] = ()
    group_by: Sequence[str] = ()
    delimiter: str | None = None
    decimal: str = "."
    encoding: str = UTF_8
    first_row: str = "auto"
    null_values: Sequence[str] = ()
    missing: str = "error"
    center: Sequence[float] | None = None
    scale: Sequence[float] | None = None
    passthrough: bool = False
    follow: bool = False
    h0: str | ArrayLike | None = None
    c0: str | None = None
    state: str | None = None
    state_in: str | None = None
    state_out: str | None = None
    precision: str = "float32"
    unroll: str = "auto"
    output: str | None = None
    format: str | None = None
    json: bool = False
    last: bool = False
    no_last: bool = False
    all_layers: bool = False
    states: bool = False
    head: int | None = None
    tail: int | None = None
    digits: int | None = None
    header: bool = True


def whole(least: int, most: int | None = None) -> Callable[[Any], int]:
    """Return a function that reads a whole number within bounds."""
    bounds = f"from {least} up" if most is None else f"from {least} to {most}"

    def read(value: Any) -> int:
        try:
            number = int(value)
            if number == float(value) and least <= number <= (number if most is None else most):
                return number
        except (TypeError, ValueError, OverflowError):
            pass
        raise ValueError(f"{value!r} is not a whole number {bounds}")

    return read


def numbers(value: Any, *, nonzero: bool = False) -> tuple[float, ...]:
    """Read finite numbers: an array, or text with commas between them, or `AUTO`."""
    if isinstance(value, str) and value == "auto":
        return AUTO
    each = value.split(",") if isinstance(value, str) else value
    bounds = " other than 0" if nonzero else ""
    try:
        array = np.atleast_1d(np.asarray(each, np.float64))
    except (TypeError, ValueError):
        array = np.array([np.nan])
    if array.ndim > 1 or not np.isfinite(array).all() or (nonzero and not array.all()):
        raise ValueError(f"expected auto, or a number{bounds} for each column, got {value!r}")
    return tuple(array.tolist())


def delimiter(value: Any) -> str:
    """Read one character, or the name of one that is awkward to type."""
    character = _DELIMITERS.get(str(value).lower(), value)
    if isinstance(character, str) and len(character) == 1 and character not in '"\r\n':
        return character
    what = f"{value!r} is not one character, or one of {', '.join(_DELIMITERS)}"
    raise ValueError(sentence("", what, did_you_mean(str(value), _DELIMITERS)))


def decimal(value: Any) -> str:
    """Read the character in front of the decimals of a number; no number has it elsewhere."""
    character = _DELIMITERS.get(str(value).lower(), value)
    if (
        isinstance(character, str)
        and len(character) == 1
        and not (character.isalnum() or character.isspace() or character in "+-_\"';|:")
    ):
        return character
    raise ValueError(f"{value!r} is not one character such as ',' or '.'")


def encoding(value: Any) -> str:
    """Check the name of an encoding of text; all names of UTF-8 are one."""
    if _is_encoding(value):
        import codecs

        return UTF_8 if codecs.lookup(value).name in (UTF_8, "utf-8-sig") else str(value)
    from encodings.aliases import aliases

    known = (name.replace("_", "-") for name in {*aliases, *aliases.values()})
    what = f"{value!r} is no encoding of text, such as cp1252, latin-1 or utf-16"
    hint = did_you_mean(str(value).replace("_", "-"), filter(_is_encoding, known))
    raise ValueError(sentence("", what, hint))


def _is_encoding(name: Any) -> bool:
    """Return whether Python has an encoding of text by a name; it has others, such as zip."""
    try:
        "0".encode(name)
    except (LookupError, TypeError, ValueError):
        return False
    return True


def file_name(value: Any, expected: str = "expected the name of a file") -> str:
    """Return the name of a file."""
    if isinstance(value, str | os.PathLike) and value != "":
        return str(os.fspath(value))
    raise ValueError(f"{expected}, got {shown(repr(value))}")


def texts(value: Any) -> tuple[str, ...]:
    """Read a list of texts."""
    if isinstance(value, list | tuple | set) and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise ValueError(f"expected a list of texts, got {shown(repr(value))}")


def column_names(value: Any) -> tuple[str, ...]:
    """Read names or numbers of columns, one or a list."""
    if isinstance(value, str | int):
        return (str(value),)
    if isinstance(value, Iterable):
        return tuple(map(str, value))
    raise ValueError(f"expected a name or number of a column, or a list, got {value!r}")


# What reads each value that Python code gives; None stays None.
READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("columns", "group_by"), column_names),
    **dict.fromkeys(STATE_FILES, file_name),
    "center": numbers,
    "scale": partial(numbers, nonzero=True),
    "delimiter": delimiter,
    "decimal": decimal,
    "encoding": encoding,
    "null_values": texts,
    "h0": np.asarray,
    **dict.fromkeys(("head", "tail"), whole(1)),
    "digits": whole(0, 20),
}
_CHOICES: Mapping[str, Iterable[str]] = {
    "missing": MISSING,
    "first_row": FIRST_ROW,
    "precision": PRECISIONS,
    "unroll": STRATEGIES,
    "format": WRITERS,
}


def options_of(arguments: Mapping[str, Any]) -> Options:
    """Check the arguments that a function such as `score` takes, and make options of them."""
    found = {}
    for name in arguments.keys() & {*Options._fields}:
        value = arguments[name]
        if value is not None or Options._field_defaults[name] is not None:
            try:
                value = READ[name](value) if name in READ else value
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from None
            if name in _CHOICES:
                choice(name, str(value), dict.fromkeys(_CHOICES[name]))
        found[name] = value
    return Options(**found)


def check_options(options: Options) -> str:
    """Check that options go together; return the format: by option, by extension, else a table."""
    for name in STATE_FILES:
        file = getattr(options, name)
        if file == STDIN:
            raise OptionError(f"`{name}` -: a state is in a file, not on a stream")
        if file and options.state and name != "state":
            given = f"`state` {verbatim(options.state)} and `{name}` {verbatim(file)}"
            raise OptionError(f"{given}: give one")
    output, head, tail = verbatim(options.output or ""), options.head, options.tail
    follow, last, no_last = options.follow, options.last, options.no_last
    both_forms = options.json and options.format not in (None, "json")
    _check(
        (both_forms, f"`json` and `format` {options.format}: give one"),
        (last and no_last, "`last` and `no_last`: give one"),
        (head and tail, "`head` and `tail`: give one"),
        (follow and head, "`head` and `follow`: give one"),
        (follow and tail, "`tail` and `follow`: give one"),
    )
    form = _choose_format(options)
    is_picture, has_lines, is_csv = form in PICTURES, form in LINES, form in ("csv", "tsv")
    is_figure = EXTENSIONS.get(os.path.splitext(output)[1].lower()) in FIGURES
    on_terminal = form in _BINARY and on_screen(options.output)
    for_text, has_cells = form not in ("npy", *TABLES, *PICTURES), has_lines or form in TABLES
    rounded = options.digits is not None
    text, way_out = f"`format` {form} is text", ": give `format` csv"
    figure = f"`output` {output}: {text}, without it this is a figure"
    cells = f"`passthrough` is for CSV, JSONL, Parquet and Arrow, the format is {form}{way_out}"
    _check(
        (is_picture and is_figure and form not in FIGURES, figure),
        (rounded and not for_text, f"`digits` is for text, the format is {form}"),
        (not options.header and not is_csv, f"`no_header` is for CSV, the format is {form}"),
        (last and is_picture, f"`last` is not for pictures, the format is {form}"),
        (on_terminal, f"{form} is not text: give `output` FILE, or pipe it on"),
        (follow and not has_lines, f"`follow` is for CSV and JSONL, the format is {form}{way_out}"),
        (options.passthrough and not has_cells, cells),
        (follow and is_packed(output), f"`follow` adds to a file, and {output} is written whole"),
        (follow and last, "`follow` and `last`: give one"),
    )
    if form in TABLES:
        check_installed("pyarrow")
    if form in FIGURES:
        check_installed("matplotlib")
    return form


def _check(*mistakes: tuple[object, str]) -> None:
    """Raise the first mistake that was made."""
    for made, text in mistakes:
        if made:
            raise OptionError(text)


def _choose_format(options: Options) -> str:
    if options.json or options.format:
        return options.format or "json"
    output = options.output or ""
    name = output[:-3] if is_packed(output) else output
    form = EXTENSIONS.get(os.path.splitext(name)[1].lower(), "table")
    if name.lower().endswith(_NOT_WRITTEN) or (name != output and form not in _COMPRESSIBLE):
        what = "text alone is compressed, and as .gz, such as FILE.csv.gz"
        raise OptionError(f"`output` {verbatim(output)}: {what}")
    extension = extension_of(name, list(EXTENSIONS), ": give `format`", whole=output)
    if not extension and (options.follow or options.passthrough):
        return "csv"
    return EXTENSIONS[extension]


def extension_of(
    name: str | None, known: Sequence[str], way_out: str = "", whole: str | None = None
) -> str:
    """Return the extension of the file that a result is written to; `whole` is all of its name."""
    extension = os.path.splitext(name or "")[1].lower()
    if extension not in known:
        names = ", ".join(filter(None, known))
        what = verbatim(f"no format has the extension {extension!r} (known: {names})")
        place = f"`output` {verbatim(whole or name or '')}"
        raise OptionError(sentence(place, what + way_out, did_you_mean(extension, known)))
    return extension


def check_files_apart(written: Mapping[str, str | None], read: Iterable[str | None]) -> None:
    """Check that no file is written that is also read, and none twice."""
    files = [(f"`{name}` {verbatim(file)}", file) for name, file in written.items() if file]
    for n, (name, file) in enumerate(files):
        for other, other_file in files[n + 1 :]:
            if _is_same_file(file, other_file):
                raise OptionError(f"{name} and {other}: one file; give two")
        for source in filter(None, read):
            if _is_same_file(file, source):
                source = verbatim(source)
                raise OptionError(f"{name}: would write over {source}, which is read")


def _is_same_file(one: str, other: str) -> bool:
    """Return whether two names are of one plain file, there or not; ``-`` names none."""
    if STDIN in (one, other):
        return False
    if os.path.exists(one) and os.path.exists(other):
        return os.path.isfile(one) and os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)
