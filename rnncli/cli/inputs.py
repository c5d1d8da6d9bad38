"""From the values of options to an input, and with a network to what is run."""

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import numpy as np

from rnncli import __version__
from rnncli.cli.networks import build_network, check_input_size
from rnncli.cli.options import InputOptions, NetworkOptions, StartOptions, picked
from rnncli.cli.outputs import note
from rnncli.cli.progress import working
from rnncli.cli.values import AUTO
from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import BLOCK_STEPS, Rows, join
from rnncli.model.arrays import Floats, Integers
from rnncli.model.errors import InputError, verbatim
from rnncli.model.layers import Normalization
from rnncli.model.network import Network
from rnncli.readers import (
    STDIN,
    Input,
    Keys,
    Layout,
    read_file,
    read_files,
    read_inline,
    read_state,
)
from rnncli.readers.columns import listed
from rnncli.readers.foreign import display_name
from rnncli.storage import is_url
from rnncli.writers.model import describe

if TYPE_CHECKING:
    from rnncli.verify.case import Case

# Bytes: more than any array of a block of rows takes.
_KEPT = 1 << 24
# How much of a standard deviation values may be apart, rounded to their float type, without a note.
_COARSE = 0.1


class Opened(NamedTuple):
    """An input and a network that fit each other.

    Parameters
    ----------
    source : Input
    network : Network
    start : array, shape (S,)
        Its initial state.
    model : mapping
        What a JSON document says of it.
    biases : sequence of tuples of arrays
        Of each cell in a weight file, as it has them.
    """

    source: Input
    network: Network
    start: Floats
    model: dict[str, Any]
    biases: Sequence[tuple[Floats, ...]]


class ReadCase(NamedTuple):
    """A case, and where its steps stand in the input.

    Parameters
    ----------
    case : Case
        Of every step, also of a model that gives one row a sequence.
    last : str or None
        Which row that is, as for `Network`.
    model : mapping
        What a JSON document says of the network.
    rows : Rows
        The whole input.
    keys : sequence of tuples of str
        As the rows number them.
    names : sequence of str
        Of the sequences, where there are several.
    numbers : array of int, shape (N,)
        Of the sequences, as `keys` has them beside those without steps.
    arranged : callable
        Takes an array with those rows, and returns the steps among them, those
        that are not masked, as (N, T, ...): zeros beyond the end of each.
    """

    case: "Case"
    last: str | None
    model: dict[str, Any]
    rows: Rows
    keys: Sequence[tuple[str, ...]]
    names: Sequence[str]
    numbers: Integers
    arranged: Callable[[Floats], Floats]


def open_both(
    reading: InputOptions,
    options: NetworkOptions,
    precision: str,
    starting: StartOptions,
    keys: Keys,
) -> Opened:
    """Open the input, and draw or read the network."""
    _check_read_twice(reading)
    dtype = PRECISIONS[precision].dtype
    loaded = None if options.weights is None else build_network(options, None)
    source = _open_input(reading, dtype, keys, loaded[0].indices if loaded else None)
    network, origin, biases = loaded or build_network(options, len(source.columns), dtype.itemsize)
    if not network.state_size:
        raise InputError(str(options.weights), "has no recurrent layer")
    hint, names = source.hint, [name for name in source.chosen if isinstance(name, str)]
    if hint and names:
        hint = f"{hint}: there are {verbatim(listed(names))}"
    check_input_size(network, len(source.columns), hint)
    reading = _found(reading, network, source.columns, dtype)
    network = _scaled(network, reading, source.columns)
    if source.note:
        note(source.note)
    start = _start(network, starting, dtype)
    read = {"columns": source.chosen, "center": reading.center, "scale": reading.scale}
    columns = {name: list(each) for name, each in read.items() if each}
    model = describe(network, origin, __version__) | columns | {"precision": precision}
    return Opened(source, network, start, model, biases)


