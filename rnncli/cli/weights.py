"""``rnn weights``: the weights of a network, to look at or to save."""

import os
from typing import Any, NamedTuple

import click

from rnncli import __version__
from rnncli.cli.command import Command
from rnncli.cli.networks import build_network, check_network
from rnncli.cli.options import NETWORK, NetworkOptions, Opt, Section, options, picked
from rnncli.cli.outputs import note
from rnncli.model.network import Network
from rnncli.options import extension_of, whole
from rnncli.pipeline import check_input_size
from rnncli.writers.model import describe
from rnncli.writers.sink import check_destination, destination
from rnncli.writers.weights import write_weights_json, write_weights_table

EXAMPLES = (
    ("rnn weights --hidden 4", "The notebook's W_xh, W_hh and b_h, from seed 1."),
    ("rnn weights --hidden 8 --inputs 2 --seed 7 --json > weights.json", "As JSON."),
    (
        "rnn weights --hidden 4 --cell lstm --init torch",
        "The gates i, f, g and o of an LSTM, as PyTorch draws it.",
    ),
    (
        "rnn weights --hidden 32,16 --init keras --activation relu -o w.npz",
        "A stack of two layers, as Keras draws it, in a file for rnn run --weights.",
    ),
    (
        "rnn weights --weights model.keras -o w.npz",
        "A trained model, heads and all, as arrays that numpy.load reads.",
    ),
)


class Features(NamedTuple):
    """How many features the network takes."""

    inputs: int | None = None


FEATURES = Section(
    NETWORK.heading,
    NETWORK.topic,
    Features,
    {
        "inputs": Opt(
            "Number of input features. Default: that of --weights, else 1.",
            whole(1),
            "I",
            common=True,
        )
    },
)


@click.command("weights", cls=Command, examples=EXAMPLES)
@options(FEATURES, "network")
@options("output", only="output json")
@options("quiet")
def weights(inputs: int | None, output: str | None, json: bool, **given: Any) -> None:
    """Show or save the weights of a network, array by array.

    They are those that a seed gives, or those in a file. With -o FILE they
    are saved: as .npz, .safetensors, .onnx or .json.
    """
    extension = _extension(output, json=json)
    wanted = picked(NetworkOptions, given)
    check_network(wanted)
    check_destination(output)
    network, origin, _ = build_network(wanted, 1 if inputs is None else inputs)
    if inputs is not None:
        check_input_size(network, inputs)
    if extension not in ("", ".json"):
        _save(network, output, extension)
        return
    model = describe(network, origin, __version__)
    with destination(output) as out:
        if json or extension:
            write_weights_json(out, network, model)
        else:
            write_weights_table(out, network, model, "--json has all")


def _extension(output: str | None, *, json: bool) -> str:
    """Return the extension that decides the format; none for standard output."""
    extension = "" if output in (None, "-") else os.path.splitext(output or "")[1].lower()
    if output in (None, "-") or (json and extension == ".json"):
        return extension
    from rnncli.model.formats import WRITTEN

    extension_of(output, [*WRITTEN, ".json"])
    if json:
        raise click.UsageError(f"--json and -o {output}: give one")
    return extension


def _save(network: Network, output: str | None, extension: str) -> None:
    from rnncli.model.formats import save_network

    with destination(output) as out:
        told = save_network(out.buffer, network, extension)
    for each in told:
        note(f"{output}: {each}")
