"""``rnn explain``: show how a step was computed."""

from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from math import inf
from typing import Any

from rnncli.cli.networks import CONSOLE, NetworkOptions, build_network, check_network
from rnncli.cli.option_table import command, files, pick, table
from rnncli.engine.rows import Rows
from rnncli.explanation.page import most_steps, write_page
from rnncli.explanation.report import Report, as_json, write_json
from rnncli.explanation.steps import Wanted, explain_steps
from rnncli.explanation.units import find_unit
from rnncli.model.errors import InputError, OptionError, did_you_mean, listed, shown, verbatim
from rnncli.opening import open_both
from rnncli.readers.columns import split_names
from rnncli.readers.input import Input
from rnncli.run_options import Options, check_options, check_overwrites, extension_of
from rnncli.states.files import open_states
from rnncli.storage.sink import check_destination, destination

EXAMPLES = """
rnn explain --seq 1,2,3,4,5,6 --hidden 4 --step 2  # the second state
rnn explain --seq 1,2,3,4,5,6 --hidden 4 -o page.html  # all, as a page
"""
SHARED = "Input Network h0 c0 state_in precision output json digits quiet !follow"
EXTENSIONS = {"": "text", ".txt": "text", ".json": "json", ".html": "page"}


def wanted_steps(value: str) -> Wanted:
    """Read a step, counted from 1, or a range such as 1:6."""
    first, colon, last = value.partition(":")
    with suppress(ValueError):
        start, end = int(first or 1), inf if colon and not last else int(last or first)
        if 1 <= start <= end:
            return Wanted(start, end)
    raise ValueError(f"{value!r} is not a step from 1 on, or a range: 1:6, or 1: for all")


EXPLANATION = table(
    """
Explanation (rnn help explain)
--step, --steps T[:T]     A step, counted from 1, or a range: 1:6 is steps 1 to 6, 3: is step 3 to
                          the last. Default: the last step; on a page all steps.
--unit UNIT               Show every term of one unit: 2 is unit 2 of the top recurrent layer. A
                          column of rnn run --all-layers works too: c_2, y_0 or layer_1_h_2.
--key KEY                 Explain this sequence only: its value of --group-by, or its file name.
""",
    {"steps": wanted_steps, "key": split_names},
)


@command("explain", EXAMPLES, SHARED, [files(), *EXPLANATION])
def explain(
    steps: Wanted | None = None,
    unit: str | None = None,
    key: tuple[str, ...] | None = None,
    output: str | None = None,
    json: bool = False,
    digits: int | None = None,
    **values: Any,
) -> None:
    """Show how a step came about: products, sums and activations.

    It takes an input and a network as rnn run does, and shows the equations
    of a step with the numbers in them: those of rnn run --unroll stepwise.
    """
    reading, options = pick(Options, values), pick(NetworkOptions, values)
    check_network(options, reading.files)
    form = "json" if json else EXTENSIONS[extension_of(output or "", EXTENSIONS)]
    if form == "page" and digits is not None:
        raise OptionError("`digits` is for text, a page has all digits")
    check_options(reading)
    check_overwrites({"output": output}, [*reading.files, options.weights, reading.state_in])
    check_destination(output)
    with open_states(reading, CONSOLE) as states:
        build = partial(build_network, options, precision=reading.precision)
        reading = states.fill_scales(reading, CONSOLE)
        opened = open_both(reading, build, CONSOLE, states.keys, options.weights)
        source, network = opened.source, opened.network
        carried = states.resume(opened, CONSOLE)
    wanted_unit = None if unit is None else find_unit(network, unit)
    results = explain_steps(
        network,
        source.blocks if key is None else _of_key(source, key),
        steps or (Wanted(1) if form == "page" else Wanted()),
        carried,
        precision=reading.precision,
        key_columns=source.key_columns,
        keys=source.keys,
        one=key is not None or not source.key_columns,
        most=most_steps(network) if form == "page" else inf,
    )
    with CONSOLE.working("Running up to the step"):
        results = chain([next(results)], results)  # a failure before it leaves nothing to write
    if wanted_unit and form != "page":
        results = map(wanted_unit.of_step, results)
    with destination(output) as out:
        if form == "page":
            write_page(out, opened.model, results, wanted_unit)
        elif form == "json":
            write_json(out, opened.model, (as_json(step, digits) for step in results))
        else:
            Report(out, digits, wanted_unit).write(opened.model, results)


def _of_key(source: Input, key: tuple[str, ...]) -> Iterator[Rows]:
    """Select the rows of one sequence."""
    if not source.key_columns:
        raise OptionError("`key`: the input has one sequence")
    for rows in source.blocks:
        if key in source.keys and rows.key is not None:
            yield rows.take(rows.key == source.keys.index(key))
    if key not in source.keys:
        known = listed(" ".join(each) for each in source.keys)
        name = " ".join(key)
        hint = verbatim(did_you_mean(name, (" ".join(each) for each in source.keys)))
        raise InputError("", f"there is no sequence {shown(name)}: there are {known}", hint)
