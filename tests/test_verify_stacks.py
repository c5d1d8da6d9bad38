"""``rnn verify`` where only outputs are known: stacks, and directions that are merged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import Rnn

from rnncli.model.arrays import Floats

I, H, T = 2, 12, 60
MERGES: dict[str, Callable[[Floats, Floats], Floats]] = {
    "concat": lambda a, b: np.concatenate([a, b], axis=1),
    "sum": np.add,
    "ave": lambda a, b: (a + b) / 2,
    "mul": np.multiply,
}
X = np.random.RandomState(1).normal(size=(T, I)).astype(np.float32)
Cells = list[list[tuple[Floats, Floats, Floats]]]


def drawn(merge: str, gain: float, layers: int = 2) -> Cells:
    """Draw weights: with gain 1 a network is contracting, with 3 it is chaotic."""
    random, width, network = np.random.RandomState(3), I, []
    for _ in range(layers):
        shapes = (width, H), (H, H), (H,)
        network.append(
            [tuple(random.uniform(-1, 1, s).astype("f") / np.sqrt(H) for s in shapes) for _ in "fb"]
        )
        for W_xh, W_hh, _ in network[-1]:
            W_xh *= np.float32(2)
            W_hh *= np.float32(gain)
        width = 2 * H if merge == "concat" else H
    return network


def saved(network: Cells, path: Path) -> str:
    arrays = {
        f"layer_{number}.{direction}.{name}": array
        for number, cells in enumerate(network, start=1)
        for direction, cell in zip(("forward", "backward"), cells, strict=True)
        for name, array in zip(("W_xh", "W_hh", "b_h"), cell, strict=True)
    }
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return str(path)


def loop(
    network: Cells, merge: str, f: Callable[[Floats], Floats] = np.tanh, dtype: str = "f"
) -> Floats:
    """Another program: it adds the terms one by one, the last first."""
    rows = X.astype(dtype)
    for cells in network:
        states = []
        for cell, turn in zip(cells, (1, -1), strict=True):
            W_xh, W_hh, b_h = (array.astype(dtype) for array in cell)
            h, given = np.zeros(H, dtype), []
            for x in rows[::turn]:
                a = np.zeros(H, dtype)
                for value, row in zip([*x, *h][::-1], [*W_xh, *W_hh][::-1], strict=True):
                    a += value * row
                h = f(a + b_h)
                given.append(h)
            states.append(np.array(given)[::turn])
        rows = MERGES[merge](*states)
    return rows


class Verified:
    """A network in a file, and the verdict on what may be its output."""

    def __init__(self, run_rnn: Rnn, folder: Path, network: Cells, merge: str) -> None:
        self.run_rnn, self.folder = run_rnn, folder
        np.save(folder / "x.npy", X)
        weights = saved(network, folder / "w.npz")
        self.options = [str(folder / "x.npy"), "--weights", weights, "--merge", merge]

    def text(self, h: Floats) -> str:
        return str(self.run(h).stdout)

    def result(self, h: Floats) -> tuple[dict[str, Any], list[str]]:
        """Return the result, and the names of what explains it."""
        result = self.run(h, "--json")
        report = json.loads(result.stdout)
        first: dict[str, Any] = report["results"][0]
        assert result.exit_code == (0 if first["verdict"] == "equal" else 1), result.output
        return first, [found["name"] for found in report.get("explanations", [])]

    def run(self, h: Floats, *options: str) -> Any:
        np.save(self.folder / "e.npy", h)
        expected = str(self.folder / "e.npy")
        return self.run_rnn("verify", *self.options, "--expected", expected, *options)


@pytest.mark.parametrize("merge", MERGES)
@pytest.mark.parametrize("gain", [1.0, 2.5, 3.0])
def test_right_outputs_are_equal(run_rnn: Rnn, tmp_path: Path, merge: str, gain: float) -> None:
    network = drawn(merge, gain)
    verified = Verified(run_rnn, tmp_path, network, merge)
    outputs = [loop(network, merge, dtype=dtype) for dtype in "fd"]
    # Rounding carries further than in one step.
    assert gain < 3 or np.abs(outputs[0] - outputs[1]).max() > 1e-6
    for h in outputs:
        result, _ = verified.result(h)
        assert (result["verdict"], result["step_error"], result["judged"]) == ("equal", None, 1)


def with_cells(network: Cells, change: Callable[[int, Floats], Floats]) -> Cells:
    """Change the arrays of all cells: `change` gets 0 to 2 for W_xh, W_hh and b_h."""
    return [
        [tuple(change(n, array) for n, array in enumerate(cell)) for cell in cells]  # type: ignore[misc]
        for cells in network
    ]


def perturbed(network: Cells) -> Cells:
    changed = with_cells(network, lambda _, array: array.copy())
    changed[0][0][1][0, 1] += 0.01
    return changed


def other(merge: str) -> str:
    return {"concat": "concat", "sum": "mul", "ave": "sum", "mul": "sum"}[merge]


Wrong = Callable[[Cells, str], Floats]
WRONG: dict[str, tuple[list[str], Wrong]] = {
    "zeros": ([], lambda network, merge: np.zeros_like(loop(network, merge))),
    "a weight": ([], lambda network, merge: loop(perturbed(network), merge)),
    "no bias": (
        ["no bias"],
        lambda network, merge: loop(
            with_cells(network, lambda n, array: array * np.float32(n < 2)), merge
        ),
    ),
    "merge": (["--merge"], lambda network, merge: loop(network, other(merge))),
}


CASES = [(fault, merge) for fault in WRONG for merge in ("concat", "sum", "mul")]
CASES.remove(("merge", "concat"))


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "merge"), CASES)
def test_wrong_outputs_are_different_and_explained(
    run_rnn: Rnn, tmp_path: Path, fault: str, merge: str
) -> None:
    network = drawn(merge, 2.5)
    names, wrong = WRONG[fault]
    names = [f"{name} {other(merge)}" if name == "--merge" else name for name in names]
    result, found = Verified(run_rnn, tmp_path, network, merge).result(wrong(network, merge))
    assert (result["verdict"], found) == ("different", names)


def test_what_is_not_finite_never_passes(run_rnn: Rnn, tmp_path: Path) -> None:
    network = drawn("sum", 2.5)
    h = loop(network, "sum")
    h[7, 3] = np.nan
    result, _ = Verified(run_rnn, tmp_path, network, "sum").result(h)
    assert (result["verdict"], result["difference"]) == ("different", None)


@pytest.mark.parametrize("merge", MERGES)
def test_a_chaotic_network_cannot_be_compared(run_rnn: Rnn, tmp_path: Path, merge: str) -> None:
    network = drawn(merge, 8)
    verified = Verified(run_rnn, tmp_path, network, merge)
    for h in (loop(network, merge), loop(network, merge, dtype="d")):
        report = verified.run(h, "--json")
        assert report.exit_code in (1, 2)  # 2: not even our own states are known
        result = json.loads(report.stdout)["results"][0]
        assert result["verdict"] == "not compared"
        assert "rounding alone drives right runs apart" in result["note"]
