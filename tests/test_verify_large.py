"""``rnn verify`` finds causes where states are large, or of unlike size."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn

from rnncli.model.arrays import Floats

Arrays = dict[str, Floats]


def drawn(scale: list[float]) -> Arrays:
    """Draw positive weights for two layers; `scale` is that of each unit above."""
    random = np.random.default_rng(0)
    arrays: Arrays = {}
    for number, (I, H) in enumerate([(3, 5), (5, 4)], start=1):
        arrays[f"layer_{number}.forward.W_xh"] = random.uniform(0.5, 1, (I, H)).astype("f")
        arrays[f"layer_{number}.forward.W_hh"] = random.uniform(0, 0.1, (H, H)).astype("f")
        arrays[f"layer_{number}.forward.b_h"] = random.uniform(0, 0.01, H).astype("f")
    arrays["layer_2.forward.W_xh"] *= np.array(scale, "f")
    arrays["layer_2.forward.W_hh"] *= np.array(scale, "f") / np.array(scale, "f")[:, None]
    return arrays


@pytest.mark.parametrize("scale", [[100] * 4, [1e6, 1e6, 1, 1]], ids=["large", "unlike"])
@pytest.mark.parametrize("name", ["no bias", "--precision tf32"])
def test_a_hypothesis_is_named_and_no_other(
    run_rnn: Rnn, tmp_path: Path, scale: list[float], name: str
) -> None:
    network = drawn(scale)
    if scale[0] != scale[-1] and name == "no bias":
        # Only the small units have one, and it is less than what the large ones are rounded by.
        network |= {n: a * np.float32(0) for n, a in network.items() if n.endswith("b_h")}
        network["layer_2.forward.b_h"][2:] = 0.05
    np.save(tmp_path / "x.npy", np.random.default_rng(1).uniform(1, 2, (60, 3)).astype("f"))
    np.savez(tmp_path / "w.npz", **network)  # type: ignore[arg-type]
    without = {n: a * np.float32(0) if n.endswith("b_h") else a for n, a in network.items()}
    np.savez(tmp_path / "wrong.npz", **without)  # type: ignore[arg-type]
    expected = str(tmp_path / "e.npy")
    wrong = "wrong.npz" if name == "no bias" else "w.npz"
    other = () if name == "no bias" else name.split()
    common = (str(tmp_path / "x.npy"), "--activation", "relu")
    run = ("run", *common, "--weights", str(tmp_path / wrong), "--unroll", "stepwise")
    assert run_rnn(*run, *other, "-o", expected).exit_code == 0
    verify = ("verify", *common, "--weights", str(tmp_path / "w.npz"), "--expected", expected)
    result = run_rnn(*verify, "--json")
    assert result.exit_code == 1, result.output
    assert [each["name"] for each in json.loads(result.stdout)["explanations"]] == [name]
