"""``rnn weights``: show or save the weights of a network."""

from collections.abc import Sequence
from typing import Any

import click

from rnncli import __version__
from rnncli.cli.console import note
from rnncli.cli.networks import NetworkOptions, build_network, check_network
from rnncli.cli.option_table import command, pick, table
from rnncli.model.description import describe
from rnncli.model.errors import OptionError, verbatim
from rnncli.model.formats.load import WRITTEN, save_network
from rnncli.run_options import extension_of, integer
from rnncli.storage import wrap_url
from rnncli.storage.sink import check_destination, destination
from rnncli.writers.weights import write_weights_json, write_weights_table

EXAMPLES = """
rnn weights --hidden 4  # the notebook's W_xh, W_hh and b_h, from seed 1
rnn weights -w model.keras -o w.npz  # as arrays for numpy.load
"""

FEATURES = table(
    """
Network (rnn help networks)
--inputs I                Number of input features. Default: that of --weights, else 1.
""",
    {"inputs": integer(1)},
)


FILE = click.Argument(["file"], metavar="[FILE]", required=False)


@command("weights", EXAMPLES, "Network output json quiet", [FILE, *FEATURES])
def weights(
    inputs: int | None = None,
    output: str | None = None,
    json: bool = False,
    file: str | None = None,
    **values: Any,
) -> None:
    """Show or save the weights of a network, array by array.

    They come from a seed, or from a model FILE, also given by -w. With -o they
    are saved: as .npz, .safetensors, .onnx or .json.
    """
    if file is not None:
        if "weights" in values:
            raise OptionError(f"`weights` {verbatim(values['weights'])} and {file}: give one")
        values["weights"] = wrap_url(file)
    output = None if output == "-" else output
    extension = extension_of(output, [*WRITTEN, ".json"]) if output else ".json" if json else ""
    if json and extension != ".json":
        raise OptionError(f"`json` and `output` {verbatim(output or '')}: give one")
    options = pick(NetworkOptions, values)
    check_network(options)
    check_destination(output)
    network, origin = build_network(options, inputs or int(options.weights is None))
    if inputs not in (None, network.input_size):
        raise OptionError(f"`inputs` {inputs}: the network takes {network.input_size}")
    notes: Sequence[str] = ()
    with destination(output) as out:
        if extension in WRITTEN:
            notes = save_network(out.buffer, network, extension)
        elif extension:
            write_weights_json(out, network, describe(network, origin, __version__))
        else:
            write_weights_table(out, network, describe(network, origin, __version__))
    for text in notes:
        note(f"{output}: {text}")
