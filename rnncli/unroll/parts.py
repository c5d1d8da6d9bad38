"""Into how many parts the rows of a step are best cut, to run in lanes."""

from collections.abc import Sequence
from math import ceil

from rnncli.lanes import LANES
from rnncli.network import Cell
from rnncli.unroll.products import one_thread

# Values of the states of a lane at one step: more, and they leave the cache.
VALUES = 81_920
# Fewest multiplications at one step that are worth two lanes: of fewer, NumPy's
# calls are so short that the lanes wait for Python's lock.
WORK = 3_000_000
# What a value costs beside its product, in multiplications.
BESIDE = 32


def parts_for(N: int, cells: Sequence[Cell]) -> int:
    """Count the parts that N rows of states are best cut into: one, or some a lane.

    Parameters
    ----------
    N : int
    cells : sequence of Cell
        Those that run over the rows; the widest decides.
    """
    H = max(len(cell.weights.b_h) for cell in cells)
    if rows_for_lanes(H) > N or not all(map(one_thread, cells)):
        return 1
    return LANES * ceil(N * H / (LANES * VALUES))


def rows_for_lanes(H: int) -> int:
    """Count the fewest rows of states that are worth two lanes."""
    return ceil(WORK / (H * (H + BESIDE)))
