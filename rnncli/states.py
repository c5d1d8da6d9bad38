"""State files: the state of each key between runs, their locks and checks."""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from reprlib import repr as shortened
from typing import Any, BinaryIO, NamedTuple, TextIO

import numpy as np

from rnncli.engine.rows import Rows
from rnncli.engine.stream import Carried
from rnncli.model.arrays import Floats, Integers, in_dtype
from rnncli.model.cells import GRU, LSTM, RNN
from rnncli.model.errors import InputError, listed, one_line, verbatim, word
from rnncli.model.layers import Layer, Recurrent, name_of
from rnncli.model.network import Network
from rnncli.opening import Console, Opened, show_options
from rnncli.readers import is_plain_text
from rnncli.readers.input import Input
from rnncli.run_options import AUTO, Options
from rnncli.storage import check_writable, local_copy, replacing, version, writing

_ANEW, _AGAIN = "remove it to begin anew", "run the same command again"
_FORMAT, _DAMAGED = 1, "not a state file, or a damaged one"
# The fields of the text in their order: the type of the value, of its items and of their items.
_FIELDS: dict[str, tuple[type, ...]] = {
    "cells": (list, str),
    "network": (str,),
    "key_columns": (list, str),
    "keys": (list, list, str),
    "columns": (list, str),
    "task": (str,),
    "size": (int,),
    "sha256": (str,),
    "rows": (int,),
    "center": (list, float),
    "scale": (list, float),
    "precision": (str,),
}


class SavedStates(NamedTuple):
    """The content of a state file."""

    network: str  # fingerprint of the network and precision
    key_columns: Sequence[str]  # none for a single sequence
    keys: Sequence[tuple[str, ...]]  # one empty key for a single sequence
    t: Integers  # (K,)
    arrays: Mapping[str, Floats]  # (K, size) each, by Network.state_names
    cells: tuple[str, ...] = ("rnn",)  # as cells_of returns them
    columns: tuple[str, ...] = ()  # names of the columns that were read, if all have one
    task: str = ""  # the task of a batch that wrote it
    size: int = 0  # bytes of the input of the task, if it is a local file
    sha256: str = ""  # of these bytes
    rows: int = 0  # that were counted of the input
    center: tuple[float, ...] = ()  # the numbers that scaled the columns, if they were scaled
    scale: tuple[float, ...] = ()
    precision: str = ""


def fingerprint(network: Network, precision: str, *, whole: bool = True) -> str:
    """Return a SHA-256 that differs for different networks and precisions.

    Unless the precision is float64, arrays count in the narrowest type of their layer, the file's.
    Without `whole` it leaves out what `_list_rest` adds, as the first state files do.
    """
    import hashlib  # takes 3 ms

    digest = hashlib.sha256(precision.encode())

    def add(name: str, settings: Iterable[Any], arrays: Mapping[str, Floats]) -> None:
        digest.update(f"{name} {' '.join(map(str, settings))}".encode())
        narrowest = min((array.dtype for array in arrays.values()), default=None)
        for each in arrays.values():
            array = each if precision == "float64" else each.astype(narrowest, copy=False)
            digest.update(f"{array.dtype}{array.shape}".encode())
            digest.update(array.tobytes())

    for number, layer in enumerate(network.layers, start=1):
        for direction, cell in zip(layer.directions, layer.cells, strict=True):
            add(f"{number} {direction}", cell.settings.values(), cell.weights.arrays)
        if not layer.cells:
            settings = [*layer.arrays, *layer.settings.values(), *layer.sources]
            add(f"{number} {type(layer).__name__}", settings, layer.arrays)
        for rest in _list_rest(layer) if whole else []:
            for data in _flatten(rest):
                digest.update(data)
    if network.front and whole:
        digest.update(fingerprint(Network(*network.front), precision).encode())
    return digest.hexdigest()


def _list_rest(layer: Layer) -> list[Any]:
    """List what a layer is beside its weights and settings; nothing for most layers."""
    if not isinstance(layer, Recurrent):
        return [] if name_of(layer) else [layer]  # a graph is more than its constants
    rest: list[Any] = [
        (type(cell).__name__, [*cell.settings], [*cell.weights.arrays])
        for cell in layer.cells
        if type(cell) not in (RNN, LSTM, GRU)
    ]
    if len(layer.cells) > 1 or layer.sources or type(layer) is not Recurrent:
        rest.append((type(layer).__name__, layer.settings, layer.sources))
    return rest


