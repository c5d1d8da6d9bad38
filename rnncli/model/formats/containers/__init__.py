"""Containers: bytes of a file become arrays and plain values; what these mean is not known here.

Nothing that a file says of itself is trusted: not a size, not an offset, not
a name of something to call.
"""

# Limits of `most_unpacked`.
MOST_TIMES = 2
MOST_BYTES = 16 * 2**20


def most_unpacked(size: int, most_times: int = MOST_TIMES) -> int:
    """Return how many bytes the values of a file of this size may take, as float32 at least.

    It is so many times its own size, or `MOST_BYTES` if that is more. Laid out
    as cells have them, values take up to twice as much.
    """
    return max(MOST_BYTES, most_times * size)
