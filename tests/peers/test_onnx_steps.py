"""Cells that PyTorch exports as other operators, called once or at each step, against PyTorch."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from model_files import layers, load
from torch import nn

import rnncli

CELLS = {"RNN": nn.RNNCell, "GRU": nn.GRUCell, "LSTM": nn.LSTMCell}


class Stepped(nn.Module):  # type: ignore[misc]
    """A head above a cell that is called at each step, or above two such cells."""

    def __init__(self, kind: str, form: str) -> None:
        super().__init__()
        self.cell, self.form, self.two = CELLS[kind](2, 3), form, kind == "LSTM"
        self.above, self.head = CELLS[kind](3, 3), nn.Linear(6 if form == "both ways" else 3, 2)

    def follow(self, cell: Any, rows: list[Any]) -> list[Any]:
        """Run a cell over rows, from zeros."""
        states, h = (torch.zeros(len(rows[0]), 3),) * 2, []
        for x in rows:
            state = cell(x, states if self.two else states[0])
            states = state if self.two else (state, state)
            h.append(states[0])
        return h

    def forward(self, x: Any) -> Any:
        rows = [x[:, t] for t in range(x.shape[1])]
        h = self.follow(self.cell, rows[::-1] if self.form == "backward" else rows)
        if self.form == "last":
            return self.head(h[-1])
        if self.form == "two layers":
            h = self.follow(self.above, h)
        if self.form == "a head a step":
            return torch.stack([self.head(each) for each in h], 1)
        if self.form == "both ways":
            back = self.follow(self.cell, rows[::-1])[::-1]
            return self.head(torch.cat([torch.stack(h, 1), torch.stack(back, 1)], -1))
        return self.head(torch.stack(h[::-1] if self.form == "backward" else h, 1))


class Called(nn.Module):  # type: ignore[misc]
    """A cell that takes its state at each call, and gives the next one."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.cell, self.head, self.two = CELLS[kind](2, 3), nn.Linear(3, 2), kind == "LSTM"

    def forward(self, x: Any, *states: Any) -> Any:
        after = self.cell(x, states if self.two else states[0])
        after = after if self.two else (after,)
        return self.head(after[0]), *after


def export(module: Any, inputs: Any, path: Path, *, new: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = ["x", "h", "c"][: len(inputs)]
        torch.onnx.export(
            module.eval(), inputs, str(path), dynamo=new, verbose=False, input_names=names
        )


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize(
    "form", ["rows", "last", "backward", "two layers", "a head a step", "both ways"]
)
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.filterwarnings("ignore")
def test_repeated_cells(kind: str, form: str, new: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Stepped(kind, form), torch.randn(1, 5, 2)
    export(module, (x,), tmp_path / "m.onnx", new=new)
    network, _ = load(tmp_path / "m.onnx")
    assert layers(network).count(kind) == (2 if form in ("two layers", "both ways") else 1)
    states: Any = rnncli.run(network, x.numpy())
    expected = module(x).detach().numpy()
    y = states.y[:, -1] if form == "last" else states.y
    np.testing.assert_allclose(y, expected, atol=1e-6)


@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.filterwarnings("ignore")
def test_a_cell_a_call(kind: str, new: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Called(kind), torch.randn(1, 5, 2)
    states = [torch.zeros(1, 3)] * (2 if kind == "LSTM" else 1)
    export(module, (x[:, 0], *states), tmp_path / "m.onnx", new=new)
    rows = []
    for t in range(5):
        y, *states = module(x[:, t], *states)
        rows.append(y.detach().numpy())
    network, _ = load(tmp_path / "m.onnx")
    ours: Any = rnncli.run(network, x.numpy())
    np.testing.assert_allclose(ours.y, np.stack(rows, 1), atol=1e-6)
