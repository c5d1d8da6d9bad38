"""The network that options describe, and the whole of an input that it runs on."""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from rnncli.cli.console import Line, note, watch
from rnncli.engine.precision import PRECISIONS
from rnncli.model.activations import Activation
from rnncli.model.cells import CELLS
from rnncli.model.errors import InputError, OptionError, verbatim, word
from rnncli.model.layers import DIRECTIONS, merged_size
from rnncli.model.seeds import seeded
from rnncli.opening import Built, Console
from rnncli.run_options import check_pairs
from rnncli.storage import local_copy
from rnncli.storage.system import memory_size

# Shows the runs of a command.
CONSOLE = Console(note, Line, watch)
# Options that draw a network: none goes with a file.
_DRAWN = tuple((name, "weights") for name in ("hidden", "cell", "seed", "init"))
_SETTINGS = ("activation", "recurrent_activation", "reset", "direction", "merge")
# Most files of a batch have the same network as the one before.
_draw = lru_cache(maxsize=1)(seeded)


class NetworkOptions(NamedTuple):
    """The options of the network; None where one is not given."""

    hidden: tuple[int, ...] | None = None
    cell: str | None = None
    seed: int | None = None
    init: str | None = None
    weights: str | None = None
    layer: str | None = None
    output_name: str | None = None
    chain: str | None = None
    direction: str | None = None
    merge: str | None = None
    activation: tuple[Activation, ...] | None = None
    recurrent_activation: tuple[Activation, ...] | None = None
    reset: str | None = None


def check_network(options: NetworkOptions, files: Sequence[str] = ()) -> None:
    """Check the options before any file is opened; `files` are the input."""
    if options.hidden is None and options.weights is None:
        from rnncli.model.formats.load import is_model

        for path in map(verbatim, filter(is_model, files)):
            raise OptionError(f"no network: {path} is a model, give `weights` {path}")
        example = "rnn run --seq 1,2,3 --hidden 4"
        raise OptionError(f"no network: give `hidden` H or `weights` FILE, as in '{example}'")
    check_pairs(_values_of(options, *options._fields), _DRAWN)
    for name in ("layer", "output_name", "chain"):
        if options.weights is None and getattr(options, name) is not None:
            raise OptionError(f"`{name}` is for `weights`")
    if options.layer is not None and options.chain is not None:
        raise OptionError("`layer` and `chain`: give one")
    if options.hidden and options.merge and options.direction != "bidirectional":
        raise OptionError("`merge` is for `direction` bidirectional")


def build_network(
    options: NetworkOptions,
    I: int,
    precision: str = "float32",
    *,
    quiet: bool = False,
    digest: bool = True,
) -> Built:
    """Draw the network for I inputs, or read it, with the digest of its file if it is wanted."""
    if options.weights is None:
        _check_memory(options, I, PRECISIONS[precision].dtype.itemsize)
        drawn = {"init": "tensorflow", "seed": 1}
        drawn |= _values_of(options, "init", "seed", "cell", *_SETTINGS)
        try:
            network = _draw(I, options.hidden or (), **drawn)
        except InputError:
            raise
        except ValueError as error:  # begins with the name of a setting
            raise OptionError(re.sub(r"^(\w+):", r"`\1`:", str(error))) from error
        return network, {"init": drawn["init"], "seed": drawn["seed"]}
    from rnncli.model.formats.load import load_network

    with local_copy(options.weights) as copy:
        settings = _values_of(options, *_SETTINGS)
        names = {"output_name": options.output_name, "chain": options.chain}
        loaded = load_network(copy, options.layer, settings, I, **names, digest=digest)
    for sentence in () if quiet else loaded.assumptions:
        note(f"{options.weights}: {word(sentence)}")
    source: dict[str, Any] = _values_of(options, "weights", "layer", "output_name", "chain")
    if digest:
        source["sha256"] = loaded.sha256
    if loaded.inputs:
        source["inputs"] = loaded.inputs
    if loaded.external_digests:
        source["beside"] = loaded.external_digests
    return loaded.network, source


def _values_of(options: NetworkOptions, *names: str) -> dict[str, Any]:
    """Return the values of the named options, without None."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def _check_memory(options: NetworkOptions, width: int, bytes_a_weight: int) -> None:
    hidden, direction = options.hidden or (), options.direction or "forward"
    gates, count = CELLS[options.cell or "rnn"].gates, 0
    for H in hidden:
        count += len(DIRECTIONS[direction]) * gates * H * (width + H + 1)
        width = merged_size(H, direction, options.merge or "concat")
    memory = memory_size() / 2**30
    needed = min(count * bytes_a_weight, 2**100) / 2**30  # a larger number fits no message
    if needed > memory / 2:
        what = f"the weights would take {needed:,.1f} GiB, over half of this machine's"
        what = f"{what} {memory:,.1f} GiB of memory"
        raise InputError(f"--hidden {','.join(map(str, hidden))}", what, "take fewer hidden units")
