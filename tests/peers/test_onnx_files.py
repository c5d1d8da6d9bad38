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
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from peers.models_onnx import Wrapped
from peers.networks import Array, furthest
from peers.onnx_draws import ACTIVATIONS, Draw, saved
from rnncli.engine.run import run
from rnncli.model.errors import InputError
from rnncli.model.formats import load_network
from rnncli.model.network import Network

N, T, I, H = 2, 5, 3, 4
TAKES = {
    "all": None,
    "step": lambda y, _: y[:, -1],
    "state": lambda _, h: h[-1],
    "states": lambda _, h: torch.cat([h[-2], h[-1]], -1),
    "layers": lambda _, h: torch.cat(list(h.view(-1, 2, h.shape[1], H)[-1]), -1),
    "ways": lambda y, _: y.view(*y.shape[:2], 2, H).sum(2)[:, -1],
    "ends": lambda y, _: torch.cat([y[:, -1, :H], y[:, 0, H:]], -1),
}
MODULES = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
OPSETS = (9, 11, 12, 13, 14, 17, 20)


def given(network: Network, x: Array, **options: Any) -> Array:
    """Return what the model gives: rows of all steps, or one a sequence."""
    found = run(network, x, **options)
    y = found.y_n if network.last else found.h if found.y is None else found.y
    assert y is not None
    return y


