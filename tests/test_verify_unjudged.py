"""``rnn verify`` where rounding drives some units of a network anywhere."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn

from rnncli.model.arrays import Floats

T, H, CHAOTIC = 400, 100, 9


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Return a network of two layers: in the upper one nine of the units are chaotic."""
    random = np.random.default_rng(1)
    W_hh = np.zeros((H, H))
    below, above = random.normal(size=(1, 4)), random.normal(size=(4, 4)) * 0.2
    W_hh[CHAOTIC:, CHAOTIC:] = random.normal(size=(H - CHAOTIC, H - CHAOTIC)) * 0.03
    W_hh[:CHAOTIC, :CHAOTIC] = random.normal(size=(CHAOTIC, CHAOTIC)) * 1.5
    W_xh = random.normal(size=(4, H)) * 0.5
    W_xh[:, :CHAOTIC] *= 0.1
    cells = [(below, above, np.zeros(4)), (W_xh, W_hh, random.normal(size=H) * 0.1)]
    arrays = {
        f"layer_{number}.forward.{name}": array.astype("f")
        for number, cell in enumerate(cells, start=1)
        for name, array in zip(("W_xh", "W_hh", "b_h"), cell, strict=True)
    }
    np.savez(tmp_path / "w.npz", **arrays)  # type: ignore[arg-type]
    np.save(tmp_path / "x.npy", random.normal(size=(T, 1)).astype("f"))
    return [str(tmp_path / "x.npy"), "--weights", str(tmp_path / "w.npz")]


def states(run_rnn: Rnn, folder: Path, options: list[str], *others: str) -> Floats:
    """Compute the output of the network."""
    result = run_rnn("run", *options, *others, "-o", str(folder / "h.npy"))
    assert result.exit_code == 0, result.output
    h: Floats = np.load(folder / "h.npy")
    return h.reshape(T, H)


def verdict(run_rnn: Rnn, folder: Path, options: list[str], h: Floats) -> dict[str, Any]:
    """Judge what may be the output."""
    np.save(folder / "e.npy", h)
    result = run_rnn("verify", *options, "--expected", str(folder / "e.npy"), "--json")
    first: dict[str, Any] = json.loads(result.stdout)["results"][0]
    return first


@pytest.mark.slow
def test_a_right_run_is_equal(run_rnn: Rnn, tmp_path: Path, options: list[str]) -> None:
    ours = states(run_rnn, tmp_path, options)
    other = states(run_rnn, tmp_path, options, "--precision", "float64").astype("f")
    assert np.abs(ours - other)[:, :CHAOTIC].max() > 0.5
    result = verdict(run_rnn, tmp_path, options, other)
    assert result["verdict"] == "equal"
    assert 0.9 < result["judged"] < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("value", [1e30, 100, -20])
def test_what_nobody_computes_is_different(
    run_rnn: Rnn, tmp_path: Path, options: list[str], value: float
) -> None:
    h = states(run_rnn, tmp_path, options)
    h[T // 2 :, :CHAOTIC] = value
    result = verdict(run_rnn, tmp_path, options, h)
    assert (result["verdict"], result["first"]["step"]) == ("different", T // 2 + 1)
