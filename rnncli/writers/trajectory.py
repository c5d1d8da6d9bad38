"""What every writer takes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from rnncli.forward import Block
from rnncli.network import Floats


class Trajectory(NamedTuple):
    """The states of one sequence, in blocks that come as they are computed.

    Parameters
    ----------
    model : mapping
        What computed them, for the JSON document and the table's title.
    columns : sequence of str
        A name for each of the I features.
    h0 : array, shape (H,)
        Hidden state before the first step.
    blocks : iterable of Block
        Can be gone through once. A ValueError ends them when the run fails:
        a writer then ends what it has written, and lets the error through.
    """

    model: Mapping[str, Any]
    columns: Sequence[str]
    h0: Floats
    blocks: Iterable[Block]


class Style(NamedTuple):
    """How results are written.

    Parameters
    ----------
    digits : int, optional
        Digits after the point; by default as many as read back the same.
    header : bool
        Whether CSV starts with the names of its columns.
    last : bool
        Whether the blocks are the final state alone.
    all_steps : bool
        Whether a table shows a long sequence whole.
    """

    digits: int | None = None
    header: bool = True
    last: bool = False
    all_steps: bool = False


def unit_names(hidden_size: int) -> list[str]:
    """Names of the hidden units, ``h_0``, ``h_1``, ..."""
    return [f"h_{j}" for j in range(hidden_size)]
