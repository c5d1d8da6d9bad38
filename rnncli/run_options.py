"""The options of a run: their values, and which of them exclude each other."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import Parameter, signature
from math import inf
from numbers import Integral
from typing import Any, NamedTuple, TypedDict, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.unroll import UNROLLS
from rnncli.model.errors import OptionError, check_installed, choice, did_you_mean, shown, verbatim
from rnncli.readers.csv import FIRST_ROW
from rnncli.readers.input import MISSING, STDIN, UTF_8
from rnncli.storage.sink import is_packed, on_screen
from rnncli.writers.formats import EXTENSIONS, FORMATS

Function = TypeVar("Function", bound=Callable[..., Any])

# A center or scale that is computed from the input.
AUTO: tuple[float, ...] = ()
# Error for a `network` of another type.
OF_NETWORK = "network: expected a Network, or the name of a file"
# Options that name a state file.
STATE_FILES = ("state", "state_in", "state_out")
_MARKS = {"comma": ",", "tab": "\t", "semicolon": ";", "space": " ", "pipe": "|"}
_MORE_MARKS = {"\\t": "\t", "blank": " ", "bar": "|"}

_SPREADSHEETS = (".xls", ".xlsx", ".ods")
# Options of which only one is given.
_PAIRS = (
    *(("last", "no_last"), ("last", "follow"), ("head", "follow"), ("tail", "follow")),
    *(("ahead", "last"), ("ahead", "follow"), ("ahead", "head")),
    *(("head", "tail"), ("last", "head"), ("last", "tail"), ("json", "format")),
    *(("state", "state_in"), ("state", "state_out")),
)
# Options that not every format answers, and the formats that do.
_FORMATS = {
    name: [form for form, each in FORMATS.items() if name in each.options]
    for name in dict.fromkeys(name for each in FORMATS.values() for name in each.options)
}


# Extensions of compressed files that are not written, and the programs that write them.
_PACKED = {".zst": "zstd", ".bz2": "bzip2", ".xz": "xz", ".lz4": "lz4", ".zip": "zip"}


class Options(NamedTuple):
    """The options of ``rnn run``, without those of the network."""

    files: Sequence[str] = ()
    seq: str | None = None
    columns: Sequence[str | int] = ()
    group_by: Sequence[str | int] = ()
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
    ahead: int | None = None
    digits: int | None = None
    header: bool = True


class ScoreOptions(TypedDict, total=False):
    """The options that `score` and `batch` take as keywords; `Options` has their defaults."""

    columns: str | int | Sequence[str | int]
    group_by: str | int | Sequence[str | int]
    passthrough: bool
    missing: str
    center: str | float | Sequence[float] | None
    scale: str | float | Sequence[float] | None
    delimiter: str | None
    decimal: str
    encoding: str
    first_row: str
    null_values: str | Sequence[str]
    h0: ArrayLike | None
    state: str | os.PathLike[str] | None
    state_in: str | os.PathLike[str] | None
    state_out: str | os.PathLike[str] | None
    precision: str
    unroll: str
    last: bool
    no_last: bool
    all_layers: bool
    states: bool
    head: int | None
    tail: int | None
    ahead: int | None
    format: str | None
    digits: int | None
    header: bool


def list_options(function: Function) -> Function:
    """Put the options that a function takes as ``**options`` into its signature, for `help`."""
    signed = signature(function)
    options = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind.__forward_arg__)
        for name, kind in ScoreOptions.__annotations__.items()
        for default in (Options._field_defaults[name],)
    ]
    parameters = [*signed.parameters.values()][:-1] + options
    function.__signature__ = signed.replace(parameters=parameters)  # type: ignore[attr-defined]
    return function


def integer(least: int, most: int | None = None) -> Callable[[Any], int]:
    """Return a function that reads a whole number within bounds."""
    bounds = f"from {least} up" if most is None else f"from {least} to {most}"

    def read(value: Any) -> int:
        with suppress(ValueError):
            number = int(str(value))
            if least <= number <= (number if most is None else most):
                return number
        raise ValueError(f"{value!r} is not a whole number {bounds}")

    return read


def tolerance(value: str) -> float:
    """Read a number from 0 on."""
    with suppress(ValueError):
        number = float(value)
        if 0 <= number < inf:
            return number
    raise ValueError(f"{value!r} is not a number from 0 on")


def numbers(value: Any, *, nonzero: bool = False) -> tuple[float, ...]:
    """Read finite numbers: an array, or text with commas between them, or `AUTO`."""
    if isinstance(value, str) and value == "auto":
        return AUTO
    with suppress(TypeError, ValueError):
        each = value.strip("[]").split(",") if isinstance(value, str) else value
        array = np.atleast_1d(np.asarray(each, np.float64))
        if array.ndim == 1 and np.isfinite(array).all() and (array.all() or not nonzero):
            return tuple(array.tolist())
    bounds = " other than 0" if nonzero else ""
    raise ValueError(f"expected auto, or a number{bounds} for each column, got {value!r}")


def delimiter(value: Any) -> str:
    """Read a character, or the name of one that is hard to type."""
    character = (_MARKS | _MORE_MARKS).get(str(value).lower(), value)
    if isinstance(character, str) and len(character) == 1 and character not in '"\r\n':
        return character
    raise ValueError(f"{value!r} is not one character, or one of {', '.join(_MARKS)}")


def encoding(value: Any) -> str:
    """Check the name of an encoding of text; all names of UTF-8 are one."""
    try:
        "0".encode(value)  # fails for Python's encodings of bytes, such as zip
        name = codecs.lookup(value).name
    except (LookupError, TypeError, ValueError):
        what = f"{value!r} is no encoding of text, such as cp1252, latin-1 or utf-16"
        raise ValueError(what) from None
    return UTF_8 if name in (UTF_8, "utf-8-sig") else str(value)


def file_name(value: Any, expected: str = "expected the name of a file") -> str:
    """Return the name of a file."""
    if isinstance(value, str | os.PathLike) and value != "":
        return str(os.fspath(value))
    raise ValueError(f"{expected}, got {shown(repr(value))}")


def texts(value: Any) -> tuple[str, ...]:
    """Read texts or whole numbers, one or a list."""
    if isinstance(value, str | int):
        return (str(value),)
    if not isinstance(value, Iterable):
        raise ValueError(f"expected texts or whole numbers, got {value!r}")
    return tuple(map(str, value))


def columns(value: Any) -> tuple[str | int, ...]:
    """Read names of columns, or their numbers, one or a list."""
    if isinstance(value, str | Integral):
        value = (value,)
    if not isinstance(value, Iterable):
        raise ValueError(f"expected names of columns or their numbers, got {value!r}")
    return tuple(int(each) if isinstance(each, Integral) else str(each) for each in value)


# The functions that read values.
READ: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("columns", "group_by"), columns),
    "null_values": texts,
    **dict.fromkeys(STATE_FILES, file_name),
    "center": numbers,
    "scale": partial(numbers, nonzero=True),
    "delimiter": delimiter,
    "encoding": encoding,
    "h0": np.asarray,
    **dict.fromkeys(("head", "tail", "ahead"), integer(1)),
    "digits": integer(0, 20),
}
CHOICES: Mapping[str, Iterable[str]] = {
    "decimal": (".", ","),
    "missing": MISSING,
    "first_row": FIRST_ROW,
    "precision": PRECISIONS,
    "unroll": ("auto", *UNROLLS),
    "format": FORMATS,
}


def check_values(options: ScoreOptions) -> Options:
    """Check the values of the options of `score`; None is the default."""
    values: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if unknown := options.keys() - ScoreOptions.__annotations__.keys():
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    for name, value in values.items():
        if name in CHOICES:
            choice(name, str(value), dict.fromkeys(CHOICES[name]))
        elif name in READ:
            try:
                values[name] = READ[name](value)
            except (TypeError, ValueError) as error:
                raise ValueError(f"{name}: {error}") from None
    return Options(**values)


def check_options(options: Options) -> str:
    """Check that no options exclude each other; return the format of the output."""
    defaults = Options._field_defaults
    names = {*_FORMATS, *(name for pair in _PAIRS for name in pair)}
    used = {name: v for name in names if (v := getattr(options, name)) != defaults[name]}
    check_pairs(used, _PAIRS)
    for name in STATE_FILES:
        if used.get(name) == STDIN:
            raise OptionError(f"`{name}` -: a state is a file, not a stream")
    form = choose_format(options)
    for name, forms in _FORMATS.items():
        if name in used and form not in forms:
            raise OptionError(f"`{name}` is for {', '.join(forms)}: the format is {form}")
    if not FORMATS[form].is_text and on_screen(options.output):
        raise OptionError(f"{form} is not text: give `output` FILE, or pipe it on")
    if package := FORMATS[form].needs:
        check_installed(package)
    return form


def check_pairs(used: Mapping[str, Any], pairs: Iterable[tuple[str, str]]) -> None:
    """Check that no two options exclude each other."""
    for pair in pairs:
        if used.keys() >= {*pair}:
            files = [verbatim(used[name]) if isinstance(used[name], str) else "" for name in pair]
            first, second = map("`{}` {}".format, pair, files)
            raise OptionError(f"{first.strip()} and {second.strip()}: give one")


def choose_format(options: Options) -> str:
    """Choose the format of the output, by an option or by its extension."""
    output, form = options.output or "", "json" if options.json else options.format
    packed = is_packed(output)
    name = output[:-3] if packed else output
    if (end := os.path.splitext(name)[1].lower()) in _PACKED:
        what = f"rnn compresses as .gz alone; or `format` csv | {_PACKED[end]} > FILE"
        raise OptionError(f"`output` {verbatim(output)}: {what}")
    if not form:
        known = os.path.splitext(name)[1].lower()
        way_out = "; spreadsheets open .csv" if known in _SPREADSHEETS else ""
        extension = extension_of(name, EXTENSIONS, way_out)
        lines = not extension and (options.follow or options.passthrough)
        form = "csv" if lines else EXTENSIONS[extension]
    chosen = FORMATS[form]
    named = FORMATS[EXTENSIONS.get(os.path.splitext(name)[1].lower(), form)]
    if chosen.is_picture and not chosen.extensions and named.extensions and named.is_picture:
        raise OptionError(f"`format` {form} and `output` {verbatim(output)}: give one")
    if packed and (options.follow or chosen.is_picture or not chosen.is_text):
        raise OptionError(f"`output` {verbatim(output)}: only text is compressed, and as a whole")
    return form


def extension_of(name: str, known: Iterable[str], way_out: str = "") -> str:
    """Return the extension of an output, if a format has it."""
    extension = os.path.splitext(name)[1].lower()
    if extension not in known:
        names = ", ".join(filter(None, known))
        what = f"no format has the extension {extension!r} (known: {names})"
        hint = did_you_mean(extension, filter(None, known)) if extension else ""
        way_out = f"; {hint}" if hint else way_out
        raise OptionError(f"`output` {verbatim(name)}: {verbatim(what)}{way_out}")
    return extension


def check_overwrites(written: Mapping[str, str | None], read: Iterable[str | None]) -> None:
    """Check that no file is both written and read, or written twice."""
    used = {_identity(file): f"{verbatim(file)}, which is read" for file in filter(None, read)}
    for name, file in written.items():
        if file and (identity := _identity(file)):
            if identity in used:
                raise OptionError(f"`{name}` {verbatim(file)}: would write over {used[identity]}")
            used[identity] = f"`{name}` {verbatim(file)}"


def _identity(path: str) -> object:
    """Identify a plain or missing file, whatever its name; None for a device or a pipe."""
    if os.path.isfile(path):
        status = os.stat(path)
        return status.st_dev, status.st_ino
    with suppress(OSError):  # the current folder is gone
        return None if path == STDIN or os.path.exists(path) else os.path.realpath(path)
    return None
