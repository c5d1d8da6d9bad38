"""Containers: bytes of a file become arrays and plain values; what these mean is not known here.

Nothing that a file says of itself is trusted: not a size, not an offset, not
a name of something to call.
"""

# How much an archive may unpack to, as floats of 32 bits at least: so many times its own size, or
# so many bytes if that is more. Laid out as cells have them, they take up to twice as much.
MOST_TIMES = 2
MOST_BYTES = 16 * 2**20
