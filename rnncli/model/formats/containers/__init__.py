"""Containers: bytes of a file become arrays and plain values; what these mean is not known here.

Nothing that a file says of itself is trusted: not a size, not an offset, not
a name of something to call.
"""