def _flatten(value: Any) -> Iterator[bytes]:
    """Yield the bytes of all that a value holds."""
    if isinstance(value, np.ndarray | np.generic):
        yield f"{value.dtype}{value.shape}".encode()
        yield value.tobytes()
    elif isinstance(value, Mapping):
        yield from _flatten([*value.items()])
    elif isinstance(value, list | tuple):
        yield f"{type(value).__name__} {len(value)} ".encode()
        for each in value:
            yield from _flatten(each)
    elif hasattr(value, "__dict__"):
        yield f"{type(value).__name__} ".encode()
        yield from _flatten(sorted(vars(value).items()))
    else:
        yield f"{type(value).__name__} {value!r} ".encode()


def cells_of(network: Network) -> tuple[str, ...]:
    """Return the names in `CELLS` of the kinds of cells of a network, the lowest first."""
    names = (name_of(cell) for layer in network.layers for cell in layer.cells)
    return tuple(dict.fromkeys(names))


def save_state(file: BinaryIO, state: SavedStates) -> None:
    """Write a state file; the same state gives the same bytes."""
    fields = {name: getattr(state, name) for name in _FIELDS}
    defaults = SavedStates._field_defaults
    about = {name: value for name, value in fields.items() if value != defaults.get(name)}
    text = np.array(json.dumps({"format": _FORMAT, **about}))
    arrays: dict[str, Any] = {"about": text, "t": state.t, **state.arrays}
    np.savez(file, **arrays)


def load_state(path: str) -> SavedStates:
    """Read a state file; `fit_states` checks the names and widths of its arrays."""
    from rnncli.model.formats.containers.zips import read_archive  # few runs need it

    check_is_file(path)
    with open(path, "rb") as file:
        data = file.read()
    arrays: dict[str, Any] = read_archive(data, f"{path}: {_DAMAGED}")
    unpacked = sum(array.nbytes for array in arrays.values())
    if unpacked > len(data) or not {"about", "t"} <= arrays.keys():
        what = f"expected the arrays about, t and h as they are, got {listed(sorted(arrays))}"
        raise _damage(path, f"{what} of {unpacked:,} bytes")
    try:
        fields = _parse_fields(arrays.pop("about").item())
    except (ValueError, TypeError, RecursionError) as error:
        raise _damage(path, one_line(error)) from error
    t, K = arrays.pop("t"), len(fields["keys"])
    if t.dtype.kind not in "iu" or t.shape != (K,) or ((t < 0) | (t > 2**53)).any():
        raise _damage(path, f"t: expected {K} whole numbers from 0 to 2^53")
    return SavedStates(t=t.astype(np.intp), arrays=arrays, **fields)


