"""``rnn explain``: how a step came about."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import click
import numpy as np

from rnncli.cli.command import Command
from rnncli.cli.errors import with_options
from rnncli.cli.networks import build_network, check_network
from rnncli.cli.options import (
    COMPUTATION,
    INPUT,
    NETWORK,
    OUTPUT,
    QUIET,
    START,
    STATE,
    NetworkOptions,
    Opt,
    Section,
    options,
    picked,
)
from rnncli.cli.outputs import note
from rnncli.cli.progress import Terminal
from rnncli.cli.values import FileName, columns, name
from rnncli.engine.rows import Rows
from rnncli.engine.state import fingerprint
from rnncli.engine.stream import Carried
from rnncli.explain.document import Documents, write_document
from rnncli.explain.page import most_steps, write_page
from rnncli.explain.report import Report
from rnncli.explain.steps import Step, Wanted, explained
from rnncli.explain.units import find_unit
from rnncli.model.arrays import Integers
from rnncli.model.errors import InputError, did_you_mean, listed, shown, verbatim
from rnncli.pipeline import (
    Options,
    check_files_apart,
    check_options,
    extension_of,
    open_both,
    resume,
    scaled_as_before,
    state_files,
)
from rnncli.readers import Input, Keys
from rnncli.writers.sink import check_destination, destination

EXAMPLES = (
    (
        "rnn explain --seq 1,2,3,4,5,6 --hidden 4 --step 2",
        "How the second hidden state came about.",
    ),
    (
        "rnn explain --seq 1,2,3,4,5,6 --hidden 4 -o page.html",
        "A page for a browser, with a slider over all steps.",
    ),
    (
        "rnn explain --seq 1,2,3,4,5,6 --hidden 4 --steps 1:6 --json",
        "Every product, sum and activation of six steps, as one JSON document.",
    ),
)
EXTENSIONS = {"": "text", ".txt": "text", ".json": "json", ".html": "page"}


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


class ExplanationOptions(NamedTuple):
    """What is explained."""

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
@options(INPUT, without="follow")
@options(NETWORK, START)
@options(STATE, only="state_in")
@options(COMPUTATION, only="precision")
@options(OUTPUT, only="output json digits")
@options(QUIET)
def explain(
    precision: str,
    state_in: str | None,
    steps: Wanted | None,
    unit: str | None,
    key: tuple[str, ...] | None,
    output: str | None,
    json: bool,
    digits: int | None,
    **given: Any,
) -> None:
    """Show how a step came about: products, sums and activations.

    It takes an input and a network as rnn run does, and shows the equations
    of a step with the numbers in them: those of rnn run --unroll stepwise.
    """
    given |= {"precision": precision, "state_in": state_in}
    reading, wanted = picked(Options, given), picked(NetworkOptions, given)
    check_network(wanted, reading.files)
    check_options(reading)
    form = "json" if json else EXTENSIONS[extension_of(output, list(EXTENSIONS))]
    steps = steps or (Wanted(1) if form == "page" else Wanted())
    if form == "page" and digits is not None:
        raise click.UsageError("--digits is for text, a page has all digits")
    check_files_apart({"output": output}, [*reading.files, wanted.weights, state_in])
    check_destination(output)
    console = Terminal()
    with state_files(reading, console) as files:
        reading = scaled_as_before(reading, files)
        build = partial(build_network, wanted, precision=precision)
        opened = open_both(
            reading,
            build,
            console,
            Keys(files.keys),
            wanted.weights,
        )
        source, network = opened.source, opened.network
        carried = resume(files, opened, fingerprint(network, precision), console)
    one_unit = None if unit is None else find_unit(network, unit)
    rows = _watched(source, console, output)
    rows = rows if key is None else _of_key(rows, source, key)
    one = key is not None or not source.key_columns
    if form == "page" and (steps == Wanted(1) or (one and not carried.t.any())):
        rows = _fitting(rows, steps, most_steps(network, precision))
    found = explained(network, rows, steps, carried, precision=precision, keys=source.keys, one=one)
    found = _begun(found, steps, carried, source, key)
    if one_unit and form != "page":
        found = map(one_unit.of_step, found)
    with destination(output) as out:
        documents = Documents(source.key_columns, source.keys, digits)
        if form == "page":
            place = one_unit and [one_unit.layer, one_unit.cell, one_unit.place]
            document = {
                "model": opened.model,
                "steps": map(documents.step, found),
                "unit": place,
            }
            write_page(out, document, network)
            return
        if form == "json":
            write_document(out, opened.model, map(documents.step, found))
            return
        named = all(isinstance(column, str) for column in source.chosen)
        names = source.columns if named and source.chosen else ()
        report = Report(out, names, source.key_columns, source.keys, digits, one_unit, with_options)
        report.write(opened.model, found)


def _watched(source: Input, console: Terminal, output: str | None) -> Iterator[Rows]:
    """Pass rows on, and show how many they are."""
    with console.progress(source, None, output) as watchers:
        for rows in source.blocks:
            for watcher in watchers:
                watcher.begin(rows)
                watcher.end()
            yield rows


def _fitting(blocks: Iterable[Rows], wanted: Wanted, most: int) -> Iterator[Rows]:
    """Pass rows on, each block once the next one is read and fits on the page too."""
    before, count = list[Rows](), 0
    for rows in blocks:
        count += len(rows.x) - (0 if rows.masked is None else int(rows.masked.sum()))
        among = count if wanted.last is None else min(count, wanted.last)
        if among - (wanted.first or 1) >= most:
            what = f"a page holds about {most} steps of this network, the input has more"
            raise InputError("", what, "choose fewer by `steps`, or write them as JSON")
        before.append(rows)
        if len(before) > 1 or among == wanted.last:  # no more than these are read
            yield from before
            before.clear()
    yield from before


def _of_key(blocks: Iterable[Rows], source: Input, key: tuple[str, ...]) -> Iterator[Rows]:
    """Pass on the rows of one sequence."""
    columns = source.key_columns
    if len(key) != len(columns):
        what = "the input has one sequence"
        if columns:
            named = " and one of ".join(columns)
            what = f"expected a value of {named}, got {len(key)} (quote a value with a comma)"
        raise click.UsageError(f"--key {','.join(key)}: {what}")
    for rows in blocks:
        if key in source.keys and rows.key is not None:
            yield rows.take(rows.key == source.keys.index(key))


def _begun(
    steps: Iterator[Step],
    wanted: Wanted,
    carried: Carried,
    source: Input,
    key: tuple[str, ...] | None,
) -> Iterator[Step]:
    """Explain the first step now: a failure before it leaves nothing to write."""
    first = next(steps, None)
    if first is not None:
        return _noted(chain([first], steps), wanted)
    if key is not None and key not in source.keys:
        known = [" ".join(each) for each in source.keys]
        wanted_key = " ".join(key)
        what = f"there is no sequence {shown(wanted_key)}: there are {listed(known)}"
        raise InputError("", what, verbatim(did_you_mean(wanted_key, known)))
    whose = slice(None) if key is None else [source.keys.index(key)]
    raise InputError("", _missing(wanted, carried.starts()[0][whose], carried.t[whose]))


def _missing(wanted: Wanted, starts: Integers, taken: Integers) -> str:
    """Return why there is none of the steps that are wanted, after those that were run."""
    if len(starts) > 1 and wanted.first:
        return f"no sequence has the step {wanted.first}"
    started, last = int(np.max(starts, initial=0)), int(np.max(taken, initial=0))
    if last == started:
        if wanted.last is not None and wanted.last <= started:
            return f"step {wanted.last} is before the state: the steps go on at {started + 1}"
        return "the input has no steps"
    return f"there is no step {wanted.first}: the input has the steps {started + 1} to {last}"


def _noted(steps: Iterator[Step], wanted: Wanted) -> Iterator[Step]:
    """Pass steps on, and note if the last of one sequence is not there."""
    step = None
    for step in steps:
        yield step
    if step and step.key is None and wanted.last is not None and step.t < wanted.last:
        note(f"there is no step {wanted.last}: the last one is {step.t}")
