"""Keras's draws on TensorFlow: ``keras.utils.set_random_seed``, then layers one after the other.

Glorot and Bengio (2010), "Understanding the difficulty of training deep
feedforward neural networks"; Saxe et al. (2014), "Exact solutions to the
nonlinear dynamics of learning in deep linear neural networks".
"""

import random
from collections.abc import Iterator
from math import sqrt

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import CELLS, Weights
from rnncli.model.errors import InputError
from rnncli.model.seeds.tensorflow import Stream, normals, philox4x32, uniforms

# tensorflow/core/kernels/stateless_random_ops.cc: the key under which a seed is scrambled.
_SCRAMBLE = (0x3EC8F720, 0x02461E29)


class Draws:
    """The draws of Keras 3 with TensorFlow on a CPU.

    A layer takes its seeds when it is made: the layers are made in the order
    of the stack, and nothing random comes between, such as a ``Dropout``.
    """

    def __init__(self, seed: int) -> None:
        self._seeds = random.Random(seed)

    def layer(
        self, cell: str, I: int, H: int, P: int | None, bias: bool, has_b_n: list[bool]
    ) -> Iterator[Weights]:
        """Draw a uniform kernel, and an orthogonal recurrent kernel.

        Kernels are equal to the bit. A recurrent kernel is the Q of a QR
        factorization, rounded in float32 by TensorFlow and in float64 here:
        over 25,600 of them, H from 1 to 64, the largest difference was 4e-7
        in the median and 3e-5 at worst, over 2e-5 in four (Keras 3.15,
        TensorFlow 2.21); in gated cells it is within 1e-6.
        """
        if P is not None:
            raise InputError("init keras", "LSTM has no projection", "take another init")
        width = CELLS[cell].gates * H
        b_h = np.zeros(width, np.float32)
        if cell == "lstm" and bias:
            b_h[H : 2 * H] = 1  # unit_forget_bias
        if len(has_b_n) == 2:
            # Bidirectional copies the layer it is given twice; its own seeds go unused.
            self._layer_seeds(cell)
        for apart in has_b_n:
            kernel_seed, recurrent_seed = self._layer_seeds(cell)
            yield Weights(
                _glorot_uniform(I, width, kernel_seed),
                _orthogonal(H, width, recurrent_seed),
                b_h.copy(),
                np.zeros(H, np.float32) if apart else None,
            )

    def table(self, V: int, E: int) -> Floats:
        """Draw from U(-0.05, 0.05), as ``Embedding(V, E)``, to the bit."""
        return _uniform(V, E, np.float32(0.05), self._next())

    def dense(self, I: int, O: int) -> tuple[Floats, Floats | None]:
        """Draw a uniform kernel, as ``Dense(O)``, to the bit."""
        return _glorot_uniform(I, O, self._next()), None

    def _layer_seeds(self, cell: str) -> tuple[int, int]:
        """Return the seeds of the two kernels of a layer, which takes three when it is made.

        The third is that of its dropout: a ``SimpleRNN`` takes it first, ``LSTM`` and ``GRU`` last.
        """
        first, second, third = (self._next() for _ in range(3))
        return (second, third) if cell == "rnn" else (first, second)

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
    return _uniform(rows, columns, limit, seed)


def _uniform(rows: int, columns: int, limit: np.float32, seed: int) -> Floats:
    values = uniforms((rows, columns), _stream(seed))
    values *= limit - -limit
    values -= limit
    return values


def _orthogonal(rows: int, columns: int, seed: int) -> Floats:
    """Draw orthonormal rows, no more of them than columns."""
    q, r = np.linalg.qr(normals((columns, rows), _stream(seed)).astype(np.float64))
    q *= np.sign(r.diagonal())
    # Keras transposes what has more columns than rows, and no square.
    return (q if rows == columns else q.T).astype(np.float32, order="C")
