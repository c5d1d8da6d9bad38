"""Text that is compressed by zstd."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import rnncli


def test_zstd_is_read_by_its_content(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(5000, 1))
    text = io.BytesIO()
    np.savetxt(text, x)
    packed = pa.compress(text.getvalue(), "zstd", asbytes=True)
    network = rnncli.seeded(1, 2)
    expected = rnncli.run(network, x).h
    for name, data in (("x.csv.zst", packed), ("x", packed)):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_allclose(rnncli.run(network, tmp_path / name).h, expected, atol=1e-6)
    (tmp_path / "cut.zst").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(rnncli.InputError, match=r"cut.zst: "):
        rnncli.run(network, tmp_path / "cut.zst")
