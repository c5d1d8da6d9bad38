"""TensorFlow's stateful draws: ``tf.random.set_seed``, then ``tf.random.normal`` a tensor."""

import random

import numpy as np

from rnncli.initializers.philox import philox4x32
from rnncli.network import Floats, Weights

_SEED_MODULUS = 2**31 - 1
# Draws made at once: their temporaries stay near 100 MB however large the tensor.
_CHUNK = 2**20


def draw(shapes: dict[str, tuple[int, ...]], seed: int) -> Weights:
    """Draw Gaussian weights and a zero bias, as the notebook does.

    The same numbers as, in TensorFlow on a CPU::

        tf.random.set_seed(seed)
        W_xh = tf.random.normal(shapes["W_xh"])
        W_hh = tf.random.normal(shapes["W_hh"])
        b_h = tf.zeros(shapes["b_h"])

    98 of 100 draws are equal to the bit, the others within 4 units of the
    last place: TensorFlow approximates logarithm, sine and cosine in
    float32; here they are computed in float64 and rounded.

    Parameters
    ----------
    shapes : dict
        Shape by name, as `rnncli.network.weight_shapes` gives it.
    seed : int
        What ``tf.random.set_seed`` gets, 0 ... 2**32 - 1.
    """
    op_seeds = random.Random(seed)  # as TensorFlow's eager context keeps it
    drawn = {
        name: _normal(shapes[name], seed, op_seeds.randint(0, 2**31 - 1))
        for name in ("W_xh", "W_hh")
    }
    return Weights(**drawn, b_h=np.zeros(shapes["b_h"], np.float32))


def _normal(shape: tuple[int, ...], global_seed: int, op_seed: int) -> Floats:
    """``tf.random.normal(shape)`` as float32, for a pair of seeds."""
    global_seed, op_seed = global_seed % _SEED_MODULUS, op_seed % _SEED_MODULUS
    if (global_seed, op_seed) == (0, 0):
        op_seed = _SEED_MODULUS
    values = np.empty(shape, np.float32)
    flat = values.reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        part[:] = _gaussians(global_seed, op_seed, start // 4, -(-len(part) // 4))[: len(part)]
    return values


def _gaussians(global_seed: int, op_seed: int, first: int, blocks: int) -> Floats:
    """Four normal draws from each of `blocks` Philox blocks, from block `first` on."""
    index = np.arange(first, first + blocks, dtype=np.uint64)
    counter = np.zeros((4, blocks), np.uint64)
    counter[0], counter[1] = index & np.uint64(0xFFFFFFFF), index >> np.uint64(32)
    counter[2] = op_seed
    uniforms = _uniforms(philox4x32((global_seed, 0), counter)).reshape(-1, 2)
    u1, u2 = np.maximum(uniforms[:, 0], np.float32(1e-7)), uniforms[:, 1]
    # Box and Muller's transform; the angle is a product in double, rounded.
    angle = (2 * np.pi * u2.astype(np.float64)).astype(np.float32).astype(np.float64)
    radius = np.sqrt(-2 * np.log(u1.astype(np.float64)).astype(np.float32))
    waves = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)  # (n, 2)
    return (waves * radius[:, None]).reshape(-1)


def _uniforms(words: np.ndarray[tuple[int, int], np.dtype[np.uint32]]) -> Floats:
    """Float32 in [0, 1) from the low 23 bits of each word."""
    one_to_two = (words & np.uint32(0x7FFFFF)) | np.uint32(0x3F800000)
    return one_to_two.view(np.float32) - np.float32(1)
