"""What every writer takes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, NamedTuple

from rnncli.engine.stream import Block, Carried
from rnncli.model.arrays import Floats, Integers
from rnncli.model.network import Network

Key = tuple[str, ...]


class Widths(NamedTuple):
    """How many values each layer that is written has, the bottom one first.

    Parameters
    ----------
    outputs : sequence of int
        At a step.
    states : sequence of int
        In the initial and the final state: both directions' side by side,
        whatever their merge.
    all_layers : bool
        Whether every layer is written, not the top one alone.
    forward : bool
        Whether the initial state is the state before the first step.
    """

    outputs: Sequence[int]
    states: Sequence[int]
    all_layers: bool = False
    forward: bool = True

    def units(self, *, final: bool = False) -> list[str]:
        """Names of the values of a row: ``h_0``, ``h_1``, ... of the top layer.

        Those of the layers below it are ``layer_1_h_0``, ...
        """
        *below, top = self.states if final else self.outputs
        lower = [
            f"layer_{number}_{name}"
            for number, width in enumerate(below, start=1)
            for name in unit_names(width)
        ]
        return lower + unit_names(top)


def widths_of(network: Network, *, all_layers: bool) -> Widths:
    """Widths of the top layer of a network, or of all."""
    layers = network.layers if all_layers else network.layers[-1:]
    return Widths(
        [layer.output_size for layer in layers],
        [layer.hidden_size * len(layer.cells) for layer in layers],
        all_layers,
        forward=not network.needs_whole_sequences,
    )


class Trajectory(NamedTuple):
    """The states of one sequence or several, in blocks that come as they are computed.

    Parameters
    ----------
    model : mapping
        What computed them, for the JSON document and the table's title.
    columns : sequence of str
        A name for each of the I features.
    carried : Carried
        Where the sequences started and, after the blocks, where they stand.
    widths : Widths
        How the values of a row are layers.
    blocks : iterable of Block
        Can be gone through once. A ValueError ends them when the run fails:
        a writer then ends what it has written, and lets the error through.
    key_columns : sequence of str
        Names of what tells sequences apart; none for a single sequence.
    keys : sequence of tuples of str
        The key of each sequence, growing as the blocks come.
    header : sequence of str
        Names of the input's columns, where its cells are written too.
    shape : tuple of int
        (T,) or (N, T), where the blocks are known to make up that.
    """

    model: Mapping[str, Any]
    columns: Sequence[str]
    carried: Carried
    widths: Widths
    blocks: Iterable[Block]
    key_columns: Sequence[str] = ()
    keys: Sequence[Key] = ()
    header: Sequence[str] = ()
    shape: tuple[int, ...] = ()

    def units(self, *, final: bool = False) -> list[str]:
        """Names of the values of a row, as `Widths.units` gives them."""
        return self.widths.units(final=final)

    def final(self) -> Block:
        """Give the final state of each sequence, once the blocks have been gone through."""
        block = self.carried.block()
        key = block.key if self.key_columns else None
        return block._replace(h=self._written(block.h), key=key)

    def starts(self) -> Floats:
        """Give the initial state of each sequence."""
        return self._written(self.carried.starts())

    def _written(self, state: Floats) -> Floats:
        """Take the layers that are written, the last ones, of a state of all cells."""
        return state[:, state.shape[1] - sum(self.widths.states) :]


class Labels:
    """Text for the key of each row, made once a key, when it is first asked for.

    Parameters
    ----------
    keys : sequence of tuples of str
        May grow.
    write : callable
        Gives the text of a key, which is not empty.
    """

    def __init__(self, keys: Sequence[Key], write: Callable[[Key], str]) -> None:
        self._keys, self._write = keys, write
        self._texts: list[str] = []  # empty where it has not been asked for

    def of(self, numbers: Integers | None) -> Iterable[str]:
        """Text for each of the numbered keys; endless empty text where there are none."""
        if numbers is None:
            return repeat("")
        texts = self._texts
        texts += repeat("", len(self._keys) - len(texts))
        asked = numbers.tolist()
        for number in asked:
            texts[number] = texts[number] or self._write(self._keys[number])
        return [texts[number] for number in asked]


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
    follow : bool
        Whether each block is sent on at once.
    """

    digits: int | None = None
    header: bool = True
    last: bool = False
    all_steps: bool = False
    follow: bool = False


def check_names(
    form: str,
    units: Sequence[str],
    key_columns: Sequence[str],
    header: Sequence[str] = (),
    *,
    grouped: bool,
) -> None:
    """Refuse an input's names that would stand for two things in a result.

    Parameters
    ----------
    form : str
        One of the names of the writers.
    units : sequence of str
        Names of the values of a row.
    key_columns : sequence of str
        Names of what tells sequences apart.
    header : sequence of str
        Names of the input's columns, where its cells are written too.
    grouped : bool
        Whether the keys are columns of the input.

    Raises
    ------
    ValueError
        A column of the input has the name of another that is written.
    """
    keys = list(key_columns)
    taken = [name for name in keys if keys.count(name) > 1]
    way_out = ""
    if not taken and form in ("csv", "table"):
        own = {*units, *([] if header else ["t"]), *(keys if header and not grouped else [])}
        taken = [name for name in header or keys if name in own]
        way_out = ", or take --format jsonl, where it stands apart"
    for name in taken:
        raise ValueError(
            f"the input's column {name!r} would stand beside another of that name; "
            f"rename it{way_out}"
        )


def unit_names(hidden_size: int) -> list[str]:
    """Names of the hidden units, ``h_0``, ``h_1``, ..."""
    return [f"h_{j}" for j in range(hidden_size)]