def check_is_file(path: str) -> None:
    """Refuse a device, a pipe or a directory."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise InputError(path, "not a state file", "a state is read from a file and replaces it")


def fit_states(
    path: str,
    state: SavedStates,
    network: Network,
    identity: str,
    precision: str,
    key_columns: Sequence[str],
    dtype: np.dtype[np.floating],
    scales: Mapping[str, Sequence[float]],
) -> Floats:
    """Check that a state file belongs to a network, and return its states, (K, S)."""
    slices, hint = network.state_names, "give the options of the run that wrote it, or another file"
    if state.network != identity:
        if state.network == fingerprint(network, precision, whole=False):
            what = "left by a version of rnn that took graphs with the same weights for one network"
            raise InputError(path, what, "remove it to begin anew")
        raise InputError(path, _describe_difference(state, network, precision, scales), hint)
    if [*state.key_columns] != [*key_columns]:
        before, now = (listed(names or ["no key"]) for names in (state.key_columns, key_columns))
        raise InputError(path, f"the state of sequences by {before}, this run has {now}", hint)
    expected = {name: (len(state.keys), each.stop - each.start) for name, each in slices.items()}
    shapes = {name: array.shape for name, array in state.arrays.items()}
    if shapes != expected:
        raise _damage(path, f"expected arrays of shape {expected}, got {shortened(shapes)}")
    states = [in_dtype(f"{path}: {name}", state.arrays[name], dtype) for name in slices]
    return np.concatenate(states, axis=1)


def _describe_difference(
    state: SavedStates, network: Network, precision: str, scales: Mapping[str, Sequence[float]]
) -> str:
    """Describe what a state was left with, as far as this run has something else."""
    written = []
    for name in ("center", "scale"):
        before, now = getattr(state, name), scales.get(name, ())
        if [*before] != [*now]:
            each = f"`{name}` {','.join(map(repr, before))}"
            written.append(each if before else f"no `{name}`")
    if state.precision and state.precision != precision:
        written.append(f"`precision` {state.precision}")
    if state.cells != cells_of(network):
        written.append(f"{listed(state.cells)} cells")
    if written:
        return word(f"written with {', '.join(written)}")
    return "the state of a network with other weights, layers or precision"


def _parse_fields(text: str) -> dict[str, Any]:
    """Parse the text, and check its fields."""
    about = json.loads(text)
    if not isinstance(about, dict) or about.get("format") != _FORMAT:
        raise ValueError(f"about: expected format {_FORMAT}, got {shortened(about)}")
    names = {"network", "key_columns", "keys"} | _FIELDS.keys() & about.keys()
    fields: dict[str, Any] = {name: about.get(name) for name in names}
    for name, value in fields.items():
        values: list[Any] = [value]
        for kind in _FIELDS[name]:
            if not {*map(type, values)} <= {kind}:
                raise ValueError(f"about: unexpected {name}: {shortened(value)}")
            values = [*chain.from_iterable(values)] if kind is list else []
        fields[name] = tuple(value) if isinstance(value, list) else value
    keys = fields["keys"] = [*map(tuple, fields["keys"])]
    if len(set(keys)) < len(keys) or not {*map(len, keys)} <= {len(fields["key_columns"])}:
        raise ValueError(f"about: a key twice, or of other columns: {shortened(keys)}")
    return fields


def _damage(path: str, reason: str) -> InputError:
    return InputError(path, f"{_DAMAGED}: {reason}")


@dataclass
class StateFiles:
    """The states from which a run starts, and the file for those that it leaves, if any."""

    path: str
    task: str  # of a batch
    before: SavedStates | None = None
    keys: Sequence[tuple[str, ...]] = ()  # of the sequences in the file
    write: Callable[[], AbstractContextManager[TextIO]] | None = None
    network: str = ""  # fingerprint of the network
    input: str = ""  # of the task
    version: str = ""  # of the input before it was read, if it is a local file
    skipped: int = 0  # rows of the input that an earlier task has counted
    rows: int = 0  # of the input, with these

    def has_counted(self, options: Options, console: Console) -> bool:
        """Return whether the task has run to its end before; refuse one of other options."""
        (self.input,) = options.files
        self.version = version(self.input) if os.path.isfile(self.input) else ""
        if not self.before or not self.before.task:
            return False
        ran, task = self.before.task.split("-"), self.task.split("-")
        if ran[0] != task[0] and self._has_new_rows(self.before, console):
            return False
        size = version(options.output or "").partition(" ")[0]
        if {*ran[1:]} & {*task[1:]} and size and (size != "0" or not self.before.rows):
            return True
        what = "already includes this input, by other options or into an output that is gone"
        raise InputError(self.path, what, _ANEW)

    def _has_new_rows(self, before: SavedStates, console: Console) -> bool:
        """Find how many rows of a changed input are counted; return whether there are others."""
        path, new = self.input, "all its rows are read as new ones"
        if not self.version or not before.sha256:
            console.note(f"{path}: {self.path} does not tell which rows it has counted: {new}")
            return True
        size = os.path.getsize(path)
        if size < before.size or _hash_begin(path, before.size) != before.sha256:
            console.note(f"{path}: does not begin with the rows counted before: {new}")
            return True
        if size == before.size:
            return False
        with open(path, "rb") as file:
            file.seek(max(before.size - 1, 0))
            ends_within = b"\n" not in file.read(2)
        if ends_within or not is_plain_text(path):
            what = f"{path} has grown, and cannot be cut after the rows that were counted"
            raise InputError(self.path, what, _ANEW)
        self.skipped = before.rows
        what = "are run, and written without them"
        console.note(f"{path}: rows counted before: {before.rows:,}; those after them {what}")
        return True

    def skip_counted(self, source: Input) -> Input:
        """Count the rows of the input of a task, and leave out those that were counted before."""
        if self.before and self.skipped and self.before.columns != _column_names(source):
            what = f"has counted {self.skipped:,} rows of {self.input} with other columns"
            raise InputError(self.path, what, _ANEW)

        def pass_new() -> Iterator[Rows]:
            for rows in source.blocks:
                start, self.rows = self.rows, self.rows + len(rows.x)
                if self.rows > self.skipped:
                    yield rows.cut(max(self.skipped - start, 0), None)

        return source._replace(blocks=pass_new())

    def fill_scales(self, options: Options, console: Console) -> Options:
        """Replace ``auto`` by the numbers in the file, if it has any."""
        auto = [name for name in ("center", "scale") if getattr(options, name) == AUTO]
        numbers = {name: value for name in auto if (value := getattr(self.before, name, ()))}
        if numbers:
            console.note(word(f"{verbatim(self.path)}: goes on with {show_options(numbers)}"))
        return options._replace(**numbers)

    def resume(self, opened: Opened, console: Console) -> Carried:
        """Return the states of the sequences: at their start, or where an earlier run left them."""
        source, before, keyed = opened.source, self.before, opened.source.key_columns
        carried = Carried(opened.start, sequences=len(source.keys) if keyed else 1)
        precision = opened.model["precision"]
        if before or self.write:
            self.network = fingerprint(opened.network, precision)
        if before:
            identity, dtype = (self.network, precision), opened.start.dtype
            scales = {name: opened.model.get(name, ()) for name in ("center", "scale")}
            options = *identity, keyed, dtype, scales
            states = fit_states(self.path, before, opened.network, *options)
            carried.resume(before.t, states)
            names = zip(before.columns, _column_names(source), strict=False)
            if changed := [(one, now) for one, now in names if one != now]:
                left, read = (listed(map(repr, names)) for names in zip(*changed, strict=True))
                console.note(f"{self.path}: left by a run over {left}, this one reads {read}")
        return carried

    def save(self, opened: Opened, carried: Carried) -> None:
        """Write the states to their file, if there is one."""
        if not self.write:
            return
        source, slices = opened.source, opened.network.state_names
        size, sha256 = 0, ""
        if self.version:
            size = os.path.getsize(self.input)
            sha256 = _hash_begin(self.input, size)
            if version(self.input) != self.version:
                raise InputError(self.input, "was changed while it was read", _AGAIN)
        state = SavedStates(
            self.network,
            source.key_columns,
            list(source.keys)[: len(carried.t)] if source.key_columns else [()],
            carried.t,
            {name: carried.state[:, columns] for name, columns in slices.items()},
            cells=cells_of(opened.network),
            columns=_column_names(source),
            task=self.task,
            size=size,
            sha256=sha256,
            rows=self.rows,
            center=tuple(opened.model.get("center", ())),
            scale=tuple(opened.model.get("scale", ())),
            precision=opened.model["precision"],
        )
        with self.write() as file:
            save_state(file.buffer, state)


def _hash_begin(path: str, size: int) -> str:
    """Return the SHA-256 of the first bytes of a file."""
    import hashlib  # takes 3 ms

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while size and (chunk := file.read(min(size, 1 << 20))):
            digest.update(chunk)
            size -= len(chunk)
    return digest.hexdigest()


def _column_names(source: Input) -> tuple[str, ...]:
    """Return the names of the columns that are read, if all have one."""
    names = tuple(name for name in source.chosen if isinstance(name, str))
    return names if len(names) == len(source.chosen) else ()


@contextmanager
def open_states(options: Options, console: Console, task: str = "") -> Iterator[StateFiles]:
    """Open the state files of a run, and lock one that is both read and written."""
    read, written = options.state or options.state_in, options.state or options.state_out
    states = StateFiles(str(read or written), task)
    with ExitStack() as stack:
        if written:
            check_is_file(written)
            check_writable(written)
            states.write = partial(writing, written)
            if read and os.path.realpath(read) == os.path.realpath(written):
                waiting = f"{written}: another run has it; waiting until that has ended"
                locked = replacing(written, partial(console.note, waiting))
                states.write = stack.enter_context(locked)
        if read and version(read):
            with local_copy(read) as copy:
                states.before = load_state(copy)
                states.keys = states.before.keys
        elif options.state_in:
            what = "cannot be read: No such file or directory"
            raise InputError(options.state_in, what, "the first run has no `state_in`")
        yield states