def _start(network: Network, options: StartOptions, dtype: np.dtype[np.floating]) -> Floats:
    """Read the state before the first step, of all cells: zeros by default."""
    start = np.zeros(network.state_size, dtype)
    for option, text in options._asdict().items():
        name = option[0]
        if text is None:
            continue
        if name not in network.state_names:
            raise click.UsageError(f"--{option} is for an LSTM: this network has no {name}")
        place = network.state_names[name]
        each = "hidden unit" if name == "h" else f"unit of c ({_sizes(network)})"
        start[place] = read_state(text, dtype, place.stop - place.start, f"--{option}", each)
    return start


def _sizes(network: Network) -> str:
    """Return the hidden units of each cell that has a c."""
    cells = (cell for layer in network.layers for cell in layer.cells)
    return f"H = {', '.join(str(cell.hidden_size) for cell in cells if 'c' in cell.state_names)}"


def read_case(
    reading: InputOptions, options: NetworkOptions, precision: str, starting: StartOptions
) -> ReadCase:
    """Read an input to its end, and the network that runs on it."""
    from rnncli.verify.case import Case

    source, network, start, model, biases = open_both(reading, options, precision, starting, Keys())
    blocks = list(source.blocks)
    if not blocks:
        raise InputError("", "the input has no steps")
    rows = join(blocks)
    active = np.arange(len(rows.x)) if rows.masked is None else np.flatnonzero(~rows.masked)
    if not len(active):
        raise InputError("", "the input has no steps: every row is masked")
    keys = np.zeros(len(active), np.intp) if rows.key is None else rows.key[active]
    present, sequence, lengths = np.unique(keys, return_inverse=True, return_counts=True)
    place = active[np.argsort(sequence, kind="stable")]
    n = np.repeat(np.arange(len(lengths)), lengths)
    t = np.arange(len(active)) - np.repeat(lengths.cumsum() - lengths, lengths)

    def arranged(values: Floats) -> Floats:
        steps = np.zeros((len(lengths), lengths.max(), values.shape[1]), values.dtype)
        steps[n, t] = values[place]
        return steps

    if network.front:
        what = "its lowest layers give fewer rows than they take"
        raise InputError(str(model["source"].get("weights", "")), what, "`rnn run` runs it")
    every = Network(*network.layers)
    case = Case(
        every, arranged(rows.x), np.tile(start, (len(lengths), 1)), lengths, precision, biases
    )
    names = [" ".join(source.keys[number]) for number in present] if source.key_columns else []
    return ReadCase(case, network.last, model, rows, source.keys, names, present, arranged)


def _to_find(options: InputOptions) -> list[str]:
    """Return which of center and scale are to be found in the input."""
    return [name for name in ("center", "scale") if getattr(options, name) == AUTO]


def _check_read_twice(options: InputOptions) -> None:
    """Check that an input can be read twice, where center or scale are to be found in it."""
    names = _to_find(options)
    if not names:
        return
    if options.follow:
        raise click.UsageError(f"--{names[0]} auto and --follow: give numbers to follow an input")
    for path in () if options.seq is not None else options.files or (STDIN,):
        if not _is_kept(path):
            raise click.UsageError(
                f"--{names[0]} auto reads the input twice, {display_name(path)} can be read but "
                "once: give numbers"
            )


def _is_kept(path: str) -> bool:
    """Return whether a file is the same when it is read again, or cannot be read at all."""
    return path != STDIN and (os.path.isfile(path) or not os.path.exists(path))


