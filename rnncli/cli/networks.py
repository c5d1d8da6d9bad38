"""From the values of options to a network: drawn from a seed, or read from a file."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import click

from rnncli.cli.options import NetworkOptions
from rnncli.cli.outputs import note
from rnncli.engine.precision import PRECISIONS
from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError, word
from rnncli.model.layers import DIRECTIONS, merged_size, per_cell
from rnncli.model.network import Network
from rnncli.model.seeds import seeded
from rnncli.pipeline import Sourced
from rnncli.storage import local_copy, version

if TYPE_CHECKING:
    from rnncli.model.formats import Loaded

_GIB = 2**30
_SEED, _INIT = 1, "tensorflow"
# Options that say what a layer is, and settings of cells.
_OF_LAYERS = ("direction", "merge", "cell")
_OF_CELLS = ("activation", "recurrent_activation", "reset")
# The last weight file that was read, with the versions of the files that it is made of.
_LAST: dict[tuple[Any, ...], tuple["Loaded", dict[str, str]]] = {}


def check_network(options: NetworkOptions, files: Sequence[str] = ()) -> None:
    """Check what needs neither a file nor the input; `files` are what is to be the input."""
    drawn = {
        "--hidden": options.hidden,
        "--cell": options.cell,
        "--seed": options.seed,
        "--init": options.init,
    }
    if options.weights is None:
        if options.hidden is None:
            raise click.UsageError(f"no network: {_of_model(files) or _example(files)}")
        if options.layer is not None:
            raise click.UsageError("--layer is for --weights")
        if options.merge is not None and options.direction != "bidirectional":
            raise click.UsageError("--merge is for --direction bidirectional")
        _check_cell(options)
        return
    for name, value in drawn.items():
        if value is not None:
            raise click.UsageError(f"{name} and --weights {options.weights}: give one")


def _example(files: Sequence[str]) -> str:
    """Return how a network is given; where there is no input either, with a line that works."""
    given = "give --hidden H or --weights FILE"
    if files:
        return given
    context = click.get_current_context()
    seq = "--seq 1,2,3 " if "seq" in context.params else ""
    return f"{given}, as in '{context.command_path} {seq}--hidden 4'"


def _of_model(files: Sequence[str]) -> str:
    """Suggest --weights where one of these files is a model, and no input."""
    from rnncli.model.formats import is_model

    models = filter(is_model, files)
    return next((f"{path} is a model, give --weights {path}" for path in models), "")


def _check_cell(options: NetworkOptions) -> None:
    """Check settings of cells that are drawn: that the cells have them, and how many they are."""
    ways = DIRECTIONS[options.direction or "forward"]
    for name, given in _given(options, *_OF_CELLS).items():
        option = f"--{name.replace('_', '-')}"
        having = [kind for kind in CELLS if name in CELLS[kind].setting_names]
        if (options.cell or "rnn") not in having:
            raise click.UsageError(f"{option} is for --cell {' and --cell '.join(having)}")
        try:
            per_cell(option, given, [len(ways)] * len(options.hidden or ()))
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def build_network(options: NetworkOptions, I: int, precision: str = "float32") -> Sourced:
    """Draw the network for I inputs, or read it."""
    if options.weights is not None:
        return _loaded(options)
    _check_memory(options, I, PRECISIONS[precision].dtype.itemsize)
    seed = _SEED if options.seed is None else options.seed
    init = options.init or _INIT
    given = _given(options, *_OF_LAYERS, *_OF_CELLS)
    network = _drawn(I, options.hidden or (), seed, init, tuple(given.items()))
    return network, {"init": init, "seed": seed}, ()


def _given(options: NetworkOptions, *names: str) -> dict[str, Any]:
    """Return the values of those options that are given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


# In a batch the next file most often has the same network.
@lru_cache(maxsize=1)
def _drawn(
    input_size: int,
    sizes: tuple[int, ...],
    seed: int,
    init: str,
    given: tuple[tuple[str, Any], ...],
) -> Network:
    return seeded(input_size, sizes, seed, init, **dict(given))


def read_weights(options: NetworkOptions) -> "Loaded":
    """Read a weight file; the last one is kept for as long as its files stay as they are."""
    from rnncli.model.formats import load_network

    assert options.weights is not None
    path, overrides = options.weights, _given(options, *_OF_CELLS, "direction", "merge")
    key = path, options.layer, tuple(overrides.items())
    loaded, versions = _LAST.get(key, (None, {}))
    if loaded is None or any(version(file) != about for file, about in versions.items()):
        _LAST.clear()
        about = ""
        with suppress(OSError):  # to read it says why
            about = version(path)
        with local_copy(path) as copy:
            loaded = load_network(copy, options.layer, overrides)
        beside = (os.path.join(os.path.dirname(path), name) for name in loaded.beside)
        _LAST[key] = loaded, {path: about, **{file: version(file) for file in beside}}
    if options.sha256 not in (None, _digest(loaded)):
        raise InputError(path, "was changed since the batch began", "run the same command again")
    return loaded


def digest_of(options: NetworkOptions) -> str:
    """Return a digest of a weight file and of the files beside it."""
    return _digest(read_weights(options))


def _digest(loaded: "Loaded") -> str:
    return " ".join([loaded.sha256, *(loaded.beside[name] for name in sorted(loaded.beside))])


def _loaded(options: NetworkOptions) -> Sourced:
    loaded = read_weights(options)
    for sentence in loaded.assumptions:
        note(f"{options.weights}: {word(sentence)}")
    source = {**_given(options, "weights", "layer"), "sha256": loaded.sha256}
    if loaded.beside:
        source["beside"] = loaded.beside
    return loaded.network, source, loaded.biases


def _check_memory(options: NetworkOptions, width: int, bytes_a_weight: int) -> None:
    hidden, direction = options.hidden or (), options.direction or "forward"
    gates, count = CELLS[options.cell or "rnn"].gates, 0
    for H in hidden:
        count += len(DIRECTIONS[direction]) * gates * H * (width + H + 1)
        width = merged_size(H, direction, options.merge or "concat")
    # 2**100 bytes are too many in any case, and no number too large for a message.
    needed = min(count * bytes_a_weight, 2**100)
    memory = _physical_memory()
    if memory is not None and needed > memory / 2:
        raise InputError(
            f"--hidden {','.join(map(str, hidden))}",
            f"the weights would take {needed / _GIB:,.1f} GiB, over half of this machine's "
            f"{memory / _GIB:,.1f} GiB of memory",
            "take fewer hidden units",
        )


def _physical_memory() -> int | None:
    """Return the bytes of memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
