"""``rnn inspect``: the content of a model file or a state file, and the command that runs it."""

from json import dumps

import click

from rnncli.cli.exits import RUN_FAILED
from rnncli.cli.option_table import command, table
from rnncli.inspection import inspect as describe
from rnncli.storage import wrap_url
from rnncli.storage.sink import destination
from rnncli.writers.inspect import write_tables

EXAMPLES = """
rnn inspect model.keras  # its layers, and the command that runs it
rnn inspect s.npz  # the keys in a state file, and how many steps each has had
"""
LINES = table(
    """
Output (rnn help output)
--json-lines  Write a line of JSON for each sequence of a state file, or part of a model.
"""
)


FILE = click.Argument(["file"], required=False)


@command("inspect", EXAMPLES, "weights layer output_name json", [FILE, *LINES])
def inspect(
    file: str | None = None,
    weights: str | None = None,
    layer: str | None = None,
    output_name: str | None = None,
    json: bool = False,
    json_lines: bool = False,
) -> None:
    """Show what a model or a state file holds, and how to run it.

    FILE is a model of Keras (.keras, .h5, .hdf5), PyTorch (.pt, .pth, .bin,
    .ckpt, .pt2) or others (.onnx, .safetensors, .npz), or a state file that rnn
    run --state wrote. Exit code: 1 if nothing in the model can be run.
    """
    if (file is None) == (weights is None):
        raise click.UsageError("give one FILE: a model, or a state file")
    if json and json_lines:
        raise click.UsageError("--json and --json-lines: give one")
    document = describe(weights or wrap_url(str(file)), layer=layer, output_name=output_name)
    with destination(None) as out:
        if json:
            out.write(dumps(document, indent=1) + "\n")
        elif json_lines:
            items = document["sequences" if "sequences" in document else "parts"]
            out.writelines(f"{dumps(each)}\n" for each in items)
        else:
            write_tables(out, document)
    if not document.get("runs", ["a state"]):
        raise click.exceptions.Exit(RUN_FAILED)
