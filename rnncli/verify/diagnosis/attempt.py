"""An attempt to explain a result, and what comes of one that does."""

from typing import NamedTuple

from rnncli.model.arrays import Floats
from rnncli.verify.case import Case


class Attempt(NamedTuple):
    """A result, and what it would be the result of by a convention.

    Parameters
    ----------
    name : str
        What to say if this is it.
    case : Case
    theirs : array, shape (N, T, H)
    """

    name: str
    case: Case
    theirs: Floats


class Explanation(NamedTuple):
    """A convention that reproduces a result.

    Parameters
    ----------
    name : str
    difference : float
        Largest distance of our own run by the convention.
    """

    name: str
    difference: float
