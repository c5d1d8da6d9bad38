"""Keras's draws on TensorFlow: ``keras.utils.set_random_seed``, then layers one after the other.

Glorot and Bengio (2010), AISTATS; Saxe et al. (2014), arXiv:1312.6120.
"""

import random
from collections.abc import Iterator
from math import sqrt

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Weights
from rnncli.model.seeds.tensorflow import Stream, draw, normals, philox4x32, unit

# tensorflow/core/kernels/stateless_random_ops.cc: the key under which a seed is scrambled.
_SCRAMBLE = (0x3EC8F720, 0x02461E29)


class Draws:
    """The draws of Keras 3 on a CPU, of layers made in the order of the stack."""

    def __init__(self, seed: int) -> None:
        self._seeds = random.Random(seed)

    def layer(
        self, cell: str, I: int, H: int, bias: bool, has_b_n: list[bool]
    ) -> Iterator[Weights]:
        """Draw a uniform kernel and an orthogonal recurrent kernel; biases are zeros but for f."""
        width = CELLS[cell].gates * H
        b_h = np.zeros(width, np.float32)
        if cell == "lstm" and bias:
            b_h[H : 2 * H] = 1  # unit_forget_bias

        # A layer takes three seeds: for a dropout first in a ``SimpleRNN``, elsewhere last.
        first = int(cell == "rnn")
        if len(has_b_n) == 2:
            [self._next() for _ in range(3)]  # Bidirectional copies the layer it is given twice
        for with_b_n in has_b_n:
            kernel_seed, recurrent_seed = [self._next() for _ in range(3)][first : first + 2]
            yield Weights(
                _glorot_uniform(I, width, kernel_seed),
                _orthogonal(H, width, recurrent_seed),
                b_h.copy(),
                np.zeros(H, np.float32) if with_b_n else None,
            )

    def dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw a uniform kernel, as ``Dense(O)``."""
        return _glorot_uniform(I, O, self._next()), None

    def _next(self) -> int:
        return self._seeds.randint(1, 10**9)


def _stream(seed: int) -> Stream:
    """Return the stream that TensorFlow's stateless operations draw from for (seed, 0)."""
    counter = np.array([[seed], [0], [0], [0]], np.uint64)
    first, second, third, fourth = philox4x32(_SCRAMBLE, counter)[0].tolist()
    return (first, second), (third, fourth)


def _glorot_uniform(rows: int, columns: int, seed: int) -> Floats:
    # The limit in Keras's own order of operations, for the last bit.
    limit = np.float32(sqrt(3 * (1 / max(1, (rows + columns) / 2))))
    values = draw((rows, columns), _stream(seed), unit)
    values *= limit - -limit
    values -= limit
    return values


def _orthogonal(rows: int, columns: int, seed: int) -> Floats:
    """Draw orthonormal rows, by a QR factorization in float64; TensorFlow has float32."""
    q, r = np.linalg.qr(normals((columns, rows), _stream(seed)).astype(np.float64))
    q *= np.sign(r.diagonal())
    # Keras transposes what has more columns than rows, and no square.
    return (q if rows == columns else q.T).astype(np.float32, order="C")
