"""ONNX models run from their files as ONNX Runtime or PyTorch runs them.

What a model gives is compared within 1e-6 relative to max(1, |y|): weights
are small enough that float32 ends no further from it. Random graphs may
divide by what is small, which takes ten times as much.
"""

import warnings
from collections import Counter
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from conftest import NIGHTLY
from model.test_onnx_graph import LONG, LONG_T, RUN
from onnx import helper
from onnx_graphs import Graph
from torch import nn

from peers.models_onnx import Wrapped, parse, run_model
from peers.nets import Array, furthest, output
from peers.onnx_draws import ACTIVATIONS, OPERATORS, Draw
from rnncli.engine.run import run
from rnncli.model.errors import InputError
from rnncli.model.formats.load import load_network
from rnncli.model.network import Network

N, T, I, H = 2, 5, 3, 4
TAKES: dict[str, Any] = {
    "all": None,
    "step": lambda y, _: y[:, -1],
    "state": lambda _, h: h[-1],
    "states": lambda _, h: torch.cat([h[-2], h[-1]], -1),
    "layers": lambda _, h: torch.cat(list(h.view(-1, 2, h.shape[1], H)[-1]), -1),
    "ways": lambda y, _: y.view(*y.shape[:2], 2, H).sum(2)[:, -1],
    "ends": lambda y, _: torch.cat([y[:, -1, :H], y[:, 0, H:]], -1),
}
OF_BOTH = ("states", "layers", "ways", "ends")  # what only a module of both directions gives
MODULES = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
OPSETS = (9, 11, 12, 13, 14, 17, 20)


def predict(network: Network, x: Array) -> Array:
    """Run the model: it gives rows of all steps, or one a sequence."""
    found = run(network, x)
    if not network.last:
        return output(found)
    assert found.y_n is not None
    return found.y_n


def saved(model: Any, folder: Path) -> Path:
    onnx.save(model, str(folder / "m.onnx"))
    return folder / "m.onnx"


