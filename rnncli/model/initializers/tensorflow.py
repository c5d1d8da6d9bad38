"""TensorFlow's draws: ``tf.random.set_seed``, then ``tf.random.normal`` a tensor.

Its counter-based generator is here too; Keras draws from it in another way.
"""

import random
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.layers import Architecture, CellSizes, Dense, Embedding

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_HIGH = np.uint64(32)
_ROUNDS = 10
# Draws made at once: their temporaries stay in the cache however large the tensor.
CHUNK = 2**16
_SEED_MODULUS = 2**31 - 1


class Stream(NamedTuple):
    """One of the generator's streams: the counter starts at (0, 0, *upper).

    Parameters
    ----------
    key : two ints of 32 bits
    upper : two ints of 32 bits
        The counter's words 2 and 3.
    """

    key: tuple[int, int]
    upper: tuple[int, int]


class Draws:
    """Gaussian weights and biases of zero, as the notebook draws them in TensorFlow on a CPU.

    98 of 100 draws are equal to the bit, the others within 4 units of the
    last place (TensorFlow 2.21).

    Parameters
    ----------
    seed : int
        What ``tf.random.set_seed`` gets, 0 ... 2**32 - 1.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._op_seeds = random.Random(seed)  # as TensorFlow's eager context keeps it

    def layer(self, architecture: Architecture, sizes: CellSizes) -> list[Weights]:
        """Draw a tensor for all gates of a cell, with G gates in the order of `Weights`.

        The same numbers as::

            for I, H, _ in sizes:  # forward first
                W_xh = tf.random.normal((I, G * H))
                W_hh = tf.random.normal((H, G * H))
                b_h = tf.zeros((G * H,))

        A `b_n` is zeros too. With a projection `W_hh` has shape (P, G * H), and
        ``W_hr = tf.random.normal((H, P))`` comes after it.
        """
        G, P = architecture.gates, architecture.projected_size
        return [
            Weights(
                self._normal(I, G * H),
                self._normal(P or H, G * H),
                np.zeros(G * H, np.float32),
                np.zeros(H, np.float32) if b_n else None,
                W_hr=None if P is None else self._normal(H, P),
            )
            for I, H, b_n in sizes
        ]

    def embedding(self, V: int, E: int) -> Embedding:
        """Draw ``tf.random.normal((V, E))``."""
        return Embedding(self._normal(V, E))

    def dense(self, I: int, O: int, activation: str | Activation = "linear") -> Dense:
        """Draw ``tf.random.normal((I, O))``, with a bias of zeros."""
        return Dense(self._normal(I, O), activation=activation)

    def _normal(self, *shape: int) -> Floats:
        return normals(shape, _stream(self._seed, self._op_seeds.randint(0, 2**31 - 1)))


def _stream(global_seed: int, op_seed: int) -> Stream:
    """Return the stream that a tensor is drawn from, for a pair of seeds."""
    global_seed, op_seed = global_seed % _SEED_MODULUS, op_seed % _SEED_MODULUS
    if (global_seed, op_seed) == (0, 0):
        op_seed = _SEED_MODULUS
    return Stream((global_seed, 0), (op_seed, 0))


def philox4x32(key: tuple[int, int], counter: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Compute Philox4x32-10: four random words for every counter."""
    c0, c1, c2, c3 = counter
    for n in range(_ROUNDS):
        k0, k1 = (
            np.uint64((k + n * weyl) & 0xFFFFFFFF) for k, weyl in zip(key, _WEYL, strict=True)
        )
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1 = (product1 >> _HIGH) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = (product0 >> _HIGH) ^ c3 ^ k1, product0 & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def uniforms(shape: tuple[int, ...], stream: Stream) -> Floats:
    """Draw from [0, 1) in float32, as ``tf.random`` does on a CPU."""
    return _drawn(shape, stream, _unit)


def normals(shape: tuple[int, ...], stream: Stream) -> Floats:
    """Draw from the standard normal law in float32, as ``tf.random`` does on a CPU.

    98 of 100 draws are equal to the bit, the others within 4 units of the
    last place: TensorFlow approximates logarithm, sine and cosine in
    float32; here they are computed in float64 and rounded.
    """
    return _drawn(shape, stream, _gaussians)


def _drawn(
    shape: tuple[int, ...], stream: Stream, law: Callable[[NDArray[np.uint32]], Floats]
) -> Floats:
    """Fill an array with what a law makes of the stream's words, shape (n, 4)."""
    values = np.empty(shape, np.float32)
    flat = values.reshape(-1)
    for start in range(0, len(flat), CHUNK):
        part = flat[start : start + CHUNK]
        words = _words(stream, start // 4, -(-len(part) // 4))
        part[:] = law(words).reshape(-1)[: len(part)]
    return values


def _words(stream: Stream, first: int, blocks: int) -> NDArray[np.uint32]:
    """Draw four words from each of `blocks` counters, from number `first` on."""
    index = np.arange(first, first + blocks, dtype=np.uint64)
    counter = np.empty((4, blocks), np.uint64)
    counter[0], counter[1] = index & _LOW, index >> _HIGH
    counter[2], counter[3] = stream.upper
    return philox4x32(stream.key, counter)


def _unit(words: NDArray[np.uint32]) -> Floats:
    """Make float32 in [0, 1) of the low 23 bits of each word."""
    one_to_two = (words & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)
    return one_to_two.view(np.float32) - np.float32(1)


def _gaussians(words: NDArray[np.uint32]) -> Floats:
    """Make two normal draws of each pair of words by Box and Muller's transform."""
    uniform = _unit(words).reshape(-1, 2)
    u1, u2 = np.maximum(uniform[:, 0], np.float32(1e-7)), uniform[:, 1]
    # The angle is a product in double, rounded.
    angle = (2 * np.pi * u2.astype(np.float64)).astype(np.float32).astype(np.float64)
    radius = np.sqrt(-2 * np.log(u1.astype(np.float64)).astype(np.float32))
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)  # (n, 2)
    return waves * radius[:, None]
