"""From the values of options to a network: drawn from a seed, or read from a file."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple

import click

from rnncli.cli.errors import with_options
from rnncli.cli.options import NetworkOptions
from rnncli.model.activations import TANH
from rnncli.model.architecture import Architecture
from rnncli.model.arrays import Floats
from rnncli.model.initializers import seeded
from rnncli.model.network import Network
from rnncli.writers.screen import on_a_line

_GIB = 2**30
_SEED, _INIT = 1, "tensorflow"


class Sourced(NamedTuple):
    """A network, and where its weights are from: what a JSON document says of it.

    The biases are those of each cell in a weight file, as it has them.
    """

    network: Network
    source: dict[str, Any]
    biases: Sequence[tuple[Floats, ...]] = ()


def build_network(
    options: NetworkOptions, input_size: int | None, bytes_a_weight: int = 4
) -> Sourced:
    """Draw the network, or read it.

    Parameters
    ----------
    options : NetworkOptions
    input_size : int, optional
        Number of input features of a network that is drawn, 1 by default.
    bytes_a_weight : int
        In the precision of the run.

    Raises
    ------
    ValueError
        The weights would take more than half of the physical memory, or the
        file has no network that the options agree with.
    """
    if options.weights is not None:
        return _loaded(options)
    architecture = Architecture(
        1 if input_size is None else input_size,
        options.hidden or (),
        options.direction or "forward",
        options.merge or "concat",
    )
    _check_memory(architecture, bytes_a_weight)
    seed = _SEED if options.seed is None else options.seed
    init = options.init or _INIT
    network = seeded(
        architecture.input_size,
        architecture.hidden_sizes,
        seed,
        init,
        direction=architecture.direction,
        merge=architecture.merge,
        activation=options.activation or TANH,
        clip=inf if options.clip is None else options.clip,
    )
    return Sourced(network, {"init": init, "seed": seed})


def check_network(options: NetworkOptions) -> None:
    """Check what needs neither a file nor the input.

    Raises
    ------
    click.UsageError
        Options contradict each other, or do not say which network.
    """
    drawn = {"--hidden": options.hidden, "--seed": options.seed, "--init": options.init}
    if options.weights is None:
        if options.hidden is None:
            raise click.UsageError("no network: give --hidden H or --weights FILE")
        if options.layer is not None:
            raise click.UsageError("--layer is for --weights")
        if options.merge is not None and options.direction != "bidirectional":
            raise click.UsageError("--merge is for --direction bidirectional")
        return
    for name, value in drawn.items():
        if value is not None:
            raise click.UsageError(f"{name} and --weights {options.weights}: give one")


def _loaded(options: NetworkOptions) -> Sourced:
    from rnncli.model.formats import load_network

    assert options.weights is not None
    names = ("activation", "direction", "merge", "clip")
    overrides = {name: getattr(options, name) for name in names}
    loaded = load_network(options.weights, options.layer, overrides)
    for sentence in loaded.assumptions:
        note(f"{options.weights}: {with_options(sentence)}")
    layer = {} if options.layer is None else {"layer": options.layer}
    source = {"weights": options.weights, **layer, "sha256": loaded.sha256}
    return Sourced(loaded.network, source, loaded.biases)


def check_input_size(network: Network, input_size: int, way_out: str = "") -> None:
    """Refuse an input of another width than the network's.

    Raises
    ------
    ValueError
        It has more or fewer features than `W_xh` has rows.
    """
    if input_size != network.input_size:
        shape = network.cells[0].weights.W_xh.shape
        raise ValueError(
            f"expected I = {network.input_size}, as W_xh has shape {shape}, "
            f"got I = {input_size}{way_out}"
        )


def note(sentence: str) -> None:
    """Say on standard error, if it is open, what a result does not show."""
    if sys.stderr is not None:
        with suppress(OSError):
            click.echo(f"Note: {on_a_line(sentence)}", err=True)


def _check_memory(architecture: Architecture, bytes_a_weight: int) -> None:
    # 2**100 bytes are too many in any case, and no number too large for a message.
    needed = min(architecture.weight_count() * bytes_a_weight, 2**100)
    memory = _physical_memory()
    if memory is not None and needed > memory / 2:
        raise ValueError(
            f"--hidden {','.join(map(str, architecture.hidden_sizes))}: the weights would take "
            f"{needed / _GIB:,.1f} GiB, over half of this machine's {memory / _GIB:,.1f} GiB of "
            "memory; take fewer hidden units"
        )


def _physical_memory() -> int | None:
    """Bytes of memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
