"""``rnn explain``: how a step came about."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from math import inf
from typing import Any, NamedTuple

import click

from rnncli.cli.command import Command
from rnncli.cli.networks import build_network, check_network
from rnncli.cli.options import NetworkOptions, Opt, Section, options, picked
from rnncli.cli.outputs import note
from rnncli.cli.progress import Terminal, working
from rnncli.cli.values import FileName, columns, name
from rnncli.engine.rows import Rows
from rnncli.explanation.document import as_json, write_document
from rnncli.explanation.page import most_steps, write_page
from rnncli.explanation.report import Report
from rnncli.explanation.steps import Wanted, explain_steps
from rnncli.explanation.units import find_unit
from rnncli.model.errors import InputError, did_you_mean, listed, shown, verbatim
from rnncli.options import Options, check_files_apart, check_options, extension_of
from rnncli.pipeline import open_both, open_states
from rnncli.readers import Input, Keys
from rnncli.writers.sink import check_destination, destination

SEQ = "rnn explain --seq 1,2,3,4,5,6 --hidden 4"
EXAMPLES = (
    (f"{SEQ} --step 2", "How the second hidden state came about."),
    (f"{SEQ} -o page.html", "A page for a browser, with a slider over all steps."),
    (f"{SEQ} --steps 1:6 --json", "Every product, sum and activation of six steps, as JSON."),
)
EXTENSIONS = {"": "text", ".txt": "text", ".json": "json", ".html": "page"}


def wanted_steps(value: str) -> Wanted:
    """Read a step counted from 1, or a first and a last one with a colon between them."""
    first, colon, last = value.partition(":")
    with suppress(ValueError):
        found = Wanted(int(first or 1), int(last) if last else None if colon else int(first))
        if 1 <= int(first or 1) <= (inf if found.last is None else found.last):
            return found
    message = f"{value!r} is not a step from 1 on, such as 2, or a range of steps, such as 1:6"
    raise click.BadParameter(message)


class ExplanationOptions(NamedTuple):
    """Options of an explanation."""

    steps: Wanted | None = None
    unit: str | None = None
    key: tuple[str, ...] | None = None


EXPLANATION = Section(
    "Explanation (rnn help explain)",
    "explain",
    ExplanationOptions,
    {
        "steps": Opt(
            "Step to explain, counted from 1, or steps: 1:6, both ends included; 3: to the end. "
            "Default: the last one, on a page all.",
            wanted_steps,
            "T[:T]",
            short="--step",
            common=True,
        ),
        "unit": Opt(
            "Show every term of one unit: a number in the top recurrent layer, or the name that "
            "rnn run --all-layers has for it, such as c_2, y_0 or layer_1_h_2.",
            name,
            "UNIT",
            common=True,
        ),
        "key": Opt(
            "Explain this sequence alone: the value of --group-by, values separated by commas, or "
            "the name of its file.",
            columns,
            "KEY",
            common=True,
        ),
    },
)


@click.command("explain", cls=Command, examples=EXAMPLES)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=FileName())
@options(EXPLANATION)
@options("input", without="follow")
@options("network", "start")
@options("state", only="state_in")
@options("computation", only="precision")
@options("output", only="output json digits")
@options("quiet")
def explain(output: str | None, json: bool, digits: int | None, **given: Any) -> None:
    """Show how a step came about: products, sums and activations.

    It takes an input and a network as rnn run does, and shows the equations
    of a step with the numbers in them: those of rnn run --unroll stepwise.
    """
    reading, wanted = picked(Options, given), picked(NetworkOptions, given)
    own = picked(ExplanationOptions, given)
    check_network(wanted, reading.files)
    check_options(reading)
    form = "json" if json else EXTENSIONS[extension_of(output, list(EXTENSIONS))]
    if form == "page" and digits is not None:
        raise click.UsageError("--digits is for text, a page has all digits")
    check_files_apart({"output": output}, [*reading.files, wanted.weights, reading.state_in])
    check_destination(output)
    console = Terminal()
    with open_states(reading, console) as states:
        build = partial(build_network, wanted, precision=reading.precision)
        keys = Keys(states.keys)
        opened = open_both(states.scaled(), build, console, keys, wanted.weights)
        source, network = opened.source, opened.network
        carried = states.resume(opened)
    unit = None if own.unit is None else find_unit(network, own.unit)
    steps = own.steps or (Wanted(1) if form == "page" else Wanted())
    one = own.key is not None or not source.key_columns
    found = explain_steps(
        network,
        source.blocks if own.key is None else _of_key(source, own.key),
        steps,
        carried,
        precision=reading.precision,
        key_columns=source.key_columns,
        keys=source.keys,
        one=one,
        most=most_steps(network) if form == "page" else inf,
    )
    with working("Running up to the step"):
        found = chain([next(found)], found)  # a failure before it leaves nothing to write
    if unit and form != "page":
        found = map(unit.of_step, found)
    with destination(output) as out:
        if form == "page":
            write_page(out, opened.model, found, unit)
        elif form == "json":
            write_document(out, opened.model, (as_json(step, digits) for step in found))
        else:
            named = all(isinstance(column, str) for column in source.chosen)
            names = source.columns if named and source.chosen else ()
            Report(out, names, digits, unit).write(opened.model, found)
    last = carried.t[carried.t > carried.starts()[0]].max()
    if one and steps.last is not None and last < steps.last:
        note(f"there is no step {steps.last}: the last one is {last}")


def _of_key(source: Input, key: tuple[str, ...]) -> Iterator[Rows]:
    """Pass on the rows of one sequence."""
    columns, text = source.key_columns, " ".join(key)
    if len(key) != len(columns):
        named = " and one of ".join(columns)
        what = f"expected a value of {named}, got {len(key)} (quote a value with a comma)"
        what = what if columns else "the input has one sequence"
        raise click.UsageError(f"--key {','.join(key)}: {what}")
    for rows in source.blocks:
        if key in source.keys and rows.key is not None:
            yield rows.take(rows.key == source.keys.index(key))
    if key not in source.keys:
        known = [" ".join(each) for each in source.keys]
        what = f"there is no sequence {shown(text)}: there are {listed(known)}"
        raise InputError("", what, verbatim(did_you_mean(text, known)))
