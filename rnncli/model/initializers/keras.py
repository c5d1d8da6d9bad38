"""Keras's draws on TensorFlow: ``keras.utils.set_random_seed``, then layers one after the other."""

import random
from math import sqrt

import numpy as np

from rnncli.model.activations import Activation
from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.errors import InputError
from rnncli.model.initializers.tensorflow import Stream, normals, philox4x32, uniforms
from rnncli.model.layers import Architecture, CellSizes, Dense, Embedding

# tensorflow/core/kernels/stateless_random_ops.cc: the key under which a seed is scrambled.
_SCRAMBLE = (0x3EC8F720, 0x02461E29)


class Draws:
    """What Keras 3 with TensorFlow on a CPU draws for one layer after the other.

    A layer's seeds are taken when it is made, so the layers are made in the
    order of the stack, and nothing random may come between, such as a
    ``Dropout``.

    Parameters
    ----------
    seed : int
        What ``keras.utils.set_random_seed`` gets, 0 ... 2**32 - 1.

    Notes
    -----
    Glorot and Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks"; Saxe et al. (2014), "Exact solutions to
    the nonlinear dynamics of learning in deep linear neural networks".
    """

    def __init__(self, seed: int) -> None:
        self._seeds = random.Random(seed)

    def layer(self, architecture: Architecture, sizes: CellSizes) -> list[Weights]:
        """Draw a uniform kernel, an orthogonal recurrent kernel and biases of zeros.

        The same numbers as::

            keras.layers.SimpleRNN(H, use_bias=...)

        or ``LSTM`` or ``GRU``, with ``go_backwards=True`` for a backward
        layer, or in ``keras.layers.Bidirectional``. An ``LSTM`` with a
        bias has ones in that of its forget gate.

        Kernels are equal to the bit. A recurrent kernel is the Q of a QR
        factorization, rounded in float32 by TensorFlow and in float64 here:
        over 25,600 of them, H from 1 to 64, the largest difference was 4e-7
        in the median and 3e-5 at worst, over 2e-5 in four (Keras 3.15,
        TensorFlow 2.21). Those of gated cells, which are not square, are
        within 1e-6.
        """
        if architecture.projected_size is not None:
            raise InputError("init keras", "LSTM has no projection", "take another init")
        if len(sizes) == 2:
            # Bidirectional copies the layer it is given twice; its own seeds go unused.
            self._layer_seeds(architecture.cell)
        return [self._cell(architecture, I, H, b_n) for I, H, b_n in sizes]

    def embedding(self, V: int, E: int) -> Embedding:
        """Draw a table from U(-0.05, 0.05), as ``Embedding(V, E)``, to the bit."""
        return Embedding(_uniform(V, E, np.float32(0.05), self._next()))

    def dense(self, I: int, O: int, activation: str | Activation = "linear") -> Dense:
        """Draw a uniform kernel, and a bias of zeros, as ``Dense(O)``, to the bit."""
        return Dense(_glorot_uniform(I, O, self._next()), activation=activation)

    def _cell(self, architecture: Architecture, I: int, H: int, b_n: bool) -> Weights:
        kernel_seed, recurrent_seed = self._layer_seeds(architecture.cell)
        width = architecture.gates * H
        bias = np.zeros(width, np.float32)
        if architecture.cell == "lstm" and architecture.bias:
            bias[H : 2 * H] = 1  # unit_forget_bias
        return Weights(
            _glorot_uniform(I, width, kernel_seed),
            _orthogonal(H, width, recurrent_seed),
            bias,
            np.zeros(H, np.float32) if b_n else None,
        )

    def _layer_seeds(self, cell: str) -> tuple[int, int]:
        """Return the seeds of the two kernels of a layer, which takes three when it is made.

        The third is that of its dropout: a ``SimpleRNN`` takes it first,
        ``LSTM`` and ``GRU`` last.
        """
        first, second, third = (self._next() for _ in range(3))
        return (second, third) if cell == "rnn" else (first, second)

    def _next(self) -> int:
        return self._seeds.randint(1, 10**9)


def _stream(seed: int) -> Stream:
    """Return the stream that TensorFlow's stateless operations draw from for (seed, 0)."""
    counter = np.array([[seed], [0], [0], [0]], np.uint64)
    first, second, third, fourth = philox4x32(_SCRAMBLE, counter)[0].tolist()
    return Stream((first, second), (third, fourth))


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
