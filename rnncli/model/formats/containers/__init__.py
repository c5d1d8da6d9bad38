"""Containers: bytes of a file become arrays and plain values; no size or name in it is trusted."""

# How many times its own size a file may unpack to, and what any file may.
MOST_TIMES = 2
_MOST_BYTES = 16 * 2**20


def most_unpacked(size: int) -> int:
    """Return how many bytes the arrays of a file of this size may take, as float32 at least."""
    return max(_MOST_BYTES, MOST_TIMES * size)