def exported(path: Path, module: Any, x: Any, **settings: Any) -> Array:
    """Export a module; return what it gives."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), (x,), str(path), verbose=False, **settings)
        return np.asarray(module(x))


def stack(kind: str, layers: int, two: bool, first: bool, take: str) -> Any:
    rnn = MODULES[kind](I, H, layers, bidirectional=two, batch_first=first)
    wide = two and take not in ("state", "ways")
    return Wrapped(rnn, nn.Linear(2 * H if wide else H, 2), TAKES[take])


def steps_first(array: Array, first: bool) -> Array:
    return array if first or array.ndim < 3 else array.swapaxes(0, 1)


@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("kind", MODULES)
def test_the_classic_exporter(kind: str, two: bool, tmp_path: Path) -> None:
    lasts = {"all": None, "step": "step" if two else "state", "ways": "step"}
    for place, take in enumerate(take for take in TAKES if two or take not in OF_BOTH):
        for number, opset in enumerate(OPSETS):
            if not NIGHTLY and (number + place) % len(OPSETS) > 1:
                continue
            first = take in ("step", "ways", "ends") or number % 2 == 0
            torch.manual_seed(number)
            module = stack(kind, 1 + number % 3, two, first, take)
            x, path = torch.randn((N, T, I) if first else (T, N, I)), tmp_path / f"{opset}.onnx"
            free = {"dynamic_axes": {"x": {0: "a", 1: "b"}}}
            for axes in (free, {}) if NIGHTLY else ({}, free)[place % 2 :][:1]:
                how: dict[str, Any] = {"opset_version": opset, "input_names": ["x"], **axes}
                y = exported(path, module, x, dynamo=False, **how)
                network = load_network(path).network
                assert network.last == lasts.get(take, "state")
                ours = predict(network, steps_first(x.numpy(), first))
                assert furthest([ours], [steps_first(y, first)]) <= 1e-6


NEW = [("gru", True, "ends")]
NEW += [("lstm", True, "all"), ("lstm", True, "states"), ("gru", False, "state")] if NIGHTLY else []


@pytest.mark.parametrize("opset", [18, 24] if NIGHTLY else [24])
@pytest.mark.parametrize(("kind", "two", "take"), NEW)
@pytest.mark.filterwarnings("ignore")
def test_the_new_exporter(kind: str, two: bool, take: str, opset: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = take != "state"
    module, x = stack(kind, 2, two, first, take), torch.randn((N, T, I) if first else (T, N, I))
    axes = {"dynamic_shapes": ({0 if first else 1: torch.export.Dim("N")},)} if opset > 18 else {}
    path = tmp_path / "m.onnx"
    y = exported(path, module, x, dynamo=True, opset_version=opset, **axes)
    ours = predict(load_network(path).network, steps_first(x.numpy(), first))
    assert furthest([ours], [steps_first(y, first)]) <= 1e-6


HEADS = {
    "relu6": nn.ReLU6(),
    "elu": nn.ELU(0.7),
    "selu": nn.SELU(),
    "leaky_relu": nn.LeakyReLU(0.2),
    "prelu": nn.PReLU(),
    "silu": nn.SiLU(),
    "mish": nn.Mish(),
    "gelu": nn.GELU(),
    "gelu_tanh": nn.GELU(approximate="tanh"),
    "hard_silu": nn.Hardswish(),
    "hard_sigmoid": nn.Hardsigmoid(),
    "softplus": nn.Softplus(),
    "softsign": nn.Softsign(),
    "softmax": nn.Softmax(-1),
    "log_softmax": nn.LogSoftmax(-1),
    "layer_normalization": nn.LayerNorm(H),
    "several": nn.Sequential(
        nn.LayerNorm(H), nn.SiLU(), nn.Dropout(), nn.Linear(H, H), nn.Hardswish()
    ),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.filterwarnings("ignore")
def test_heads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Wrapped(nn.GRU(I, H, batch_first=True), HEADS[name]), torch.randn(N, T, I)
    opsets = (9, 13, 20, 18) if name == "several" else (9, 13, 20)
    for opset in (9, 13, 14, 17, 20, 18) if NIGHTLY else opsets:
        path = tmp_path / f"{opset}.onnx"
        y = exported(path, module, x, dynamo=opset == 18, opset_version=opset)
        assert furthest([predict(load_network(path).network, x.numpy())], [y]) <= 1e-6


class Around(nn.Module):  # type: ignore[misc]
    """A recurrent module within others, by what is computed around it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind, wide = kind, {"branches": 2 * H + I, "both": 2 * H}.get(kind, H)
        self.below = nn.Linear(I, H)
        self.conv = nn.Conv1d(I, H, 3, stride=1 + (kind == "strided"), padding=int(kind != "valid"))
        self.one, self.other = nn.GRU(H, H, batch_first=True), nn.LSTM(I, H, batch_first=True)
        self.score, self.head = nn.Linear(H, 1), nn.Linear(wide, 2)

    def forward(self, x: Any) -> Any:
        if self.kind in ("conv", "strided", "valid"):
            rows = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
            return self.head(self.one(rows)[0])
        rows = self.below(x)
        h, last = self.one(rows)
        found = {
            "residual": lambda: h + rows,
            "branches": lambda: torch.cat([h, self.other(x)[0], x], -1),
            "both": lambda: torch.cat([last[-1], self.other(x)[1][0][-1]], -1),
            "mean": lambda: h.mean(1),
            "attention": lambda: (torch.softmax(self.score(h), 1) * h).sum(1),
            "rows": lambda: torch.sin(h) * h.norm(dim=-1, keepdim=True),
        }[self.kind]()
        return self.head(found)


AROUND = ["conv", "strided", "valid", "residual", "branches", "both", "mean", "attention", "rows"]


