"""Keras's draws on TensorFlow: ``keras.utils.set_random_seed``, then ``SimpleRNN`` layers."""

import random
from math import sqrt

import numpy as np

from rnncli.model.arrays import Floats
from rnncli.model.cells import Weights
from rnncli.model.initializers.tensorflow import Stream, normals, philox4x32, uniforms
from rnncli.model.layers import Architecture

# tensorflow/core/kernels/stateless_random_ops.cc: the key under which a seed is scrambled.
_SCRAMBLE = (0x3EC8F720, 0x02461E29)


def draw(architecture: Architecture, seed: int) -> list[list[Weights]]:
    """Draw a uniform kernel, an orthogonal recurrent kernel and a bias of zeros.

    The same numbers as, in Keras 3 with TensorFlow on a CPU::

        keras.utils.set_random_seed(seed)
        layers = [keras.layers.SimpleRNN(H) for H in hidden_sizes]

    with ``go_backwards=True`` for backward layers, or each ``SimpleRNN`` in
    ``keras.layers.Bidirectional``. Every layer's seeds are taken when it is
    made, so nothing random may come between, and the layers are made in
    the order of the stack.

    Kernels are equal to the bit. A recurrent kernel is the Q of a QR
    factorization, rounded in float32 by TensorFlow and in float64 here:
    over 25,600 of them, H from 1 to 64, the largest difference was 4e-7 in
    the median and 3e-5 at worst, over 2e-5 in four (Keras 3.15, TensorFlow
    2.21).

    Parameters
    ----------
    architecture : Architecture
    seed : int
        What ``set_random_seed`` gets, 0 ... 2**32 - 1.

    Returns
    -------
    list of lists of Weights
        Of the cells of each layer, float32.

    Notes
    -----
    Glorot and Bengio (2010), "Understanding the difficulty of training deep
    feedforward neural networks"; Saxe et al. (2014), "Exact solutions to
    the nonlinear dynamics of learning in deep linear neural networks".
    """
    seeds = random.Random(seed)
    layers = []
    for I, H in architecture.sizes():
        if len(architecture.directions) == 2:
            # Bidirectional copies the layer it is given twice; the layer's own seeds go unused.
            _layer_seeds(seeds)
        layers.append([_cell(I, H, *_layer_seeds(seeds)) for _ in architecture.directions])
    return layers


def _cell(I: int, H: int, kernel_seed: int, recurrent_seed: int) -> Weights:
    kernel = _glorot_uniform(I, H, kernel_seed)
    return Weights(kernel, _orthogonal(H, recurrent_seed), np.zeros(H, np.float32))


def _layer_seeds(seeds: random.Random) -> tuple[int, int]:
    """Return the seeds of the two kernels of a ``SimpleRNN``, which takes three when it is made."""
    _dropout, kernel, recurrent = (seeds.randint(1, 10**9) for _ in range(3))
    return kernel, recurrent


def _stream(seed: int) -> Stream:
    """Return the stream that TensorFlow's stateless operations draw from for (seed, 0)."""
    counter = np.array([[seed], [0], [0], [0]], np.uint64)
    first, second, third, fourth = philox4x32(_SCRAMBLE, counter)[0].tolist()
    return Stream((first, second), (third, fourth))


def _glorot_uniform(I: int, H: int, seed: int) -> Floats:
    # The limit in Keras's own order of operations, for the last bit.
    limit = np.float32(sqrt(3 * (1 / max(1, (I + H) / 2))))
    values = uniforms((I, H), _stream(seed))
    values *= limit - -limit
    values -= limit
    return values


def _orthogonal(H: int, seed: int) -> Floats:
    q, r = np.linalg.qr(normals((H, H), _stream(seed)).astype(np.float64))
    q *= np.sign(r.diagonal())
    return q.astype(np.float32)
