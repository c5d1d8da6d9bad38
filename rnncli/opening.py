"""An input and a network that fit each other: scaling, widths, initial states."""

import os
import sys
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial, wraps
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from rnncli import __version__
from rnncli.engine.forecast import forecast as forecast_arrays
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import BLOCK_STEPS, Rows
from rnncli.engine.run import run as run_arrays
from rnncli.model.arrays import Floats, in_dtype
from rnncli.model.description import describe
from rnncli.model.errors import (
    InputError,
    OpenInputError,
    OptionError,
    choice,
    listed,
    verbatim,
    word,
)
from rnncli.model.layers import Normalization
from rnncli.model.network import Network, as_network
from rnncli.readers import read_file, read_files
from rnncli.readers.inline import read_inline, read_state
from rnncli.readers.input import STDIN, Input, Keys, Layout, check_width
from rnncli.run_options import AUTO, Options

if TYPE_CHECKING:
    from rnncli.frames import Frame

P = ParamSpec("P")
Result = TypeVar("Result")
# A network, and the source of its weights.
Built = tuple[Network, dict[str, Any]]
Blocks = Generator[Rows, None, None]
# Passes the blocks of an input on, whose results go to a file.
Watch = Callable[[Blocks, Input, str | None], Blocks]

# Options that are fields of a `Layout`.
_OF_LAYOUT = [name for name in Layout._fields if name in Options._fields]
# Write a note if rounding moves a value by more than this share of the standard deviation.
_COARSE = 0.1


