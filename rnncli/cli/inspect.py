"""``rnn inspect``: what is in a model file, and the command that runs it.

``--json`` writes one document::

    {"file", "layer": what --layer picked, if given,
     "title": what wrote the file, "sha256",
     "beside": [files that hold its values, if there are any],
     "parameters": {"read": in the parts that are run, "all"},
     "why": it cannot be run as a whole, if it cannot,
     "runs": [{"layer": name or null, "command", "input_size", "output_size",
               "indices": how many whole numbers it takes, of an embedding,
               "last": null, "state" or "step"}],
     "notes": [what is taken for granted],
     "parts": [{"name", "kind", "parameters",
                "layers": [{"layer": "recurrent" or another, "input_size",
                            "output_size", ... as in rnn run --json}],
                "why": it is not run, "hint", "needed": for the whole,
                "tensors": [{"name", "shape", "dtype"}]}]}

A part that is run has no ``why``. Of a file that cannot be run as a whole
there is a run for each recurrent part, at most for the first 100.
"""

import shlex

import click

from rnncli.cli.command import Command
from rnncli.cli.errors import with_options
from rnncli.cli.options import NETWORK, OUTPUT, options
from rnncli.cli.values import FileName
from rnncli.storage import local_copy
from rnncli.writers.inspect import describe_file, write_parts_json, write_parts_table
from rnncli.writers.sink import destination

EXAMPLES = (
    ("rnn inspect model.keras", "Its layers, which of them run here, and the command for that."),
    ("rnn inspect model.pt --layer encoder.rnn", "One module of a larger model."),
    ("rnn inspect model.onnx --json", "All of it, as one JSON document."),
)


@click.command("inspect", cls=Command, examples=EXAMPLES)
@click.argument("file", type=FileName())
@options(NETWORK, only="layer")
@options(OUTPUT, only="json")
def inspect(file: str, layer: str | None, json: bool) -> None:
    """Show what is in a model FILE, and the command that runs it.

    A FILE is what Keras (.keras, .h5, .hdf5), PyTorch (.pt, .pth, .bin,
    .ckpt) or another framework (.onnx) saved, .safetensors, or .npz.

    Its weights are not read. For each part there are its name and kind, the
    shapes of its tensors, and what it is here, or why it is passed over.
    """

    def command(picked: str | None) -> str:
        words = ["rnn", "run", "FILE.csv", "--weights", file]
        return shlex.join([*words, *([] if picked is None else ["--layer", picked])])

    with local_copy(file) as path:
        document = describe_file(path, layer, command, with_options) | {"file": file}
    with destination(None) as out:
        if json:
            write_parts_json(out, document)
        else:
            write_parts_table(out, document, "--json has all")
