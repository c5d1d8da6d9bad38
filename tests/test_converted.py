"""Trained models as our own files: what ``rnn weights -o`` keeps of them is all there is."""

from pathlib import Path

import numpy as np
import pytest
from conftest import Rnn
from test_kept_models import MODELS, kept

# Models that hold operators which are no layer of ours.
PIECES = ("branches", "pooled", "attributes", "constants", "decomposed", "functions", "turned")


@pytest.mark.parametrize("model", MODELS, ids=[model.name for model in MODELS])
def test_a_kept_model_runs_from_our_own_file_as_from_its_own(
    run_rnn: Rnn, tmp_path: Path, model: Path
) -> None:
    """To the bit, and with no option: the file says what the model needed some for."""
    arrays, own, data = kept(model), str(tmp_path / "own.npz"), str(tmp_path / "x.npy")
    np.save(data, arrays["x"])
    options = arrays["options"].tolist() if "options" in arrays else []
    written = run_rnn("weights", "--weights", str(model), *options, "-o", own)
    if any(name in model.name for name in PIECES):
        assert (written.exit_code, "not of a chain of layers" in written.stderr) == (2, True)
        return
    assert written.exit_code == 0, written.stderr
    command = ("run", data, "--format", "npy", "--weights")
    right, result = run_rnn(*command, str(model), *options), run_rnn(*command, own)
    assert (right.exit_code, result.exit_code, result.stderr) == (0, 0, "")
    assert result.stdout_bytes == right.stdout_bytes
