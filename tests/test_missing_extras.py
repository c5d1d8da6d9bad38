"""Without an extra: an error before anything is computed says how to install it."""

import os
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from conftest import Rnn

# A command that would fail in another way if it ran, and the extra that it needs.
OVERFLOW = "run --seq 3e38 --activation linear"
COMMANDS = [
    *((f"{OVERFLOW} -o x.parquet", "arrow"), (f"{OVERFLOW} -o X.FEATHER", "arrow")),
    *(("run x.parquet -o y.csv", "arrow"), ("run X.FEATHER -o y.csv", "arrow")),
    *((f"{OVERFLOW} -o x.svg", "plot"), ("run s3://a/b", "remote")),
    *(("run --seq x -o s3://a/b", "remote"), ("run --seq x --state s3://a/b", "remote")),
    ("weights -o s3://a/b.npz", "remote"),
]
PACKAGES = {"arrow": "PyArrow", "plot": "matplotlib", "remote": "fsspec"}


@pytest.fixture(autouse=True)
def without_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("pyarrow", "matplotlib", "fsspec"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(("words", "extra"), COMMANDS)
def test_a_command_needs_its_extra(run_rnn: Rnn, words: str, extra: str) -> None:
    for name in ("x.parquet", "X.FEATHER"):
        Path(name).write_bytes(b"PAR1\x15\x00")
    done = run_rnn(*words.split(), "--hidden", "2")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert PACKAGES[extra] in done.stderr
    assert done.stderr.endswith(f": pip install 'rnncli[{extra}]'\n")
    assert sorted(os.listdir()) == ["X.FEATHER", "x.parquet"]


@pytest.mark.parametrize("start", [b"PAR1\x15\x00", b"ARROW1\0\0", b"\xff\xff\xff\xff\x10\0"])
def test_a_table_that_is_piped_in_needs_its_extra(run_rnn: Rnn, start: bytes) -> None:
    result = run_rnn("run", "--hidden", "2", stdin=start)
    assert result.exit_code == 1
    assert result.stderr.endswith("need PyArrow: pip install 'rnncli[arrow]'\n")


def test_verify_says_which_libraries_are_absent(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.distribution", absent)
    verify = ("verify", "--seq", "1,2", "--hidden", "4")
    hint = "not installed: pip install 'rnncli[peers]'\n"
    assert f"\nkeras, torch, onnxruntime: {hint}" in run_rnn(*verify).stdout
    result = run_rnn(*verify, "--peer", "torch")
    assert (result.exit_code, result.stderr) == (2, f"Error: peer torch: {hint}")
