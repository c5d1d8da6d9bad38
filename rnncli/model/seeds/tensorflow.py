"""TensorFlow's draws: ``tf.random.set_seed``, then ``tf.random.normal`` a tensor."""

import random
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, fill
from rnncli.model.cells import CELLS, Weights

# A stream of the generator: its key, and words 2 and 3 of the counter, which starts at 0.
Stream: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW, _HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10
_SEED_MODULUS = 2**31 - 1


class Draws:
    """Gaussian weights without biases, as the notebook draws them in TensorFlow on a CPU."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._op_seeds = random.Random(seed)  # as TensorFlow's eager context keeps it

    def layer(
        self, cell: str, I: int, H: int, _bias: bool, has_b_n: list[bool]
    ) -> Iterator[Weights]:
        """Draw a tensor for all gates: of `W_xh`, and of `W_hh`."""
        width = CELLS[cell].gates * H
        for with_b_n in has_b_n:
            b_n = np.zeros(H, np.float32) if with_b_n else None
            W_xh, W_hh = self._normals(I, width), self._normals(H, width)
            yield Weights(W_xh, W_hh, np.zeros(width, np.float32), b_n)

    def dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw weights."""
        return self._normals(I, O), None

    def _normals(self, rows: int, columns: int) -> Floats:
        """Draw ``tf.random.normal((rows, columns))``."""
        op_seed = self._op_seeds.randint(0, 2**31 - 1)
        return normals((rows, columns), _stream(self._seed, op_seed))


def _stream(global_seed: int, op_seed: int) -> Stream:
    """Return the stream that a tensor is drawn from, for a pair of seeds."""
    global_seed, op_seed = global_seed % _SEED_MODULUS, op_seed % _SEED_MODULUS
    if (global_seed, op_seed) == (0, 0):
        op_seed = _SEED_MODULUS
    return (global_seed, 0), (op_seed, 0)


def philox4x32(key: tuple[int, int], counter: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Compute four random words for every counter (Salmon et al., 2011)."""
    c0, c1, c2, c3 = counter
    for n in range(_ROUNDS):
        k0, k1 = (
            np.uint64((k + n * weyl) & 0xFFFFFFFF) for k, weyl in zip(key, _WEYL, strict=True)
        )
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1 = (product1 >> _HIGH) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = (product0 >> _HIGH) ^ c3 ^ k1, product0 & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def normals(shape: tuple[int, ...], stream: Stream) -> Floats:
    """Draw as ``tf.random`` does on a CPU: 98 of 100 to the bit, the others within 4 units."""
    return draw(shape, stream, _gaussians)


def draw(
    shape: tuple[int, ...], stream: Stream, law: Callable[[NDArray[np.uint32]], Floats]
) -> Floats:
    """Draw from a stream by a law of its words, (n, 4)."""

    def draw_some(start: int, count: int) -> Floats:
        index = np.arange(start // 4, -(-(start + count) // 4), dtype=np.uint64)
        upper = (np.full_like(index, word) for word in stream[1])
        words = philox4x32(stream[0], np.stack([index & _LOW, index >> _HIGH, *upper]))
        return law(words).reshape(-1)[:count]

    return fill(np.empty(shape, np.float32), draw_some)


def unit(words: NDArray[np.uint32]) -> Floats:
    """Make float32 in [0, 1) of the low 23 bits of each word."""
    one_to_two = (words & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)
    return one_to_two.view(np.float32) - np.float32(1)


def _gaussians(words: NDArray[np.uint32]) -> Floats:
    """Make two normal draws of each pair of words by Box and Muller's transform."""
    uniform = unit(words).reshape(-1, 2)
    u1, u2 = np.maximum(uniform[:, 0], np.float32(1e-7)), uniform[:, 1]
    # The angle is a product in double, rounded.
    angle = (2 * np.pi * u2.astype(np.float64)).astype(np.float32).astype(np.float64)
    radius = np.sqrt(-2 * np.log(u1.astype(np.float64)).astype(np.float32))
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)  # (n, 2)
    return waves * radius[:, None]
