"""The counter-based generator that TensorFlow, and Keras on it, draw from."""

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)
_ROUNDS = 10


def philox4x32(key: tuple[int, int], counter: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Philox4x32-10: four random words for every counter.

    Parameters
    ----------
    key : two ints of 32 bits
    counter : array of uint64, shape (4, n)
        Counters as four words of 32 bits each.

    Returns
    -------
    array of uint32, shape (n, 4)

    Notes
    -----
    Salmon et al. (2011), "Parallel random numbers: as easy as 1, 2, 3",
    doi:10.1145/2063384.2063405.
    """
    c0, c1, c2, c3 = counter
    for n in range(_ROUNDS):
        k0, k1 = (
            np.uint64((k + n * weyl) & 0xFFFFFFFF) for k, weyl in zip(key, _WEYL, strict=True)
        )
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1 = (product1 >> _HIGH) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = (product0 >> _HIGH) ^ c3 ^ k1, product0 & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)
