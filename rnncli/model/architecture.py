"""A network without its weights: what there is to draw, and what is made of it."""

from collections.abc import Iterable, Sequence
from math import inf
from typing import NamedTuple

from rnncli.model.activations import TANH, Activation
from rnncli.model.cells import RNN, Weights, weight_shapes
from rnncli.model.choices import choice
from rnncli.model.layers import DIRECTIONS, MERGES, Recurrent, merged_size
from rnncli.model.network import Network


class Architecture(NamedTuple):
    """A network without its weights: sizes, directions, activation.

    Parameters
    ----------
    input_size : int
        Number of input features, I.
    hidden_sizes : sequence of int
        Number of hidden units of each layer, the bottom one first.
    direction, merge : str
        As for `Recurrent`, in every layer.
    activation : Activation
    clip : float
        As for `RNN`, in every cell.
    """

    input_size: int
    hidden_sizes: Sequence[int]
    direction: str = "forward"
    merge: str = "concat"
    activation: Activation = TANH
    clip: float = inf

    def sizes(self) -> list[tuple[int, int]]:
        """Give (I, H) of every cell, in the order of `Network.cells`.

        Raises
        ------
        ValueError
            A size is under 1, there are no layers, or a name is unknown.
        """
        directions = choice("direction", self.direction, DIRECTIONS)
        choice("merge", self.merge, MERGES)
        if not self.hidden_sizes:
            raise ValueError("hidden_size: expected at least one layer, got none")
        sizes = []
        width = self.input_size
        for hidden_size in self.hidden_sizes:
            weight_shapes(width, hidden_size)
            sizes += [(width, hidden_size)] * len(directions)
            width = merged_size(hidden_size, self.direction, self.merge)
        return sizes

    def build(self, weights: Iterable[Weights]) -> Network:
        """Make the network of these weights, a cell's each, in the order of `Network.cells`."""
        cells = [RNN(each, self.activation, self.clip) for each in weights]
        width = len(DIRECTIONS[self.direction])
        starts = range(0, len(cells), width)
        layers = (
            Recurrent(*cells[start : start + width], direction=self.direction, merge=self.merge)
            for start in starts
        )
        return Network(*layers)


def weight_count(sizes: Iterable[tuple[int, int]]) -> int:
    """Count the numbers in the weights of cells, ``(I + H + 1) * H`` each."""
    return sum((input_size + hidden_size + 1) * hidden_size for input_size, hidden_size in sizes)
