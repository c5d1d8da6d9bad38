"""Write ONNX models in ``tests/data/models``, run as a program.

Some are what PyTorch's two exporters make of modules, beside what the module
gives. The others are graphs as programs for Keras, madmom and silero write
them, beside what ONNX Runtime gives, or the library onnx where that has no
such attribute.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx.reference import ReferenceEvaluator
from onnx_graphs import Axes, Graph
from torch import nn

FOLDER = Path(__file__).parent.parent / "data" / "models"
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(3, 5, 2)).astype(np.float32)
WORDS = RANDOM.randint(0, 7, size=(3, 5))
LENGTHS = torch.full((3,), 5)


class Wrapped(nn.Module):  # type: ignore[misc]
    """A recurrent module above others, and a head of ``take(y, h_n)``."""

    def __init__(
        self, rnn: Any, head: Any = None, take: Callable[..., Any] | None = None, below: Any = None
    ) -> None:
        super().__init__()
        self.rnn, self.take = rnn, take or (lambda y, _: y)
        self.head, self.below = head or nn.Identity(), below or nn.Identity()

    def forward(self, x: Any, *states: Any) -> Any:
        y, h_n = self.rnn(self.below(x), *states)
        return self.head(self.take(y, h_n[0] if isinstance(h_n, tuple) else h_n))


class Packed(nn.Module):  # type: ignore[misc]
    """Sequences of their own lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(2, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: Any, lengths: Any) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True)
        y, _ = nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        return self.head(y)


