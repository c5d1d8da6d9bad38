"""The content of a model file or a state file, as one document."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from typing import Any

from rnncli.model.arrays import name_type
from rnncli.model.contents import Component, Contents, assumptions, make_network
from rnncli.model.description import describe_layer, known
from rnncli.model.errors import InputError, word
from rnncli.model.formats.load import read_contents
from rnncli.model.graph.inputs import describe_inputs
from rnncli.states.format import load_state
from rnncli.storage import local_copy
from rnncli.writers.document import Document
from rnncli.writers.inspect import write_tables


def inspect(
    path: str | os.PathLike[str], *, layer: str | None = None, output_name: str | None = None
) -> dict[str, Any]:
    """Describe a model file or a state file, as ``rnn inspect --json`` does.

    Parameters
    ----------
    path : str or path
        A file that `load` reads, or one that ``rnn run --state`` wrote.
    layer : str, optional
        Describe this layer or module of a model alone.
    output_name : str, optional
        Describe the model up to this one of its outputs. Default: the first.

    Returns
    -------
    dict
        For a model: ``title``, ``runs`` (the commands that run it, with ``input_size`` and
        ``output_size`` if known), ``outputs`` (their names, if there are several), ``why`` it
        cannot be run as a whole, ``notes`` about assumptions, and ``parts``. For a state:
        ``cells``, ``columns`` and ``sequences``.
        `print` shows it as ``rnn inspect`` does.

    Raises
    ------
    InputError
        The file cannot be read, or is neither.

    Examples
    --------
    >>> rnncli.inspect("model.keras")["runs"][0]["command"]
    'rnn run FILE.csv --weights model.keras'
    """
    file = os.fspath(path)
    with local_copy(file) as copy:
        if layer is output_name is None:
            with suppress(InputError, OSError):
                return Document(_describe_state(file, copy), write_tables)
        return Document(_describe_model(file, copy, layer, output_name), write_tables)


def _describe_state(file: str, copy: str) -> dict[str, Any]:
    state = load_state(copy)
    arrays = {"t": state.t, **state.arrays}
    sequences = [
        ({"key": dict(zip(state.key_columns, key, strict=True))} if key else {})
        | {name: array[k].tolist() for name, array in arrays.items()}
        for k, key in enumerate(state.keys)
    ]
    return known(
        file=file,
        title="states of rnn run",
        cells=[*state.cells],
        network=state.network,
        columns=[*state.columns] or None,
        center=[*state.center] or None,
        scale=[*state.scale] or None,
        precision=state.precision or None,
        sequences=sequences,
    )


def _describe_model(
    file: str, path: str, layer: str | None, output_name: str | None
) -> dict[str, Any]:
    contents, sha256 = read_contents(path, layer, output_name=output_name)
    components, notes, why = [*contents.components, *contents.unused], [*contents.notes], None
    if contents.resolve:  # the columns tell whether the others run
        components = [each._replace(why="", needed=False) for each in components]
    try:
        runs = [_describe_run(path, contents, layer, file, output_name)]
        notes += [] if contents.resolve else assumptions(contents.layers(path))
        notes += describe_inputs(contents.inputs)
    except InputError as error:
        why, runs = str(error).removeprefix(f"{path}: "), []
        runnable = (*(each for each in contents.components if each.recurrent), *contents.alone)
        names = [each.name for each in runnable if each.name]
        for name in names[:100]:  # each is built
            with suppress(InputError):
                runs.append(_describe_run(path, contents.pick(path, name), name, file))
    # An array that several parts take counts once.
    sizes = {id(array): array.size for each in components for array in each.arrays.values()}
    used = [array for each in contents.components if each.layers for array in each.arrays.values()]
    read = {id(array) for array in used}
    return known(
        file=file,
        layer=layer,
        title=contents.title,
        sha256=sha256,
        beside=[*map(os.path.basename, contents.external_files)] or None,
        parameters={"read": sum(map(sizes.__getitem__, read)), "all": sum(sizes.values())},
        why=why,
        runs=runs,
        outputs=[*contents.outputs] if len(contents.outputs) > 1 else None,
        notes=[*map(word, notes)],
        parts=[*map(_describe_component, components)],
    )


def _describe_component(component: Component) -> dict[str, Any]:
    reason = {"why": component.why, "needed": component.needed}
    return {
        "name": component.name,
        "kind": component.kind,
        "parameters": sum(array.size for array in component.arrays.values()),
        "layers": [*map(describe_layer, component.layers)],
        **(reason if component.why else {}),
        "tensors": [
            {"name": name, "shape": list(array.shape), "dtype": name_type(array)}
            for name, array in component.arrays.items()
        ],
    }


def _describe_run(
    path: str, contents: Contents, layer: str | None, file: str, output_name: str | None = None
) -> dict[str, Any]:
    """Return the command that runs a network, and the sizes of its input and output."""
    words = ["rnn", "run", "FILE.csv", "--weights", file]
    words += [] if layer is None else ["--layer", layer]
    words += [] if output_name is None else ["--output-name", output_name]
    run = {"layer": layer, "command": shlex.join(words)}
    if contents.resolve:
        return run
    network = make_network(path, contents.layers(path), contents.last)
    if not any(each.cells or each.recurs for each in network.layers):
        raise InputError(path, "has no recurrent layer")
    run |= known(input_size=network.input_size, indices=network.indices)
    return run | {"output_size": network.output_size, "last": network.last}
