"""Peers: the same network, or its own file, in another library, to check against."""

import os
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from io import BytesIO
from itertools import accumulate, zip_longest
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.rows import Groups
from rnncli.engine.threads import usable_processors
from rnncli.model.arrays import Floats, reorder
from rnncli.model.cells import Cell, split_bias
from rnncli.model.errors import choice
from rnncli.model.formats.load import save_network
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network

REQUIREMENT = "pip install 'rnncli[peers]'"
# Arrays by the names of a model's inputs.
Inputs: TypeAlias = Mapping[str, NDArray[Any]]
# Activations have our names, and no parameters: Keras itself refuses others.
KERAS = {
    "RNN": {"clip": ("inf",)},
    "LSTM": {"clip": ("inf",), "activation": ("tanh",), "output_activation": ("tanh",)},
    "GRU": {"clip": ("inf",)},
    "Dense": {},
}
_TORCH_CELL: dict[str, Sequence[str]] = {
    "activation": ("tanh",),
    "recurrent_activation": ("sigmoid",),
    "output_activation": ("tanh",),
    "reset": ("after",),
    "clip": ("inf",),
}
TORCH_HEADS: Sequence[str] = ("linear", "tanh", "relu", "sigmoid", "softmax", "log_softmax")
TORCH = {
    "RNN": _TORCH_CELL | {"activation": ("tanh", "relu")},
    "LSTM": _TORCH_CELL,
    "GRU": _TORCH_CELL,
    "Dense": {"activation": TORCH_HEADS},
}


class Unsupported(ValueError):  # noqa: N818 - the peer lacks something, which is no error
    """A network, a precision, an input or a file that a peer cannot run."""


class Peer:
    """A library on the CPU, which is imported when a method needs it."""

    title: str
    packages: Sequence[str]  # the names that it may be installed as
    files: tuple[str, ...]  # extensions of its model files
    precisions: Sequence[str] = ("float32", "float64")
    # The cells and layers that it has, with the values of their settings; None where only `make`
    # knows that.
    settings: Mapping[str, Mapping[str, Sequence[str]]] | None

    def make(self, layer: Any) -> Callable[..., Floats]:
        """Make ``forward(x, states)`` of a cell, or ``forward(x)`` of a layer: rows (N, T, O)."""
        raise NotImplementedError

    def open_file(self, path: str) -> Callable[..., Mapping[str, Any]]:
        """Open a model: ``forward(inputs, N, T)`` gives all its outputs by name.

        Of `inputs`, one alone has no name.
        """
        raise NotImplementedError