@pytest.mark.parametrize("kind", AROUND)
@pytest.mark.filterwarnings("ignore")
def test_what_stands_around(kind: str, tmp_path: Path) -> None:
    """Pieces of graphs: rows, whole sequences, and layers that meet."""
    torch.manual_seed(0)
    module, x = Around(kind), torch.randn(N, 9, I)
    for dynamo in (False, True) if NIGHTLY else (False,):
        for axes in ({}, {"dynamic_axes": {"x": {0: "a", 1: "b"}}})[: 2 - dynamo]:
            names = {"input_names": ["x"], "opset_version": 18, **axes}
            y = exported(tmp_path / "m.onnx", module, x, dynamo=dynamo, **names)
            network = load_network(tmp_path / "m.onnx").network
            assert furthest([predict(network, x.numpy())], [y]) <= 1e-6
            if axes:
                rows = x[:1, :7]
                with torch.no_grad():
                    y = module(rows).numpy()
                assert furthest([predict(network, rows.numpy())], [y]) <= 1e-6


def nearest(ours: Array, theirs: Array) -> float:
    """Largest distance of arrays whose axes may stand in another order, or be several in one."""
    assert ours.size == theirs.size
    ours, theirs = ours.squeeze(), theirs.squeeze()
    orders = permutations(range(theirs.ndim))
    fitting = [theirs.transpose(order) for order in orders]
    pairs = [(ours, each) for each in fitting if each.shape == ours.shape]
    pairs = pairs or [(np.sort(ours.reshape(-1)), np.sort(theirs.reshape(-1)))]
    scale = max(1.0, float(np.abs(theirs).max()))
    return min(float(np.abs(a - b).max()) for a, b in pairs) / scale


@pytest.mark.parametrize("faulty", [False, True], ids=["sound", "faulty"])
@pytest.mark.parametrize("start", range(0, 600, 100) if NIGHTLY else [0])
def test_random_graphs_are_run_or_refused(start: int, faulty: bool, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    for seed in range(start, start + 100):
        model, axes, x = Draw(seed, faulty=faulty).model()
        theirs = run_model(model, x)
        if not np.isfinite(theirs).all():
            continue
        try:
            network = load_network(saved(model, tmp_path)).network
        except InputError:
            ends["refused"] += 1
            continue
        ours = predict(network, x.transpose([axes.index(axis) for axis in "NTF"]))
        assert nearest(ours, theirs) <= 1e-5, seed
        ends["run"] += 1
    # Most sound graphs are run; many faults are, such as a softmax of the only sequence.
    assert ends["run"] >= (10 if faulty else 60)


@pytest.mark.parametrize(
    ("build", "steps"),
    [(build, T) for _, build in RUN] + [(build, LONG_T) for _, build in LONG],
    ids=[named for named, _ in RUN + LONG],
)
def test_subgraphs(build: Any, steps: int, tmp_path: Path) -> None:
    """The graphs of the default tests, in ONNX Runtime."""
    graph, x = Graph(), np.random.RandomState(1).normal(size=(steps, N, 2)).astype(np.float32)
    model = parse(graph.model(build(graph)))
    for node in model.graph.node:
        if node.op_type in OPERATORS and not any(a.name == "hidden_size" for a in node.attribute):
            node.attribute.append(helper.make_attribute("hidden_size", 3))
    ours = predict(load_network(saved(model, tmp_path)).network, x.swapaxes(0, 1))
    assert nearest(ours, run_model(model, x)) <= 1e-6


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_cells_by_default(name: str, tmp_path: Path) -> None:
    """Left-out parameters have ONNX Runtime's defaults, or are refused."""
    graph, x = Graph(), np.random.RandomState(1).normal(size=(T, N, 2)).astype(np.float32)
    model = parse(graph.model(graph.rows("RNN", activations=[name], hidden_size=3)))
    path = saved(model, tmp_path)
    if name in ("Affine", "ScaledTanh", "ThresholdedRelu"):
        with pytest.raises(InputError, match="programs differ in its"):
            load_network(path)
        return
    ours = predict(load_network(path).network, x.swapaxes(0, 1))
    assert furthest([ours], [run_model(model, x).swapaxes(0, 1)]) <= 1e-6
