"""The random streams of TensorFlow, Keras on TensorFlow, and PyTorch, on a CPU.

Salmon et al. (2011), SC11; Glorot and Bengio (2010), AISTATS; Saxe et al. (2014), arXiv:1312.6120.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from math import prod, sqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.model.arrays import Floats, reorder
from rnncli.model.cells import CELLS

# A stream of the generator: its key, and words 2 and 3 of the counter, which starts at 0.
Stream: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
# The arrays of each cell of a layer: `W_xh`, `W_hh`, and the biases of the input and of the state.
Cells: TypeAlias = Iterator[tuple[Floats, ...]]

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW, _HIGH = np.uint64(0xFFFFFFFF), np.uint64(32)
_ROUNDS = 10
_SEED_MODULUS = 2**31 - 1
# Values drawn at once: their temporaries stay in the cache however large the array.
CHUNK = 2**16
# tensorflow/core/kernels/stateless_random_ops.cc: the key under which a seed is scrambled.
_SCRAMBLE = (0x3EC8F720, 0x02461E29)


class TensorFlow:
    """Gaussian weights without biases, drawn after ``tf.random.set_seed``."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._op_seeds = random.Random(seed)  # as TensorFlow's eager context keeps it

    def draw_cells(self, cell: str, I: int, H: int, _bias: bool, count: int) -> Cells:
        """Draw a tensor for all gates: of `W_xh`, and of `W_hh`."""
        width = CELLS[cell].gates * H
        for _ in range(count):
            W_xh, W_hh = (self.draw_dense(rows, width)[0] for rows in (I, H))
            yield W_xh, W_hh, *np.zeros((2, width), np.float32)

    def draw_dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw ``tf.random.normal((I, O))``."""
        stream = find_stream(self._seed, self._op_seeds.randint(0, 2**31 - 1))
        return draw((I, O), stream, gaussian), None


class Keras:
    """Layers of Keras 3, made in the order of the stack after ``set_random_seed``."""

    def __init__(self, seed: int) -> None:
        self._take_seed = partial(random.Random(seed).randint, 1, 10**9)

    def draw_cells(self, cell: str, I: int, H: int, bias: bool, count: int) -> Cells:
        """Draw a uniform kernel and an orthogonal recurrent kernel; biases are zeros but for f."""
        width = CELLS[cell].gates * H
        b_h = np.zeros(width, np.float32)
        if cell == "lstm" and bias:
            b_h[H : 2 * H] = 1  # unit_forget_bias
        # Bidirectional copies the layer it is given twice. A layer takes a seed for a dropout too.
        seeds = [[self._take_seed() for _ in range(3)] for _ in range(2 * count - 1)][-count:]
        for kernel, recurrent, third in seeds:
            if cell == "rnn":  # whose first one is for the dropout
                kernel, recurrent = recurrent, third
            yield _glorot_uniform(I, width, kernel), _orthogonal(H, width, recurrent), b_h, 0 * b_h

    def draw_dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw a uniform kernel, as ``Dense(O)``."""
        return _glorot_uniform(I, O, self._take_seed()), None


class Torch:
    """Modules of PyTorch, made one after the other after ``torch.manual_seed``."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.RandomState(seed)

    def draw_cells(self, cell: str, I: int, H: int, bias: bool, count: int) -> Cells:
        """Draw from U(-1/sqrt(H), 1/sqrt(H)), in the order of ``named_parameters()``."""
        rows = CELLS[cell].gates * H
        shapes = [(rows, I), (rows, H), *([(rows,), (rows,)] if bias else [])]
        for _ in range(count):
            drawn = [self._uniform(shape, 1 / sqrt(H)).T for shape in shapes]
            drawn = [reorder(array, CELLS[cell].find_gates("torch")) for array in drawn]
            biases = [] if bias else list(np.zeros((2, rows), np.float32))
            yield *map(np.ascontiguousarray, drawn), *biases

    def draw_dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw from U(-1/sqrt(I), 1/sqrt(I)), as ``torch.nn.Linear(I, O)``."""
        weight, bias = (self._uniform(shape, 1 / sqrt(I)) for shape in ((O, I), (O,)))
        return np.ascontiguousarray(weight.T), bias

    def _uniform(self, shape: tuple[int, ...], bound: float) -> Floats:
        """Draw ``tensor.uniform_(-bound, bound)``."""
        high = np.float32(bound)
        low, width = float(-high), float(high - -high)

        def draw_chunk(_start: int, count: int) -> Floats:
            words = self._generator.randint(0, 2**32, count, np.uint32) & np.uint32(2**24 - 1)
            # Exact in float64, rounded once: a fused multiply-add in float32.
            return words * 2.0**-24 * width + low

        return fill(shape, draw_chunk)


