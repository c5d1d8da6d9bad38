"""States as one JSON document, or as a line of JSON for every step."""

import json
from collections.abc import Iterator
from typing import TextIO

from rnncli.forward import Block
from rnncli.writers.digits import array_text, joined
from rnncli.writers.trajectory import Style, Trajectory


def write_json(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write one document: model, initial state, steps, final state.

    The steps are written as the blocks come. With ``style.last`` there are
    none. Where the run fails, the document has the steps before, and
    ``error`` in place of ``final``.
    """
    out.write(f'{{"model": {json.dumps(trajectory.model)},\n')
    out.write(f'"initial": [{{"h": {array_text(trajectory.h0, style.digits)}}}],\n')
    final = Block(0, trajectory.h0[None, :0], trajectory.h0[None])
    if style.last:
        (final,) = trajectory.blocks
    else:
        out.write('"steps": [')
        separator = "\n"
        try:
            for block in trajectory.blocks:
                for item in _steps(block, style):
                    out.write(f"{separator}{item}")
                    separator = ",\n"
                final = block
        except ValueError as error:
            out.write(f'],\n"error": {json.dumps(str(error))}}}\n')
            raise
        out.write("],\n")
    out.write(f'"final": [{_final(final, style)}]}}\n')


def write_jsonl(out: TextIO, trajectory: Trajectory, style: Style) -> None:
    """Write the items of ``steps``, or with ``style.last`` of ``final``, one a line."""
    for block in trajectory.blocks:
        items = [_final(block, style)] if style.last else _steps(block, style)
        out.writelines(f"{item}\n" for item in items)


def _steps(block: Block, style: Style) -> Iterator[str]:
    inputs, states = (joined(array, ", ", style.digits) for array in (block.x, block.h))
    for t, (x, h) in enumerate(zip(inputs, states, strict=True), start=block.first):
        yield f'{{"t": {t}, "x": [{x}], "h": [{h}]}}'


def _final(block: Block, style: Style) -> str:
    t = block.first + len(block.h) - 1
    return f'{{"t": {t}, "h": {array_text(block.h[-1], style.digits)}}}'
