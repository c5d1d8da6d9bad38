"""``rnn inspect``: the content of a model file or a state file, and the command that runs it.

``--json`` writes one document. Of a model::

    {"file", "layer": what --layer picked, if given,
     "title": what wrote the file, "sha256",
     "beside": [files that hold its values, if there are any],
     "parameters": {"read": in the parts that are run, "all"},
     "why": it cannot be run as a whole, if it cannot,
     "runs": [{"layer": name or null, "command", "input_size", "output_size",
               "indices": how many whole numbers it takes, of an embedding,
               "last": null, "state" or "step"}],
     "notes": [what is assumed],
     "parts": [{"name", "kind", "parameters",
                "layers": [{"layer": "recurrent" or another, "input_size",
                            "output_size", ... as in rnn run --json}],
                "why": it is not run, "hint", "needed": for the whole,
                "tensors": [{"name", "shape", "dtype"}]}]}

Of a file that cannot be run as a whole there is a run for each recurrent part, at most for the
first 100. Of a state::

    {"file", "title", "written", "cells", "network": its fingerprint, "columns", "center", "scale",
     "sequences": [{"key": {column: value}, "t", "h": [...], "c": [...] of an LSTM}]}
"""

import click
from click.exceptions import Exit

from rnncli.cli.command import Command
from rnncli.cli.errors import RUN_FAILED
from rnncli.cli.options import options
from rnncli.cli.values import FileName
from rnncli.inspection import inspect as describe
from rnncli.writers.inspect import write_document, write_tables
from rnncli.writers.sink import destination

EXAMPLES = (
    ("rnn inspect model.keras", "Its layers, which of them run here, and the command for that."),
    ("rnn inspect model.pt --layer encoder.rnn", "One module of a larger model."),
    ("rnn inspect model.onnx --json", "All of it, as one JSON document."),
    ("rnn inspect s.npz", "The keys in a state file, and how many steps each has had."),
)


@click.command("inspect", cls=Command, examples=EXAMPLES)
@click.argument("file", type=FileName())
@options("network", only="layer")
@options("output", only="json")
def inspect(file: str, layer: str | None, json: bool) -> None:
    """Show what a model FILE or a state file holds, and how to run it.

    A model is what Keras (.keras, .h5, .hdf5), PyTorch (.pt, .pth, .bin,
    .ckpt) or another framework (.onnx) saved, .safetensors, or .npz; a state
    is what rnn run --state wrote. For each part of a model there are its name
    and kind, the shapes of its tensors, and the layers that it is here, or the
    reason why it is passed over. Exit code 1: nothing in the model can be run.
    """
    document = describe(file, layer=layer)
    with destination(None) as out:
        if json:
            write_document(out, document)
        else:
            write_tables(out, document, "--json has all")
    if not document.get("runs", ["a state"]):
        raise Exit(RUN_FAILED)