def warn(text: str) -> None:
    """Warn at the line outside this package that called it."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals["__name__"].startswith("rnncli."):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, stacklevel=level)


def pass_on(blocks: Blocks, _source: Input, _output: str | None) -> Blocks:
    """Pass blocks on, and show nothing."""
    return blocks


class Console(NamedTuple):
    """Functions that show the notes and the progress of a run; by default those of a library."""

    note: Callable[[str], None] = warn
    # Shows a text while a block of code runs.
    working: Callable[[str], AbstractContextManager[Any]] = nullcontext
    # Passes blocks on; shows how much of the input they are, unless the output is on the screen.
    watch: Watch = pass_on


class Opened(NamedTuple):
    """An input and a network that fit each other."""

    source: Input
    network: Network
    start: Floats  # its initial state, (S,)
    model: dict[str, Any]  # its description in a JSON document


def open_both(
    options: Options,
    build: Callable[[int], Built],
    console: Console,
    known: Sequence[tuple[str, ...]] = (),
    weights: str | None = None,
    frame: "Frame | None" = None,
) -> Opened:
    """Open the input, and draw or read the network."""
    dtype = choice("precision", options.precision, PRECISIONS).dtype
    built = None
    with suppress(OpenInputError):  # the network takes as many features as the input has
        built = None if weights is None else build(0)
    fields = {name: getattr(options, name) for name in _OF_LAYOUT}
    fields["block_steps"] = 1 if options.follow else BLOCK_STEPS
    layout = Layout(dtype, indices=built[0].indices if built else None, **fields)
    open_source = frame.open if frame else partial(_open_input, options)
    source = open_source(layout, Keys(known))
    network, origin = built or build(len(source.columns))
    if not any(layer.cells or layer.recurs for layer in network.layers):
        raise InputError(str(weights), "has no recurrent layer")
    check_width(source, network.input_size, origin.get("layer", ""))
    values = {"center": options.center, "scale": options.scale}
    numbers = {name: list(each) for name, each in values.items() if each is not None}
    if AUTO in values.values():
        numbers |= _find_scales(options, open_source, layout, source.columns, console)
    network = _scale(network, numbers, source.columns)
    if source.note:
        console.note(word(source.note))
    start = _read_start(network, options, dtype)
    columns = {"columns": list(source.chosen)} if source.chosen else {}
    model = describe(network, origin, __version__) | columns | numbers
    return Opened(source, network, start, model | {"precision": options.precision})


def read_array(network: Network, path: str | os.PathLike[str]) -> Floats:
    """Read the sequences of a file for a network, (T, I) or (N, T, I)."""
    options = Options(files=(os.fspath(path),), precision="float64")
    try:
        source = open_both(options, lambda _: (network, {}), Console()).source
    except InputError as error:
        if "`columns`" not in error.hint:
            raise
        raise InputError(error.where, error.what, "`rnncli.score` chooses `columns`") from error
    blocks = [rows.x for rows in source.blocks]
    x = np.concatenate(blocks or [np.empty((0, network.input_size))])
    return x.reshape(*source.shape, -1) if len(source.shape) == 2 else x


def reads_files(function: Callable[P, Result]) -> Callable[P, Result]:
    """Make a function of a network and an input `x` take the name of a file as `x`."""

    @wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> Result:
        bound = signature(function).bind(*args, **options)
        x, values = bound.arguments["x"], bound.arguments
        if isinstance(x, str | os.PathLike):
            values["network"] = as_network(values["network"])
            values["x"] = read_array(values["network"], x)
        return function(*bound.args, **bound.kwargs)

    return call


run, forecast = reads_files(run_arrays), reads_files(forecast_arrays)


def _find_scales(
    options: Options,
    open_source: Callable[[Layout, Keys], Input],
    layout: Layout,
    columns: Sequence[str],
    console: Console,
) -> dict[str, list[float]]:
    """Find the means or the standard deviations of the whole input, as ``auto`` asks."""
    from rnncli.readers.moments import center_and_scale, moments_of

    dtype, zero = layout.dtype, options.missing == "zero"
    missing = "hold" if zero else options.missing  # a missing cell counts in no mean
    layout = layout._replace(dtype=np.dtype(np.float64), passthrough=False, missing=missing)
    with console.working("Finding center and scale"):
        blocks = open_source(layout, Keys()).blocks
        if zero:
            blocks = (rows._replace(masked=None) for rows in blocks)
        both = center_and_scale(moments_of(blocks, len(columns)), columns)
    named = zip(("center", "scale"), both, strict=True)
    numbers = {name: list(each) for name, each in named if getattr(options, name) == AUTO}
    console.note(word(f"found {show_options(numbers)}"))
    for column, center, scale in zip(columns, *both, strict=True):
        if np.spacing(dtype.type(abs(center))) > _COARSE * scale:
            what = f"{dtype} is too coarse for its values (`precision` float64 is not)"
            console.note(word(f"column {verbatim(repr(column))}: {what}"))
    return numbers


def show_options(numbers: Mapping[str, Sequence[float]]) -> str:
    """Show options as they are typed."""
    return " ".join(f"`{name}` {','.join(map(repr, each))}" for name, each in numbers.items())


def _scale(network: Network, numbers: Mapping[str, list[float]], columns: Sequence[str]) -> Network:
    """Add a layer that centers and scales the columns, if there are numbers for it."""
    if numbers and network.indices is not None:
        text = "`center` and `scale` are for measured values, the network takes whole numbers"
        raise OptionError(text)
    I = len(columns)
    for name, each in numbers.items():
        if len(each) != I:
            expected = f"expected {I}, a number for each of {verbatim(listed(map(repr, columns)))}"
            raise OptionError(f"`{name}`: {expected}, got {len(each)}")
    if not numbers:
        return network
    center, scale = numbers.get("center", [0.0] * I), numbers.get("scale", [1.0] * I)
    return network.with_below(Normalization(center, scale))


def _open_input(options: Options, layout: Layout, keys: Keys) -> Input:
    """Open the input: inline, files, or what is piped in."""
    if layout.delimiter == layout.decimal != ".":
        raise OptionError(f"`delimiter` and `decimal` are both {layout.decimal!r}: give another")
    if options.seq is None:
        if not options.files and (sys.stdin is None or sys.stdin.isatty()):
            raise OptionError("no input: give a FILE or `seq` 1,2,3, or pipe CSV text in")
        paths = options.files or [STDIN]
        if AUTO in (options.center, options.scale):
            once = [path for path in paths if os.path.exists(path) and not os.path.isfile(path)]
            if options.follow or STDIN in paths or once:
                raise OptionError("`center` and `scale` auto read the input twice: give numbers")
        if len(paths) > 1:
            return read_files(paths, layout, keys)
        return read_file(paths[0], layout, keys)
    if options.files:
        way_out = "write it in quotes" if options.seq.endswith(",") else "give one"
        raise OptionError(f"two inputs, `seq` and {verbatim(options.files[0])}: {way_out}")
    if layout != Layout(layout.dtype, indices=layout.indices):
        raise OptionError("`seq` takes no options of files, such as `columns`")
    return read_inline(options.seq, layout.dtype, word("`seq`"), layout.indices)


def _read_start(network: Network, options: Options, dtype: np.dtype[np.floating]) -> Floats:
    """Read the state before the first step, of all cells: that of the network by default."""
    start: Floats = network.initial_state(None, 1, dtype)[0]
    if not isinstance(options.h0, str | None):
        h0 = np.asarray(options.h0)
        if h0.shape != start.shape:
            raise ValueError(f"h0: expected shape {start.shape}, got {h0.shape}")
        return in_dtype("h0", h0, dtype)
    for name, text in (("h", options.h0), ("c", options.c0)):
        if text is not None:
            if name not in network.state_names:
                raise OptionError(f"`{name}0` is for an LSTM: this network has no {name}")
            columns = network.state_names[name]
            size, unit = columns.stop - columns.start, "hidden unit" if name == "h" else "unit of c"
            start[columns] = read_state(text, dtype, size, word(f"`{name}0`"), unit)
    return start