def _found(
    options: InputOptions,
    network: Network,
    columns: Sequence[str],
    dtype: np.dtype[np.floating],
) -> InputOptions:
    """Find center and scale, where they are not given, in the whole input; a note has them.

    Another note tells of a column whose values the float type rounds to few.
    """
    names = _to_find(options)
    if not names:
        return options
    _check_measured(network)
    from rnncli.readers.moments import center_and_scale, moments_of

    # A cell that is missing is no value, also where it is 0 to the network.
    missing = "hold" if options.missing == "zero" else options.missing
    first = options._replace(missing=missing, passthrough=False)
    with working("Finding center and scale"):
        blocks = _open_input(first, np.dtype(np.float64), Keys(), None).blocks
        if options.missing == "zero":
            blocks = (rows._replace(masked=None) for rows in blocks)
        moments = moments_of(blocks, len(columns))
    found = dict(zip(("center", "scale"), center_and_scale(moments, columns), strict=True))
    note(" ".join(["found", *(f"--{name} {','.join(map(_short, found[name]))}" for name in names)]))
    ends = zip(columns, moments.lowest, moments.highest, found["scale"], strict=True)
    for column, low, high, scale in ends:
        if low == high and "scale" in names:
            note(f"column {column!r} is {_short(low)} throughout: its scale is 1")
        with np.errstate(all="ignore"):
            apart = float(np.spacing(dtype.type(max(abs(low), abs(high)))))
        if low < high and apart > _COARSE * scale:
            what = f"{dtype} tells values {_short(apart)} apart, their deviation is {_short(scale)}"
            note(f"column {column!r}: {what} (--precision float64 tells more)")
    return options._replace(**{name: found[name] for name in names})  # type: ignore[arg-type]


def _short(number: float) -> str:
    """Return a number as it is typed."""
    return repr(float(number)).removesuffix(".0")


def _check_measured(network: Network) -> None:
    if network.indices is not None:
        raise click.UsageError(
            "--center and --scale are for measured values, the network takes whole numbers"
        )


def _scaled(network: Network, options: InputOptions, columns: Sequence[str]) -> Network:
    """Put what centers and scales the columns below a network."""
    for name in ("center", "scale"):
        numbers = getattr(options, name)
        if numbers is not None and len(numbers) != len(columns):
            raise click.UsageError(
                f"--{name}: expected {len(columns)}, a number for each of {listed(columns)}, "
                f"got {len(numbers)}"
            )
    if options.center is None and options.scale is None:
        return network
    _check_measured(network)
    center, scale = options.center or [0.0] * len(columns), options.scale or [1.0] * len(columns)
    return Network(Normalization(center, scale), *network.layers, last=network.last)


def _open_input(
    options: InputOptions, dtype: np.dtype[np.floating], keys: Keys, indices: int | None
) -> Input:
    """Open the input: inline, files, or what is piped in."""
    # To glibc, blocks up to the size of one that was freed are worth keeping. Otherwise the
    # system takes many pages back between two blocks of rows, to clear and return them.
    np.empty(_KEPT, np.uint8)
    block_steps = 1 if options.follow else BLOCK_STEPS
    given = {"dtype": dtype, "block_steps": block_steps, "indices": indices}
    layout = picked(Layout, options._asdict() | given)
    if layout.delimiter == layout.decimal != ".":
        raise click.UsageError(
            f"--delimiter and --decimal are both {layout.decimal!r}: give another, or leave "
            "--delimiter out where such numbers stand in quotes"
        )
    for path in filter(is_url, options.files if options.follow else ()):
        raise click.UsageError(f"--follow and {path}: it does not grow; give a file or a pipe")
    if options.seq is None:
        paths = options.files or [_piped()]
        return (
            read_files(paths, layout, keys) if len(paths) > 1 else read_file(paths[0], layout, keys)
        )
    if options.files:
        raise click.UsageError(f"two inputs, --seq and {options.files[0]}: give one")
    if layout != Layout(dtype, indices=indices):
        raise click.UsageError(
            "--columns, --group-by, --delimiter, --decimal, --encoding, --first-row, "
            "--null-value, --missing, --passthrough and --follow are for files, not for --seq"
        )
    return read_inline(options.seq, dtype, "--seq", indices)


def _piped() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise click.UsageError("no input: give a FILE or --seq 1,2,3, or pipe CSV text in")
    return STDIN