def find_stream(global_seed: int, op_seed: int) -> Stream:
    """Find the stream that a tensor is drawn from, for a pair of seeds."""
    global_seed, op_seed = global_seed % _SEED_MODULUS, op_seed % _SEED_MODULUS
    # A pair of zeros would mean to a kernel that there is no seed.
    return (global_seed, 0), (op_seed if global_seed or op_seed else _SEED_MODULUS, 0)


def _find_stateless(seed: int) -> Stream:
    """Find the stream that TensorFlow's stateless operations draw from for (seed, 0)."""
    counter = np.array([[seed], [0], [0], [0]], np.uint64)
    first, second, third, fourth = philox4x32(_SCRAMBLE, counter)[0].tolist()
    return (first, second), (third, fourth)


def _glorot_uniform(rows: int, columns: int, seed: int) -> Floats:
    # Keras's own order of operations, for the last bit.
    limit = np.float32(sqrt(3 * (1 / max(1, (rows + columns) / 2))))
    values = draw((rows, columns), _find_stateless(seed), unit)
    values *= limit - -limit
    values -= limit
    return values


def _orthogonal(rows: int, columns: int, seed: int) -> Floats:
    """Draw orthonormal rows, by a QR factorization in float64; TensorFlow has float32."""
    normal = draw((columns, rows), _find_stateless(seed), gaussian)
    q, r = np.linalg.qr(normal.astype(np.float64))
    q *= np.sign(r.diagonal())
    # Keras transposes what has more columns than rows, and no square.
    return (q if rows == columns else q.T).astype(np.float32, order="C")


def philox4x32(key: tuple[int, int], counter: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Compute four random words for every counter."""
    c0, c1, c2, c3 = counter
    k0, k1 = map(np.uint64, key)
    for _ in range(_ROUNDS):
        product0, product1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1 = (product1 >> _HIGH) ^ c1 ^ k0, product1 & _LOW
        c2, c3 = (product0 >> _HIGH) ^ c3 ^ k1, product0 & _LOW
        k0, k1 = (k0 + _WEYL[0]) & _LOW, (k1 + _WEYL[1]) & _LOW
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def draw(
    shape: tuple[int, ...], stream: Stream, law: Callable[[NDArray[np.uint32]], Floats]
) -> Floats:
    """Draw from a stream by a law of its words, (n, 4)."""

    def draw_chunk(start: int, count: int) -> Floats:
        index = np.arange(start // 4, -(-(start + count) // 4), dtype=np.uint64)
        upper = (np.full_like(index, word) for word in stream[1])
        words = philox4x32(stream[0], np.stack([index & _LOW, index >> _HIGH, *upper]))
        return law(words).reshape(-1)[:count]

    return fill(shape, draw_chunk)


def fill(shape: tuple[int, ...], draw_chunk: Callable[[int, int], Floats]) -> Floats:
    """Make an array of float32 by ``draw_chunk(start, count)``, a chunk at a time."""
    flat = np.empty(prod(shape), np.float32)
    for start in range(0, len(flat), CHUNK):
        chunk = flat[start : start + CHUNK]
        chunk[:] = draw_chunk(start, len(chunk))
    return flat.reshape(shape)


def unit(words: NDArray[np.uint32]) -> Floats:
    """Make float32 in [0, 1) of the low 23 bits of each word."""
    one_to_two = (words & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)
    return one_to_two.view(np.float32) - np.float32(1)


def gaussian(words: NDArray[np.uint32]) -> Floats:
    """Make two normal draws of each pair of words by Box and Muller's transform.

    On a CPU, 98 of 100 are TensorFlow's to the bit, the others within 4 units.
    """
    uniform = unit(words).reshape(-1, 2)
    u1, u2 = np.maximum(uniform[:, 0], np.float32(1e-7)), uniform[:, 1]
    # The angle is a product in double, rounded.
    angle = (2 * np.pi * u2.astype(np.float64)).astype(np.float32).astype(np.float64)
    radius = np.sqrt(-2 * np.log(u1.astype(np.float64)).astype(np.float32))
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)  # (n, 2)
    return waves * radius[:, None]
