"""Containers: bytes of a file become arrays and plain values; no size or name in it is trusted."""

# How many bytes any file may unpack to, and how many times its own size.
_MOST_BYTES, _MOST_TIMES = 16 * 2**20, 2


def most_unpacked(size: int) -> int:
    """Return how many bytes the arrays of a file of this size may take, as float32 at least."""
    return max(_MOST_BYTES, _MOST_TIMES * size)
