"""States as one JSON document, or as a line of JSON for every step."""

import json
from collections.abc import Iterator, Sequence
from typing import TextIO

from rnncli.stream import Block
from rnncli.writers.digits import joined
from rnncli.writers.trajectory import Key, Labels, Style, Trajectory


def write_json(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write one document: model, initial states, steps, final states.

    The steps are written as the blocks come. With ``style.last`` there are
    none. Where the run fails, the document has the steps before, and
    ``error`` in place of ``final``. The initial states of several sequences
    come after the steps, when it is known which there are.
    """
    one = not trajectory.key_columns
    out.write(f'{{"model": {json.dumps(trajectory.model)},\n')
    if one:
        out.write(f'"initial": [{_initial(trajectory, style)}],\n')
    try:
        _write_steps(out, trajectory, style)
    except ValueError as error:
        out.write(f'"error": {json.dumps(str(error))}}}\n')
        raise
    if not one:
        out.write(f'"initial": [{_initial(trajectory, style)}],\n')
    final = ",\n".join(_items(trajectory.final(), _labels(trajectory), style, inputs=False))
    out.write(f'"final": [{final}]}}\n')


def write_jsonl(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the items of ``steps``, or with ``style.last`` of ``final``, one a line."""
    labels = _labels(trajectory)
    for block in trajectory.blocks:
        items = _items(block, labels, style, inputs=not style.last)
        if block.cells is not None:
            items = _passed(block, labels, trajectory.header, style)
        out.writelines(f"{item}\n" for item in items)
        if style.follow:
            out.flush()


def _write_steps(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    labels = _labels(trajectory)
    if style.last:
        return
    out.write('"steps": [')
    separator = "\n"
    try:
        for block in trajectory.blocks:
            for item in _items(block, labels, style, inputs=True):
                out.write(f"{separator}{item}")
                separator = ",\n"
    finally:
        out.write("],\n")


def _items(block: Block, labels: Labels, style: Style, *, inputs: bool) -> Iterator[str]:
    """One JSON object for each row."""
    states = joined(block.h, ", ", style.digits)
    keys = labels.of(block.key)
    if not inputs:
        for key, t, h in zip(keys, block.t.tolist(), states, strict=False):
            yield f'{{{key}"t": {t}, "h": [{h}]}}'
        return
    features = joined(block.x, ", ", style.digits)
    for key, t, x, h in zip(keys, block.t.tolist(), features, states, strict=False):
        yield f'{{{key}"t": {t}, "x": [{x}], "h": [{h}]}}'


def _passed(block: Block, labels: Labels, header: Sequence[str], style: Style) -> Iterator[str]:
    """One JSON object for each row, with the input's cells in place of `x`."""
    states = joined(block.h, ", ", style.digits)
    keys = labels.of(block.key)
    rows = zip(keys, block.t.tolist(), block.cells or (), states, strict=False)
    for key, t, cells, h in rows:
        row = json.dumps(dict(zip(header, cells, strict=True)))
        yield f'{{{key}"t": {t}, "row": {row}, "h": [{h}]}}'


def _initial(trajectory: Trajectory, style: Style) -> str:
    """One JSON object for each sequence: where it started."""
    states = joined(trajectory.carried.starts(), ", ", style.digits)
    keys = _labels(trajectory).of(trajectory.final().key)
    return ", ".join(f'{{{key}"h": [{h}]}}' for key, h in zip(keys, states, strict=False))


def _labels(trajectory: Trajectory) -> Labels:
    """Text of a row's key: ``"key": {"column": "value"}, ``."""

    def write(key: Key) -> str:
        return f'"key": {json.dumps(dict(zip(trajectory.key_columns, key, strict=True)))}, '

    return Labels(trajectory.keys, write)
