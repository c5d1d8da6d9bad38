"""``rnn explain``: how a step came about."""

import os
from collections.abc import Iterator
from itertools import chain
from typing import Any

import click

from rnncli.cli.command import Command
from rnncli.cli.errors import with_options
from rnncli.cli.inputs import check_network, open_both
from rnncli.cli.options import (
    InputOptions,
    NetworkOptions,
    StartOptions,
    StateOptions,
    digits_option,
    input_options,
    json_option,
    network_options,
    output_option,
    picked,
    precision_option,
    start_options,
    state_in_option,
)
from rnncli.cli.outputs import check_destination, check_files_apart, destination, on_screen
from rnncli.cli.progress import with_progress
from rnncli.cli.states import check_state_options, resume, state_files
from rnncli.engine.state import fingerprint
from rnncli.engine.stream import Carried
from rnncli.explain.document import Documents, write_document
from rnncli.explain.report import Report
from rnncli.explain.steps import Step, Wanted, explained
from rnncli.model.errors import InputError
from rnncli.readers import Keys

EXAMPLES = (
    (
        "rnn explain --seq 1,2,3,4,5,6 --hidden 4 --step 2",
        "How the second hidden state came about.",
    ),
    (
        "rnn explain --seq 1,2,3,4,5,6 --hidden 4 --steps 1:6 --json",
        "Every product, sum and activation of six steps, as one JSON document.",
    ),
)
EXTENSIONS = {"": "text", ".txt": "text", ".json": "json"}


def wanted_steps(value: str) -> Wanted:
    """Read a step counted from 1, or a first and a last one with a colon between them."""
    first, colon, last = value.partition(":")
    try:
        found = Wanted(int(first or 1), int(last) if last else None if colon else int(first))
    except ValueError:
        message = f"{value!r} is not a step, such as 2, or a range of steps, such as 1:6"
        raise click.BadParameter(message) from None
    for number in found:
        if number is not None and number < 1:
            raise click.BadParameter(f"{value!r}: steps are counted from 1")
    if found.last is not None and found.last < (found.first or 1):
        raise click.BadParameter(f"{value!r} ends before it begins")
    return found


@click.command("explain", cls=Command, examples=EXAMPLES)
@input_options
@network_options
@start_options
@state_in_option
@precision_option
@click.option(
    "--step",
    "--steps",
    "steps",
    metavar="T[:T]",
    type=wanted_steps,
    help="The step to explain, counted from 1, or a range of them: 1:6 with both ends, 3: to the "
    "end.  [default: the last]",
)
@output_option
@json_option
@digits_option
def explain(
    precision: str,
    state_in: str | None,
    steps: Wanted | None,
    output: str | None,
    json: bool,
    digits: int | None,
    **given: Any,
) -> None:
    """Show how a step came about: products, sums, activations, and the state.

    It takes an input and a network as rnn run does, and shows the equations
    of a step with the numbers in them: those of rnn run --unroll stepwise.
    """
    reading, options = picked(InputOptions, given), picked(NetworkOptions, given)
    states = StateOptions(None, state_in, None)
    check_network(options, reading.files)
    check_state_options(states)
    form = "json" if json else _form(output)
    check_files_apart({"-o": output}, [*reading.files, options.weights, state_in])
    check_destination(output)
    wanted = steps or Wanted()
    with state_files(states) as files:
        known = files.before.keys if files.before else ()
        opened = open_both(reading, options, precision, picked(StartOptions, given), Keys(known))
        source, network = opened.source, opened.network
        one = not source.key_columns
        carried = Carried(opened.start, sequences=1 if one else len(source.keys))
        resume(files, carried, network, fingerprint(network, precision), source.key_columns)
    found = explained(
        network,
        with_progress(source.blocks, source.share, quiet=on_screen(output)),
        wanted,
        carried,
        precision=precision,
        keys=source.keys,
        one=one,
    )
    found = _begun(found, wanted, carried)
    documents = Documents(source.key_columns, source.keys, digits)
    with destination(output) as out:
        if form == "json":
            write_document(out, opened.model, map(documents.step, found))
        else:
            names = [name for name in source.chosen if isinstance(name, str)]
            if len(names) < len(source.columns):
                names = []
            Report(out, names, source.keys, digits, with_options).write(opened.model, found)


def _form(path: str | None) -> str:
    extension = os.path.splitext(path or "")[1].lower()
    if extension not in EXTENSIONS:
        known = ", ".join(filter(None, EXTENSIONS))
        raise click.UsageError(
            f"-o {path}: no format has the extension {extension!r} (known: {known})"
        )
    return EXTENSIONS[extension]


def _begun(steps: Iterator[Step], wanted: Wanted, carried: Carried) -> Iterator[Step]:
    """Explain the first step now: a failure before it leaves nothing to write."""
    first = next(steps, None)
    if first is None:
        raise InputError("", _missing(wanted, carried))
    return chain([first], steps)


def _missing(wanted: Wanted, carried: Carried) -> str:
    """Return why there is none of the steps that are wanted."""
    taken, started = int(carried.t.max(initial=0)), int(carried.resumed.t.max(initial=0))
    if taken == started == 0:
        return "the input has no steps"
    if wanted.last is not None and wanted.last <= started:
        return f"step {wanted.last} is before the state: steps go on at {started + 1}"
    begin = started + 1
    return f"there is no step {wanted.first or begin}: the input has steps {begin} to {taken}"
