"""Numbers as text."""

from rnncli.network import Floats


def texts(values: Floats, digits: int | None = None) -> list[list[str]]:
    """Text of each value in an array of shape (n, m).

    Parameters
    ----------
    values : array
        Finite floats.
    digits : int, optional
        Digits after the point. By default the shortest text that reads back
        to the same float of the array's own type.
    """
    if digits is None:
        shortest: list[list[str]] = values.astype("U").tolist()
        return shortest
    return [[f"{value:z.{digits}f}" for value in row] for row in values.tolist()]


def array_text(values: Floats, digits: int | None = None) -> str:
    """Give a JSON array of the values in an array of shape (m,)."""
    return f"[{', '.join(texts(values[None], digits)[0])}]"
