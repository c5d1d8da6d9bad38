"""The command ``rnn``, also as ``python -m rnncli``."""

import _signal  # type: ignore[import-not-found]  # signal itself takes milliseconds to load

# NumPy multiplies with OpenBLAS, MKL or Accelerate, which get one thread: with more, two processes
# wait for each other at every step.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
# New objects after which Python looks for cycles. Its default, 700, costs 7 ms of the start.
OBJECTS = 100_000
# Sizes below which glibc does not give memory back (malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD and
# M_MMAP_THRESHOLD): arrays of a block come and go, and new pages cost more than their values.
MALLOC = {-1: 1 << 26, -2: 1 << 22, -3: 1 << 25}


def main() -> None:
    """Run the command line."""
    # While modules load, Ctrl-C ends the process at once: as an exception it could be lost within
    # the import system.
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    import sys

    prepare()
    try:
        from rnncli.cli import rnn
    except (ImportError, MemoryError, SystemError) as error:  # the last: Python 3.12, out of memory
        sys.exit(f"Error: {error.__cause__ or str(error) or 'not enough memory'}")
    rnn()


def prepare() -> None:
    """Set up a process before NumPy is loaded."""
    import gc
    import os
    import sys
    import warnings

    gc.set_threshold(OBJECTS)

    # Python's warnings are for developers: `python -W` shows them.
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    for name in BLAS_THREADS:
        os.environ.setdefault(name, "1")
    if sys.platform == "linux":
        import ctypes  # NumPy loads it too

        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # musl has none
            for parameter, value in MALLOC.items():
                libc.mallopt(parameter, value)


if __name__ == "__main__":
    main()
