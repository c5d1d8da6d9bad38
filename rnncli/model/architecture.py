"""A network without its weights: what there is to draw."""

from collections.abc import Sequence
from typing import NamedTuple

from rnncli.model.cells import weight_shapes
from rnncli.model.errors import choice
from rnncli.model.layers import DIRECTIONS, MERGES, merged_size


class Architecture(NamedTuple):
    """Sizes and directions of a stack of recurrent layers.

    Parameters
    ----------
    input_size : int
        Number of input features, I.
    hidden_sizes : sequence of int
        Number of hidden units of each layer, the bottom one first.
    direction, merge : str
        As for `Recurrent`, in every layer.
    """

    input_size: int
    hidden_sizes: Sequence[int]
    direction: str = "forward"
    merge: str = "concat"

    @property
    def directions(self) -> tuple[str, ...]:
        """Directions of the cells of each layer.

        Raises
        ------
        ValueError
            The name is unknown.
        """
        return choice("direction", self.direction, DIRECTIONS)

    def sizes(self) -> list[tuple[int, int]]:
        """Return (I, H) of the cells of each layer.

        Raises
        ------
        ValueError
            A size is under 1, there are no layers, or a name is unknown.
        """
        choice("direction", self.direction, DIRECTIONS)
        choice("merge", self.merge, MERGES)
        if not self.hidden_sizes:
            raise ValueError("hidden_size: expected at least one layer, got none")
        sizes = []
        width = self.input_size
        for hidden_size in self.hidden_sizes:
            weight_shapes(width, hidden_size)
            sizes.append((width, hidden_size))
            width = merged_size(hidden_size, self.direction, self.merge)
        return sizes

    def weight_count(self) -> int:
        """Count the numbers in the weights, ``(I + H + 1) * H`` a cell."""
        return len(self.directions) * sum((I + H + 1) * H for I, H in self.sizes())
