"""Products in pieces: every row right, wherever the cuts fall."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnncli.engine.threads import leaves_processors, product
from rnncli.model.cells import RNN, Weights

EPS = float(np.finfo(np.float32).eps)


@given(data=st.data())
def test_pieces_give_the_product(data: st.DataObject) -> None:
    """Of two axes or three, into a part of a wider array, a piece of any number of rows."""
    T = data.draw(st.sampled_from([None, 1, 3]))
    M, K, H = (data.draw(st.integers(1, most)) for most in (40, 5, 5))
    random = np.random.RandomState(data.draw(st.integers(0, 99)))
    shape = (M, K) if T is None else (T, M, K)
    a, W = (random.normal(size=size).astype(np.float32) for size in (shape, (K, H)))
    wider = np.full((*shape[:-2], M + 2, H), np.nan, np.float32)
    out = wider[..., 1:-1, :] if T else np.empty((M, H), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnncli.engine.threads.ONE_THREAD", data.draw(st.integers(1, 25 * 40)))
        patch.setattr("rnncli.engine.threads.FEW", 1)
        patch.setattr("rnncli.engine.threads._blas.alone", data.draw(st.booleans()))
        product(a, W, out)
    exact = a.astype(np.float64) @ W
    bound = (K + 1) * EPS * (np.abs(a).astype(np.float64) @ np.abs(W))
    assert (np.abs(out - exact) <= bound).all()
    if T:
        assert np.isnan(wider[:, [0, -1]]).all()  # nothing beside it is touched


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    ("I", "H", "small"),
    [
        (1, 4, True),
        (90, 90, True),
        (91, 91, False),
        (1, 91, False),
        (127, 64, True),
        (128, 64, False),
    ],
)
def test_a_large_matrix_is_left_to_all_threads(
    monkeypatch: pytest.MonkeyPatch, I: int, H: int, *, small: bool, single: bool
) -> None:
    monkeypatch.setattr("rnncli.engine.threads._blas.alone", single)
    cell = RNN(Weights(*(np.zeros(shape, np.float32) for shape in ((I, H), (H, H), H))))
    assert leaves_processors(cell) is (small or single)
