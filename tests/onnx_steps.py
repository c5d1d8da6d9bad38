"""Steps of cells as nodes of an ONNX graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from onnx_graphs import Graph

from rnncli import GRU, LSTM, RNN, Weights

H = 3
CELLS: dict[str, Any] = {"rnn": (RNN, 1), "gru": (GRU, 3), "lstm": (LSTM, 4)}
State = tuple[str, ...]


class Steps(Graph):
    """A graph of steps of a cell of three units, which takes two features or `size`."""

    def __init__(self, kind: str, size: int = 2) -> None:
        super().__init__()
        make, gates = CELLS[kind]
        draws = np.random.default_rng(0)
        shapes = ((size, gates * H), (H, gates * H), (gates * H,))
        W: Any = [draws.uniform(-1, 1, shape).astype(np.float32) for shape in shapes]
        b_n = draws.uniform(-1, 1, H).astype(np.float32) if kind == "gru" else None
        self.kind, self.cell = kind, make(Weights(W[0], W[1], W[2], b_n=b_n))
        self.W_xh, self.W_hh, self.b_h = ([*np.split(w, gates, w.ndim - 1)] for w in W)
        self.b_n = b_n

    def sum(self, x: str, h: str, k: int) -> str:
        """Add the sum of a gate."""
        product = self.add("MatMul", h, self.array(self.W_hh[k]))
        return self.add("Add", self.affine(x, k), product)

    def affine(self, x: str, k: int) -> str:
        return self.add(
            "Gemm", x, self.array(self.W_xh[k].T.copy()), self.array(self.b_h[k]), transB=1
        )

    def step(self, x: str, h: str, c: str = "") -> State:
        """Add a step; return its states."""
        if self.kind == "rnn":
            return (self.add("Tanh", self.sum(x, h, 0)),)
        if self.kind == "gru":
            z, r = (self.add("Sigmoid", self.sum(x, h, k)) for k in (0, 1))
            more = self.add("Gemm", h, self.array(self.W_hh[2]), self.array(self.b_n))
            n = self.add("Add", self.affine(x, 2), self.add("Mul", r, more))
            n, one = self.add("Tanh", n), self.array(np.float32(1))
            new = self.add("Mul", self.add("Sub", one, z), n)
            return (self.add("Add", new, self.add("Mul", z, h)),)
        i, f, o = (self.add("Sigmoid", self.sum(x, h, k)) for k in (0, 1, 3))
        g = self.add("Tanh", self.sum(x, h, 2))
        c = self.add("Add", self.add("Mul", i, g), self.add("Mul", c, f))
        return self.add("Mul", self.add("Tanh", c), o), c

    def zeros(self) -> State:
        """Add states of zeros for all sequences."""
        one = self.add("Gather", self.add("Shape", "x"), self.array(1), axis=0)
        sizes = self.add(
            "Concat", self.add("Unsqueeze", one, self.array([0])), self.array([H]), axis=0
        )
        return (self.add("ConstantOfShape", sizes),) * (1 + (self.kind == "lstm"))

    def unroll(self, T: int, change: Callable[["Steps", int, State], State] | None = None) -> str:
        """Add steps over x, (T, N, size); return h of all."""
        states, rows = self.zeros(), []
        for t in range(T):
            states = change(self, t, states) if change else states
            states = self.step(self.add("Gather", "x", self.array(t), axis=0), *states)
            rows.append(self.add("Unsqueeze", states[0], self.array([0])))
        return self.add("Concat", *rows, axis=0)

    def unrolled(self, path: Path, T: int, change: Any = None, features: int = 2) -> Path:
        """Write a model of T steps."""
        output = self.unroll(T, change)
        path.write_bytes(self.model(output, inputs={"x": (T, "N", features)}))
        return path