class Keras(Peer):
    """Keras, with TensorFlow or another backend."""

    title, packages, files = "Keras", ("keras",), (".keras", ".h5", ".hdf5")
    settings = KERAS

    def make(self, layer: Any) -> Callable[..., Floats]:
        """Make a layer of one cell, or Dense; with TensorFlow it is one ``tf.function``."""
        keras, settings = self._import_quietly(), layer.settings
        arrays = getattr(layer, "weights", layer).arrays
        options: dict[str, Any] = {
            name: str(settings[name])
            for name in ("activation", "recurrent_activation")
            if name in settings
        }
        weights, name = [*arrays.values()][:3], type(layer).__name__.replace("RNN", "SimpleRNN")
        if name != "Dense":
            options["return_sequences"] = True
        if "reset" in settings:
            options["reset_after"] = settings["reset"] == "after"
            if options["reset_after"]:
                weights[2] = np.stack(split_bias(layer.weights))
        size = getattr(layer, "hidden_size", weights[0].shape[1])
        module = getattr(keras.layers, name)(size, dtype=weights[0].dtype.name, **options)
        module.build((None, None, len(weights[0])))
        module.set_weights(weights)
        run, tensor = module.__call__, keras.ops.convert_to_tensor
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            run = tf.function(run, autograph=False, reduce_retracing=True)

        def forward(x: Floats, states: Sequence[Floats] = ()) -> Floats:
            more = {"initial_state": [*map(tensor, states)]} if states else {}
            return np.asarray(keras.ops.convert_to_numpy(run(tensor(x), **more)))

        return forward

    def open_file(self, path: str) -> Callable[..., Mapping[str, Any]]:
        """Open a model that Keras saved whole, without code of its own."""
        keras = self._import_quietly()
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        names = getattr(model, "output_names", ())  # a Sequential has one output

        def forward(inputs: Inputs, N: int, T: int) -> Mapping[str, Any]:
            x: Any = inputs.get("")
            if x is None:
                x = {each.name: _fit_input(inputs, each, N, T) for each in model.inputs}
            outputs = keras.tree.flatten(model(x, training=False))
            return {name: np.asarray(y) for name, y in zip_longest(names, outputs)}

        return forward

    def _import_quietly(self) -> Any:
        """Import Keras, whose backend leaves the GPU and the terminal alone."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
        stderr, terminal = 2, os.dup(2)  # TensorFlow writes there, below Python, at any log level
        os.dup2(os.open(os.devnull, os.O_WRONLY), stderr)
        try:
            import keras
        finally:
            os.dup2(terminal, stderr)
        return keras


class Torch(Peer):
    """PyTorch."""

    title, packages, files = "PyTorch", ("torch",), (".pt", ".pth", ".bin", ".ckpt")
    settings = TORCH

    def make(self, layer: Any) -> Callable[..., Floats]:
        """Make a cell, or Linear; ``b_h`` is ``bias_ih``, and ``bias_hh`` holds ``b_n`` alone."""
        import torch

        name, activation = type(layer).__name__, str(layer.settings["activation"])
        if name == "Dense":
            W, b = map(_tensor, layer.arrays.values())
            options = {"dim": -1} if "softmax" in activation else {}
            f = (lambda a: a) if activation == "linear" else getattr(torch, activation)
            return lambda x: np.asarray(
                f(torch.nn.functional.linear(_tensor(x), W.T, b), **options)
            )
        W_xh, W_hh = layer.weights[:2]
        settings: dict[str, Any] = {"batch_first": True, "dtype": getattr(torch, W_xh.dtype.name)}
        settings |= {"nonlinearity": activation} if name == "RNN" else {}
        rnn = getattr(torch.nn, name)(len(W_xh), len(W_hh), **settings)
        arrays = (W_xh, W_hh, *split_bias(layer.weights))
        with torch.no_grad():
            for parameter, array in zip(rnn.parameters(), arrays, strict=True):
                parameter.copy_(_tensor(reorder(array, layer.find_gates("torch")).T))

        def forward(x: Floats, states: Sequence[Floats]) -> Floats:
            start = tuple(_tensor(state[None]) for state in states)
            with torch.inference_mode():
                h, _ = rnn(_tensor(x), start if len(start) > 1 else start[0])
            return np.asarray(h)

        return forward

    def open_file(self, path: str) -> Callable[..., Mapping[str, Any]]:
        """Open TorchScript; a pickle, which could run any code, is not loaded."""
        import torch

        if not any("/code/" in name for name in zipfile.ZipFile(path).namelist()):
            raise Unsupported("a pickle, which may run any code, is not loaded")
        module = torch.jit.load(path, map_location="cpu").eval()

        def forward(inputs: Inputs, *_: int) -> Mapping[str, Floats]:
            (x,) = inputs.values()
            dtype = "int64" if x.dtype.kind == "i" else "float32"
            with torch.inference_mode():
                left, outputs = [module(_tensor(x, dtype))], dict[str, Any]()
                while left:
                    each = left.pop(0)
                    if isinstance(each, torch.Tensor):
                        outputs[f"output_{len(outputs)}"] = each.numpy()
                    else:
                        left = [*(each.values() if isinstance(each, dict) else each), *left]
                return outputs

        return forward


def _fit_input(inputs: Inputs, known: Any, N: int, T: int) -> NDArray[Any]:
    """Return an input of Keras, with its axes; zeros for one that is not needed."""
    free = iter((N, T))
    shape = [next(free) if size is None else size for size in known.shape]
    return inputs[known.name].reshape(shape) if known.name in inputs else np.zeros(shape)


def _tensor(array: NDArray[Any], dtype: str | None = None) -> Any:
    """Share an array with PyTorch, or copy it: one that is read-only or has gaps."""
    import torch

    return torch.from_numpy(np.require(array, dtype, ["C", "W"]))


class OnnxRuntime(Peer):
    """ONNX Runtime, with the ONNX models that `rnncli.save` writes."""

    title, packages = "ONNX Runtime", ("onnxruntime", "onnxruntime-gpu")
    files, precisions, settings = (".onnx",), ("float32",), None

    def make(self, layer: Any) -> Callable[..., Floats]:
        """Make a session for a layer; that of a cell takes its initial states too."""
        file = BytesIO()
        try:
            save_network(file, Network(layer), ".onnx")
        except ValueError as error:  # no ONNX file can hold it
            raise Unsupported(str(error)) from error
        if not isinstance(layer, Cell):
            session = _open_session(file.getvalue())
            return lambda x: np.asarray(session.run(None, {"x": np.ascontiguousarray(x)})[0])
        names = ("h0", "c0")[: len(layer.state_names)]
        session = _open_session(_cut_to_cell(file.getvalue(), names))

        def forward(x: Floats, states: Sequence[Floats]) -> Floats:
            feeds = {name: array[None] for name, array in zip(names, states, strict=True)}
            feeds["x"] = np.ascontiguousarray(x.swapaxes(0, 1))
            return np.asarray(session.run(None, feeds)[0])[:, 0].swapaxes(0, 1)

        return forward

    def open_file(self, path: str) -> Callable[..., Mapping[str, Any]]:
        """Open an ONNX file; its other inputs are lengths, or initial states of 0."""
        session = _open_session(path)
        integers = {"tensor(int64)": "i8", "tensor(int32)": "i4"}
        names = [each.name for each in session.get_outputs()]

        def forward(inputs: Inputs, N: int, T: int) -> Mapping[str, Floats]:
            feeds = {}
            for number, each in enumerate(session.get_inputs()):
                dtype = integers.get(each.type, "f4")
                x = inputs.get(each.name, None if number else inputs.get(""))
                if x is None:
                    shape = [size if isinstance(size, int) else N for size in each.shape]
                    x = np.zeros(shape) if dtype == "f4" else np.full(N, T)
                flat = len(each.shape) < x.ndim  # a number a step
                feeds[each.name] = (x[..., 0] if flat else x).astype(dtype)
            return dict(zip(names, session.run(None, feeds), strict=True))

        return forward


def _cut_to_cell(file: bytes, states: Sequence[str]) -> bytes:
    """Cut a model of one cell to its node, with the initial states as inputs."""
    import onnx

    model = onnx.load_from_string(file)
    (node,) = (each for each in model.graph.node if each.op_type in ("RNN", "LSTM", "GRU"))
    # The inputs of a node are X, W, R, B, sequence_lens, initial_h and initial_c.
    node.input[:] = ["x", *node.input[1:], "", *states]
    node.output[:] = ["y"]
    *inputs, output = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None] * axes)
        for name, axes in {"x": 3, **dict.fromkeys(states, 3), "y": 4}.items()
    )
    weights = model.graph.initializer
    model.graph.CopyFrom(onnx.helper.make_graph([node], "cell", inputs, [output], weights))
    return bytes(model.SerializeToString())


def _open_session(model: bytes | str) -> Any:
    """Open a model; ONNX Runtime by itself runs a thread for each processor of the machine."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(usable_processors())
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


