"""Random networks and inputs for property tests."""

from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from rnncli.network import Floats, Weights
from rnncli.precision import PRECISIONS


class Case(NamedTuple):
    """A network, an input in its precision, and a batch of initial states."""

    weights: Weights
    x: Floats  # (N, T, I)
    h0: Floats  # (N, H)
    precision: str


@st.composite
def cases(draw: st.DrawFn, /, **fixed: Any) -> Case:
    """Networks of any size, gain and precision; `fixed` sets some of them."""

    def pick(name: str, strategy: st.SearchStrategy[Any]) -> Any:
        return fixed[name] if name in fixed else draw(strategy)

    T = pick("T", st.integers(0, 40))
    N = pick("N", st.integers(1, 5))
    I = pick("I", st.integers(1, 20))
    H = pick("H", st.integers(1, 40))
    gain = pick("gain", st.sampled_from([1e-3, 0.3, 1.0, 4.0]))
    precision = pick("precision", st.sampled_from(list(PRECISIONS)))
    random = np.random.RandomState(draw(st.integers(0, 2**32 - 1)))
    dtype = PRECISIONS[precision].dtype
    arrays = (gain * random.normal(size=shape) / np.sqrt(H) for shape in ((I, H), (H, H), H))
    weights = Weights(*(array.astype(np.float32) for array in arrays))
    scale = 10.0 ** random.randint(-3, 4)
    x = (scale * random.normal(size=(N, T, I))).astype(dtype)
    return Case(weights, x, random.uniform(-1, 1, (N, H)).astype(dtype), precision)
