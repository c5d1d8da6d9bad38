"""From the values of options to a network: drawn from a seed, or read from a file."""

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import click

from rnncli.cli.errors import note
from rnncli.cli.options import NetworkOptions
from rnncli.engine.precision import PRECISIONS
from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError, OptionError, verbatim, word
from rnncli.model.layers import DIRECTIONS, merged_size, per_cell
from rnncli.model.seeds import seeded
from rnncli.options import check_pairs
from rnncli.pipeline import Sourced
from rnncli.storage import local_copy, version

if TYPE_CHECKING:
    from rnncli.model.formats import Loaded

# Options that a file has the place of.
_DRAWN = tuple((name, "weights") for name in ("hidden", "cell", "seed", "init"))
_OF_LAYERS, _OF_CELLS = ("direction", "merge"), ("activation", "recurrent_activation", "reset")
# In a batch the next file most often has the same network.
_draw = lru_cache(maxsize=1)(seeded)


def check_network(options: NetworkOptions, files: Sequence[str] = ()) -> None:
    """Check the options before any file is opened; `files` are to be the input."""
    if options.hidden is None and options.weights is None:
        raise OptionError(f"no network: {_suggest_network(files)}")
    check_pairs(_given(options, *options._fields), _DRAWN)
    if options.weights is not None:
        return
    if options.layer is not None:
        raise OptionError("`layer` is for `weights`")
    if options.merge is not None and options.direction != "bidirectional":
        raise OptionError("`merge` is for `direction` bidirectional")
    ways = DIRECTIONS[options.direction or "forward"]
    for name, value in _given(options, *_OF_CELLS).items():
        having = [kind for kind in CELLS if name in CELLS[kind].setting_names]
        if (options.cell or "rnn") not in having:
            raise OptionError(f"`{name}` is for `cell` {' and '.join(having)}")
        try:
            per_cell(word(f"`{name}`"), value, [len(ways)] * len(options.hidden or ()))
        except ValueError as error:
            raise click.UsageError(str(error)) from error


def _suggest_network(files: Sequence[str]) -> str:
    """Suggest --weights for a model that is given as input, else a line that works."""
    from rnncli.model.formats import is_model

    for path in filter(is_model, files):
        return f"{verbatim(path)} is a model, give `weights` {verbatim(path)}"
    context = click.get_current_context()
    inputs = any(param.name == "files" for param in context.command.params) and not files
    example = f", as in '{context.command_path} {'--seq 1,2,3 ' * inputs}--hidden 4'"
    return f"give `hidden` H or `weights` FILE{example * (not files)}"


def build_network(
    options: NetworkOptions, I: int, precision: str = "float32", *, quiet: bool = False
) -> Sourced:
    """Draw the network for I inputs, or read it."""
    if options.weights is None:
        _check_memory(options, I, PRECISIONS[precision].dtype.itemsize)
        source = {"init": options.init or "tensorflow", "seed": 1} | _given(options, "seed")
        given = _given(options, "cell", *_OF_LAYERS, *_OF_CELLS)
        return _draw(I, options.hidden or (), **source, **given), source, ()
    loaded = read_weights(options, I)
    for sentence in () if quiet else loaded.assumptions:
        note(f"{options.weights}: {word(sentence)}")
    source = {**_given(options, "weights", "layer"), "sha256": loaded.sha256}
    if loaded.beside:
        source["beside"] = loaded.beside
    return loaded.network, source, loaded.biases


def _given(options: NetworkOptions, *names: str) -> dict[str, Any]:
    """Return the values of those options that are given."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def read_weights(options: NetworkOptions, I: int = 0) -> "Loaded":
    """Read a weight file, for I inputs if known; the last one is kept while it stays as it is."""
    assert options.weights is not None
    about, overrides = "", _given(options, *_OF_CELLS, *_OF_LAYERS)
    with suppress(OSError):  # to read it says why
        about = version(options.weights)
    loaded = _load(options.weights, about, options.layer, tuple(overrides.items()), I)
    if options.sha256 not in (None, digest_of(loaded)):
        what = "was changed since the batch began"
        raise InputError(options.weights, what, "run the same command again")
    return loaded


@lru_cache(maxsize=1)
def _load(
    path: str, _version: str, layer: str | None, overrides: tuple[Any, ...], I: int
) -> "Loaded":
    from rnncli.model.formats import load_network

    with local_copy(path) as copy:
        return load_network(copy, layer, dict(overrides), I)


def digest_of(loaded: "Loaded") -> str:
    """Return a digest of a weight file and of the files beside it."""
    return " ".join([loaded.sha256, *(loaded.beside[name] for name in sorted(loaded.beside))])


def _check_memory(options: NetworkOptions, width: int, bytes_a_weight: int) -> None:
    hidden, direction = options.hidden or (), options.direction or "forward"
    gates, count = CELLS[options.cell or "rnn"].gates, 0
    for H in hidden:
        count += len(DIRECTIONS[direction]) * gates * H * (width + H + 1)
        width = merged_size(H, direction, options.merge or "concat")
    needed = min(count * bytes_a_weight, 2**100)  # no number too large for a message
    memory = 2 * needed
    with suppress(AttributeError, OSError, ValueError):  # not every system tells
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        what = f"the weights would take {needed / 2**30:,.1f} GiB, over half of this machine's"
        what = f"{what} {memory / 2**30:,.1f} GiB of memory"
        raise InputError(f"--hidden {','.join(map(str, hidden))}", what, "take fewer hidden units")