PEERS = {"keras": Keras(), "torch": Torch(), "onnxruntime": OnnxRuntime()}


def version(name: str) -> str | None:
    """Return the installed version of a peer, without loading it; None if there is none."""
    for package in choice("peer", name, PEERS).packages:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return None


def build(
    name: str, network: Network, precision: str = "float32"
) -> Callable[..., Sequence[Floats]]:
    """Build a network in a peer: a function of x, groups and h0, which returns all layers."""
    peer = PEERS[name]
    if precision not in peer.precisions:
        raise Unsupported(f"{peer.title} has no precision {precision}")
    if network.masking:
        raise Unsupported(f"{peer.title} masks no rows between others here")
    layers = network.converted(PRECISIONS[precision].convert).layers
    passes = [[_make(peer, each) for each in layer.cells or [layer]] for layer in layers]

    def run(x: Floats, groups: Groups, h0: Floats) -> Sequence[Floats]:
        outputs = [np.empty((len(x), layer.output_size), precision) for layer in layers]
        for indices, rows in groups.batches():
            start = h0[groups.present[indices]].astype(precision)
            batch = _run_layers(network, passes, x[rows].astype(precision), start)
            for output, values in zip(outputs, batch, strict=True):
                output[rows] = values
        return outputs

    return run


def _run_layers(
    network: Network, passes: Sequence[Sequence[Callable[..., Floats]]], x: Floats, h0: Floats
) -> list[Floats]:
    outputs = [x]
    for number, (layer, forwards) in enumerate(zip(network.layers, passes, strict=True), start=1):
        x, halves = network.select_inputs(number, outputs), []
        slices = network.state_slices[number - 1]
        for forward, direction, columns in zip(forwards, layer.directions, slices, strict=False):
            start, back = [h0[:, each] for each in columns], direction == "backward"
            h = forward(x[:, ::-1].copy() if back else x, start)
            halves.append(h[:, ::-1].copy() if back else h)
        outputs.append(layer.merged(halves) if isinstance(layer, Recurrent) else forwards[0](x))
    return outputs[1:]


