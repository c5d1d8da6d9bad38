"""``rnn weights``: the weights that a seed gives."""

from typing import Any

import click

from rnncli import __version__
from rnncli.cli.help import Command
from rnncli.cli.options import NetworkOptions, inputs_option, json_option, network_options, picked
from rnncli.cli.resolve import build_network, destination
from rnncli.writers.model import describe
from rnncli.writers.weights import write_weights_json, write_weights_table

EXAMPLES = (
    ("rnn weights --hidden 4", "The notebook's W_xh, W_hh and b_h, from seed 1."),
    ("rnn weights --hidden 8 --inputs 2 --seed 7 --json > weights.json", "As JSON."),
)


@click.command("weights", cls=Command, examples=EXAMPLES)
@inputs_option
@network_options
@json_option
def weights(inputs: int, json: bool, **given: Any) -> None:
    """Write the weights that a seed gives: W_xh, W_hh and b_h."""
    options = picked(NetworkOptions, given)
    network = build_network(options, inputs)
    model = describe(network, {"init": options.init, "seed": options.seed}, __version__)
    write = write_weights_json if json else write_weights_table
    with destination(None) as out:
        write(out, network, model)