class Statistics(nn.Module):  # type: ignore[misc]
    """A normalization of the features of all steps by statistics, which stand before the steps."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(size)
        for array in (self.norm.running_mean, self.norm.running_var):
            array.uniform_(0.5, 2)

    def forward(self, rows: Any) -> Any:
        return self.norm(rows.transpose(1, 2)).transpose(1, 2)


def write_torch(name: str, module: Any, *args: Any, steps: int = 1, **settings: Any) -> None:
    """Export a module; `steps` is which axis of x they are on, if they and sequences are free."""
    args = args or (torch.from_numpy(X if steps else X.swapaxes(0, 1).copy()),)
    names = ["x", *(f"start_{number}" for number in range(1, len(args)))]
    path = FOLDER / f"{name}.onnx"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        module.eval()
        torch.onnx.export(module, args, str(path), input_names=names, verbose=False, **settings)
        y = module(*args).numpy()
    forget_paths(path)
    x = args[0].numpy()
    turned = [array if steps or array.ndim < 3 else array.swapaxes(0, 1) for array in (x, y)]
    x = turned[0] if x.ndim == 3 else x[..., None].astype(np.float32)
    np.savez(FOLDER / f"{name}.npz", x=x, y=turned[1])


def forget_paths(path: Path) -> None:
    """Leave out where on this machine the exporter met each operation."""
    model = onnx.load(str(path), load_external_data=False)
    for message in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del message.metadata_props[:]
    onnx.save(model, str(path))


def write_exports() -> None:
    old: dict[str, Any] = {"dynamo": False, "opset_version": 17}
    free: dict[str, Any] = {"dynamic_axes": {"x": {0: "N", 1: "T"}}}
    new: dict[str, Any] = {"dynamo": True}
    first: dict[str, Any] = {"batch_first": True}
    two = {**first, "num_layers": 2, "bidirectional": True}
    N = torch.export.Dim("N")

    write_torch("onnx_lstm", Wrapped(nn.LSTM(2, 3), nn.Linear(3, 1)), steps=0, **old)
    write_torch("onnx_gru_free", Wrapped(nn.GRU(2, 3, **two), nn.Linear(6, 2)), **old, **free)
    bare = nn.RNN(2, 3, 3, "relu", bias=False, **first)
    write_torch("onnx_rnn_relu", Wrapped(bare), **{**old, "opset_version": 9})
    last = Wrapped(nn.LSTM(2, 3, **two), nn.Linear(6, 2), lambda y, _: y[:, -1])
    write_torch("onnx_last_step", last, **old, **free)
    ends = Wrapped(nn.GRU(2, 3, **two), nn.Linear(6, 2), lambda _, h: torch.cat([h[-2], h[-1]], 1))
    write_torch("onnx_last_state", ends, **{**old, "opset_version": 12})
    wide = Wrapped(nn.LSTM(2, 8, **two), nn.Linear(16, 2))
    write_torch("onnx_dynamo", wide, **new)  # with its weights in a file beside it
    write_torch(
        "onnx_dynamo_state",
        Wrapped(nn.GRU(2, 3, **first), nn.Linear(3, 1), lambda _, h: h[-1]),
        torch.from_numpy(X),
        torch.zeros(1, 3, 3),
        opset_version=24,
        external_data=False,
        **new,
        dynamic_shapes=({0: N}, ({1: N},)),
    )
    head = (nn.LayerNorm(6), nn.Linear(6, 4), nn.ReLU(), nn.Dropout(), nn.Linear(4, 3))
    tall = Wrapped(nn.GRU(2, 3, **first, bidirectional=True), nn.Sequential(*head, nn.Softmax(-1)))
    write_torch("onnx_head", tall, **{**old, "opset_version": 20})
    write_torch("onnx_decomposed", tall, **{**old, "opset_version": 13}, **free)
    scaled = Wrapped(nn.LSTM(2, 3, **first), nn.Sequential(Statistics(3), nn.Linear(3, 1)))
    write_torch("onnx_statistics", scaled, **old)
    functions = [nn.Linear(3, 3), nn.SiLU(), nn.GELU(), nn.Mish(), nn.Hardswish(), nn.Softplus()]
    written = Wrapped(nn.LSTM(2, 3, **first), nn.Sequential(*functions), below=nn.Linear(2, 2))
    write_torch("onnx_functions", written, **{**old, "opset_version": 14})
    table = Wrapped(nn.LSTM(4, 3, **first), nn.LogSoftmax(-1), below=nn.Embedding(7, 4))
    write_torch("onnx_words", table, torch.from_numpy(WORDS), **old)
    write_torch("onnx_lengths", Packed(), torch.from_numpy(X), LENGTHS, **old)


def write_graph(name: str, graph: Graph, y: str, axes: Axes, turn: Callable[[Any], Any]) -> None:
    """Save a graph that is written by hand; `turn` brings x to its axes, and y to (N, T, O)."""
    model = parse(graph.model(y, inputs={"x": axes}))
    onnx.save(model, FOLDER / f"{name}.onnx")
    rows = turn(run_model(model, np.ascontiguousarray(turn(X))))
    np.savez(FOLDER / f"{name}.npz", x=X[: len(rows)], y=rows)


def parse(content: bytes) -> Any:
    """Parse a graph without nodes and outputs that nobody uses, which ONNX Runtime refuses."""
    model = onnx.load_from_string(content)
    used = {each.name for each in model.graph.output}
    for node in [*model.graph.node][::-1]:
        if used.isdisjoint(node.output):
            model.graph.node.remove(node)
            continue
        used.update(node.input)
        kept = [name if name in used else "" for name in node.output]
        while not kept[-1]:
            kept.pop()
        node.output[:] = kept
    return model


def run_model(model: Any, x: Any) -> Any:
    """Run a model in ONNX Runtime, or where that does not know the layout by the library onnx."""
    if any(each.name == "layout" for node in model.graph.node for each in node.attribute):
        return ReferenceEvaluator(model).run(None, {"x": x})[0]
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    data, providers = model.SerializeToString(), ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(data, options, providers=providers)
    return np.asarray(session.run(None, {"x": x})[0])


def cut(graph: Graph, rows: str, axis: int, *places: int) -> str:
    """Slice an axis: from the first place to the second, by the third."""
    lists = [graph.array([place]) for place in (*places[:2], axis, *places[2:])]
    return graph.add("Slice", rows, *lists)


def turned(rows: Any) -> Any:
    return rows.swapaxes(0, 1)


def write_attributes() -> None:
    """Peepholes, a clip and activations of one LSTM; a GRU that resets before."""
    graph = Graph()
    rows = graph.add(
        "LSTM",
        *("x", graph.draw(2, 12, 2), graph.draw(2, 12, 3), graph.draw(2, 24), "", "", ""),
        graph.draw(2, 9),
        activations=["HardSigmoid", "Softsign", "Tanh", "Sigmoid", "Elu", "LeakyRelu"],
        activation_alpha=[0.3, 0.8, 0.2],
        activation_beta=[0.4],
        clip=0.7,
        direction="bidirectional",
        hidden_size=3,
    )
    mean = graph.add("ReduceMean", rows, axes=[1], keepdims=0)
    before = (mean, graph.draw(1, 6, 3), graph.draw(1, 6, 2), graph.draw(1, 12))
    rows = graph.add("GRU", *before, direction="reverse", hidden_size=2)
    squeezed = graph.add("Squeeze", rows, graph.array([1]))
    write_graph("onnx_attributes", graph, squeezed, ("T", "N", 2), turned)


def write_turned() -> None:
    """A backward layer as a forward one over turned steps, without an axis of sequences."""
    graph = Graph()
    rows = graph.add("Unsqueeze", "x", graph.array([1]))
    halves = []
    for step in (1, -1):
        ends = (0, 2**31 - 1, 1) if step == 1 else (-1, -(2**31), -1)
        given = cut(graph, rows, 0, *ends)
        y = graph.add("LSTM", given, graph.draw(1, 12, 2), graph.draw(1, 12, 3), hidden_size=3)
        halves.append(cut(graph, graph.add("Squeeze", y, graph.array([1])), 0, *ends))
    both = graph.add("Concat", *halves, axis=2)
    flat = graph.add("Squeeze", both, graph.array([1]))
    head = graph.add("Sigmoid", graph.add("Gemm", flat, graph.draw(6, 1), graph.draw(1)))
    write_graph("onnx_turned", graph, head, ("T", 2), lambda a: a[0] if a.ndim == 3 else a[None])


def write_constants() -> None:
    """Gates that the graph itself brings into order, of float16, and a mean of directions."""
    graph = Graph()
    weights = []
    for shape in ((2, 9, 2), (2, 9, 3)):
        half = graph.random.normal(scale=0.5, size=shape).astype(np.float16)
        stored = graph.add("Cast", graph.array(half), to=int(onnx.TensorProto.FLOAT))
        blocks = [cut(graph, stored, 1, 3 * gate, 3 * gate + 3) for gate in (1, 0, 2)]
        weights.append(graph.add("Concat", *blocks, axis=1))
    rows = graph.add(
        "GRU", "x", *weights, direction="bidirectional", hidden_size=3, linear_before_reset=1
    )
    first = graph.add("Split", rows, axis=1)
    mean = graph.add("Mul", graph.add("Add", first, f"{first}.1"), graph.array(np.float32(0.5)))
    squeezed = graph.add("Squeeze", mean, graph.array([1]))
    write_graph("onnx_constants", graph, squeezed, ("T", "N", 2), turned)


def write_layout() -> None:
    """Sequences first, and the final states of both directions as (N, 2 H)."""
    graph = Graph()
    given = ("x", graph.draw(2, 3, 2), graph.draw(2, 3, 3), graph.draw(2, 6))
    rows = graph.add("RNN", *given, direction="bidirectional", hidden_size=3, layout=1)
    flat = graph.add("Flatten", f"{rows}.1", axis=1)
    write_graph("onnx_layout", graph, flat, ("N", "T", 2), lambda rows: rows)


def main() -> None:
    torch.manual_seed(0)
    write_exports()
    write_attributes()
    write_turned()
    write_constants()
    write_layout()


if __name__ == "__main__":
    main()