def _make(peer: Peer, layer: Any) -> Callable[..., Floats]:
    """Make a cell or a layer, unless the peer lacks it or one of its settings."""
    kind, arrays = type(layer).__name__, getattr(layer, "weights", layer).arrays
    lacking = f"{layer.settings.get('operators', kind)} is not built in {peer.title} here"
    if peer.settings is not None:
        known = peer.settings.get(kind)
        if known is None or "w_ch" in arrays or "W_hr" in arrays:
            raise Unsupported(lacking)
        for name, value in layer.settings.items():
            if str(value) not in known.get(name, (str(value),)):
                raise Unsupported(f"{peer.title}'s {kind} has no {name} {value}")
    try:
        return peer.make(layer)
    except Unsupported as error:
        raise Unsupported(f"{lacking}: {error}") from error


class Ours(NamedTuple):
    """Our result, and which inputs and output of the file it is of."""

    rows: Floats
    groups: Groups
    output: str | None  # None where the file may have one or several
    inputs: Mapping[str, int]  # widths by name; none for one


def run_file(name: str, path: str, x: NDArray[Any], groups: Groups, ours: Ours) -> Floats | None:
    """Run a model file over rows (n, I) or (n,); None for a file of another library."""
    peer = PEERS[name]
    if not path.lower().endswith(peer.files):
        return None
    theirs: Floats = np.empty(ours.rows.shape, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        forward = peer.open_file(path)
        for indices, rows in groups.batches():
            keys = groups.present[indices]
            our_rows = ours.groups.rows_of(np.searchsorted(ours.groups.present, keys))
            theirs[our_rows] = _nearest(forward, x[rows], ours._replace(rows=ours.rows[our_rows]))
    return theirs


def _nearest(forward: Callable[..., Mapping[str, Any]], x: NDArray[Any], our: Ours) -> Floats:
    """Run a batch in both layouts; return the output of our name, or the nearest to ours.

    Right runs of a network that amplifies rounding are near at their first steps alone: the output
    is taken of which most values are near, and of several the one with the least logarithms.
    """
    matches, errors, ours = list[Floats](), list[Exception](), our.rows
    ends = [*accumulate(our.inputs.values())]
    N, T = x.shape[:2]
    for steps_first, batch in enumerate((x, x.swapaxes(0, 1))):
        try:
            arrays = np.split(batch, ends[:-1], -1) if ends else [batch]
            inputs = dict(zip(our.inputs or [""], map(np.ascontiguousarray, arrays), strict=True))
            outputs = forward(inputs, N, T)
        except Exception as error:  # a library may raise anything, such as for the other layout
            errors.append(error)
            continue
        for y in map(np.asarray, [outputs[our.output]] if our.output else outputs.values()):
            if y.size == ours.size and y.dtype == np.float32:
                y = y.reshape(-1, N, ours.shape[2]).swapaxes(0, 1) if steps_first else y
                matches.append(y.reshape(ours.shape))
    if not matches:
        raise [*errors, ValueError("no output of float32 has the shape of ours")][0]
    near, least = 1e-5 * float(np.abs(ours).max()), np.finfo(np.float32).tiny

    def rank(y: Floats) -> tuple[int, float]:
        distance = np.nan_to_num(np.abs(y - ours), nan=np.inf)
        return int(np.count_nonzero(distance > near)), float(np.log(distance + least).mean())

    return min(matches, key=rank)