def session(model: Any, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    providers = ["CPUExecutionProvider"]
    found = onnxruntime.InferenceSession(model.SerializeToString(), options, providers)
    return np.asarray(found.run(None, {"x": x})[0])


# What only a module of both directions gives.
OF_BOTH = ("states", "layers", "ways", "ends")


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


@pytest.mark.parametrize("free", [False, True], ids=["frozen", "free"])
@pytest.mark.parametrize(
    ("take", "two"),
    [(take, True) for take in TAKES] + [(take, False) for take in TAKES if take not in OF_BOTH],
)
@pytest.mark.parametrize("kind", MODULES)
def test_the_classic_exporter(kind: str, two: bool, take: str, free: bool, tmp_path: Path) -> None:
    for number, opset in enumerate(OPSETS):
        first = take in ("step", "ways", "ends") or number % 2 == 0
        torch.manual_seed(number)
        module = stack(kind, 1 + number % 3, two, first, take)
        x = torch.randn((N, T, I) if first else (T, N, I))
        axes = {"dynamic_axes": {"x": {0: "a", 1: "b"}}} if free else {}
        path = tmp_path / f"{opset}.onnx"
        y = exported(path, module, x, dynamo=False, opset_version=opset, input_names=["x"], **axes)
        network = load_network(path).network
        lasts = {"all": None, "step": "step" if two else "state", "ways": "step"}
        assert network.last == lasts.get(take, "state")
        ours = given(network, steps_first(x.numpy(), first))
        assert furthest([ours], [steps_first(y, first)]) <= 1e-6


@pytest.mark.parametrize("opset", [18, 24])
@pytest.mark.parametrize(
    ("kind", "two", "take"),
    [
        ("lstm", True, "all"),
        ("lstm", True, "states"),
        ("gru", False, "state"),
        ("gru", True, "ends"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_the_new_exporter(kind: str, two: bool, take: str, opset: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    first = take != "state"
    module, x = stack(kind, 2, two, first, take), torch.randn((N, T, I) if first else (T, N, I))
    axes = {"dynamic_shapes": ({0 if first else 1: torch.export.Dim("N")},)} if opset > 18 else {}
    path = tmp_path / "m.onnx"
    y = exported(path, module, x, dynamo=True, opset_version=opset, **axes)
    ours = given(load_network(path).network, steps_first(x.numpy(), first))
    assert furthest([ours], [steps_first(y, first)]) <= 1e-6


@pytest.mark.filterwarnings("ignore")
def test_the_new_exporter_repeats_vanilla_cells(tmp_path: Path) -> None:
    exported(
        tmp_path / "m.onnx", stack("rnn", 1, False, True, "all"), torch.randn(N, T, I), dynamo=True
    )
    with pytest.raises(InputError, match=r"a step of a recurrent layer, .*dynamo=False\)\Z"):
        load_network(tmp_path / "m.onnx")


@pytest.mark.filterwarnings("ignore")
def test_the_new_exporter_writes_no_projections(tmp_path: Path) -> None:
    module = Wrapped(nn.LSTM(I, H, proj_size=2, batch_first=True))
    exported(tmp_path / "m.onnx", module, torch.randn(N, T, I), dynamo=True)
    with pytest.raises(
        InputError, match=r": initial_c: expected shape \(1, 2, 2\), got \(1, 2, 4\)"
    ):
        load_network(tmp_path / "m.onnx")


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
    "several": nn.Sequential(nn.LayerNorm(H), nn.SiLU(), nn.Dropout(), nn.Linear(H, H), nn.GELU()),
}


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.filterwarnings("ignore")
def test_heads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Wrapped(nn.GRU(I, H, batch_first=True), HEADS[name]), torch.randn(N, T, I)
    for number, opset in enumerate((9, 13, 14, 17, 20, 18)):
        path = tmp_path / f"{number}.onnx"
        y = exported(path, module, x, dynamo=opset == 18, opset_version=opset)
        assert furthest([given(load_network(path).network, x.numpy())], [y]) <= 1e-6


# Nodes with numbers, one after the other, by their inputs behind the rows.
NUMBERED: dict[str, list[tuple[str, tuple[float | None, ...]]]] = {
    "from": [("Clip", (-0.1,))],
    "to": [("Clip", (None, 0.1))],
    "from and to": [("Clip", (-0.1, 0.2))],
    "from above to": [("Clip", (0.2, -0.1))],
    "limited": [("Max", (-0.1,)), ("Min", (0.2,)), ("Max", (0.0,))],
    "square": [("Pow", (2,))],
    "powers": [("Pow", (3.0,)), ("Clip", (0.1,)), ("Pow", (0.5,))],
}


@pytest.mark.parametrize("steps", [1, T])
@pytest.mark.parametrize("name", NUMBERED)
def test_numbers_and_all_axes_of_size_1_dropped(name: str, steps: int, tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    arrays = {
        "W": random.normal(size=(1, H, I)).astype(np.float32),
        "R": random.normal(size=(1, H, H)).astype(np.float32),
    }

    def constant(number: float | None) -> str:
        if number is None:
            return ""
        arrays[f"tensor_{len(arrays)}"] = np.array(number, int if isinstance(number, int) else "f")
        return [*arrays][-1]

    nodes = [helper.make_node("RNN", ["x", "W", "R"], ["y_0"], hidden_size=H)]
    for k, (op, numbers) in enumerate(NUMBERED[name]):
        more = [constant(number) for number in numbers]
        nodes.append(helper.make_node(op, [f"y_{k}", *more], [f"y_{k + 1}"]))
    nodes.append(helper.make_node("Squeeze", [f"y_{len(nodes) - 1}"], ["y"]))
    model = made(nodes, arrays, ["T", 1, I])
    rows = random.normal(size=(steps, 1, I)).astype(np.float32)
    ours = given(load_network(saved(model, str(tmp_path / "m.onnx"))).network, rows[:, 0][None])
    assert furthest([ours.squeeze()], [session(model, rows)]) <= 1e-6


def made(nodes: list[Any], arrays: dict[str, Array], axes: list[Any]) -> Any:
    """Make a model of nodes from x to y."""
    value = helper.make_tensor_value_info
    x, y = (value("x", TensorProto.FLOAT, axes), value("y", TensorProto.FLOAT, None))
    tensors = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "made", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


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
@pytest.mark.parametrize("start", range(0, 600, 100))
def test_random_graphs_are_run_or_refused(start: int, faulty: bool, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    for seed in range(start, start + 100):
        model, axes, x = Draw(seed, faulty=faulty).model()
        theirs = session(model, x)
        if not np.isfinite(theirs).all():
            continue
        try:
            network = load_network(saved(model, str(tmp_path / "m.onnx"))).network
        except InputError:
            ends["refused"] += 1
            continue
        ours = given(network, x.transpose([axes.index(axis) for axis in "NTF"]))
        assert nearest(ours, theirs) <= 1e-5, seed
        ends["run"] += 1
    # Most sound graphs are run; many faults are, such as a softmax of the only sequence.
    assert ends["run"] >= (10 if faulty else 60)


@pytest.mark.parametrize("op", ["RNN", "LSTM", "GRU"])
def test_sequences_first(op: str, tmp_path: Path) -> None:
    random = np.random.RandomState(0)
    G = {"RNN": 1, "LSTM": 4, "GRU": 3}[op]
    shapes = {"W": (2, G * H, I), "R": (2, G * H, H), "B": (2, 2 * G * H)}
    arrays = {
        name: random.normal(scale=0.5, size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    settings: dict[str, Any] = {"direction": "bidirectional", "hidden_size": H, "layout": 1}
    settings |= {"linear_before_reset": 1} if op == "GRU" else {}
    nodes = [
        helper.make_node(op, ["x", *arrays], ["rows"], **settings),
        helper.make_node("Reshape", ["rows", "shape"], ["y"]),
    ]
    model = made(nodes, arrays | {"shape": np.array([0, 0, -1])}, ["N", "T", I])
    x = random.normal(size=(N, T, I)).astype(np.float32)
    theirs = ReferenceEvaluator(model).run(None, {"x": x})[0]
    ours = given(load_network(saved(model, str(tmp_path / "m.onnx"))).network, x)
    assert furthest([ours], [theirs]) <= 1e-6


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_cells_by_default(name: str, tmp_path: Path) -> None:
    """Those whose parameters are left out are ONNX Runtime's, or are refused."""
    random = np.random.RandomState(0)
    arrays = {
        role: random.normal(scale=0.5, size=shape).astype(np.float32)
        for role, shape in (("W", (1, H, I)), ("R", (1, H, H)))
    }
    node = helper.make_node("RNN", ["x", *arrays], ["y"], activations=[name], hidden_size=H)
    model = made([node], arrays, ["T", "N", I])
    path = saved(model, str(tmp_path / "m.onnx"))
    if name in ("Affine", "ScaledTanh", "ThresholdedRelu"):
        with pytest.raises(InputError, match="programs differ in them"):
            load_network(path)
        return
    x = random.normal(size=(T, N, I)).astype(np.float32)
    ours = given(load_network(path).network, x.swapaxes(0, 1))
    assert furthest([ours], [session(model, x)[:, 0].swapaxes(0, 1)]) <= 1e-6
