"""Random graphs that compute with their sizes, at four sizes, beside ONNX Runtime.

The distance may be 1e-5 of the largest value, and as much as float64 and float32 differ, which
tells how ill the graph is conditioned; 2e-2 where it casts to float16 or bfloat16, since a value
that lies between two of these may go either way.
"""

import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from conftest import NIGHTLY

import rnncli
from peers.nets import Array
from peers.onnx_numbers import SIZES, Numbers, Rows
from rnncli.model.errors import InputError


def open_session(model: Any) -> Any:
    """Open a model in ONNX Runtime without what it fuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def arrange(y: Array, rows: Rows) -> Array:
    """Bring a result to (N, T, O), or (N, O) without steps."""
    places = [rows.axes.index(axis) for axis in "NT" if axis in rows.axes]
    moved = np.moveaxis(y, places, range(len(places)))
    return moved.reshape(*moved.shape[: len(places)], -1)


def compute(network: Any, x: Array, precision: str) -> Array:
    run = rnncli.run(network, x, precision=precision)
    y = run.y_n if network.last else run.h if run.y is None else run.y
    return np.asarray(y)


def compare(seed: int, path: Path) -> str:
    """Return how a case ends: equal, refused, invalid, not finite, or why it is wrong."""
    draw = Numbers(seed)
    model, rows, axes, is_open = draw.model()
    try:
        session = open_session(model)
    except Exception as error:  # such as a type that an operator does not have
        return f"invalid: {str(error)[:300]}"
    onnx.save(model, str(path))
    try:
        network = rnncli.load(path)
    except InputError:
        return "refused"
    for N, T in SIZES if is_open else SIZES[:1]:
        x = np.random.RandomState(seed).normal(size=(N, T, axes[2])).astype(np.float32)
        try:
            given = x if axes[0] == "N" else x.swapaxes(0, 1).copy()
            theirs = session.run(None, {"x": given})[0]
        except Exception:
            continue  # a size that the graph does not take
        if not np.isfinite(theirs).all():
            return "not finite"
        theirs = arrange(theirs, rows)
        try:
            ours, exact = (compute(network, x, precision) for precision in ("float32", "float64"))
        except InputError:
            return "refused"
        if ours.ndim > theirs.ndim:
            ours, exact = ours[:, -1], exact[:, -1]
        if ours.shape != theirs.shape:
            return f"wrong shape {ours.shape}, not {theirs.shape}"
        scale = max(1, np.abs(theirs).max())
        most = (2e-2 if draw.rounds else 1e-5) * scale + 16 * np.abs(ours - exact).max()
        if not (apart := np.abs(ours - theirs).max()) <= most:
            return f"wrong by {apart:.2g} of {scale:.2g} at N = {N}, T = {T}: {network}"
    return "equal"


@pytest.mark.parametrize("start", range(0, 2000, 100) if NIGHTLY else [0])
@pytest.mark.filterwarnings("ignore")
def test_numbers_of_random_graphs(start: int, tmp_path: Path) -> None:
    ends = Counter[str]()
    for seed in range(start, start + 100):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            end = compare(seed, tmp_path / "m.onnx")
        assert not end.startswith("wrong"), (seed, end)
        ends[end.partition(":")[0]] += 1
    assert ends["equal"] >= 60
