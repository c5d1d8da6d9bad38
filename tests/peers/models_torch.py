"""Write PyTorch's files in ``tests/data/models``, run as a program.

Each is a model as people save them, or its state as ``.safetensors``, and beside it is what the
model gives in float32.
"""

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch._export.serde.serialize import serialize

# Members of TorchScript that tell where its source is.
_SOURCES = ".debug_pkl"
FOLDER = Path(__file__).parent.parent / "data" / "models"
RANDOM = np.random.RandomState(0)
X = RANDOM.normal(size=(3, 5, 2)).astype(np.float32)
RELU = ("--activation", "relu")
# Indices into an embedding.
WORDS = RANDOM.randint(0, 7, size=(3, 5, 1))


class Head(nn.Module):  # type: ignore[misc]  # torch has no types here
    """A recurrent module, and a linear layer of all its rows."""

    def __init__(self, rnn: Any, width: int) -> None:
        super().__init__()
        self.rnn, self.fc = rnn, nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x)[0])


class Tagger(nn.Module):  # type: ignore[misc]
    """Layers with and without weights around a recurrent module, given indices."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 2)
        self.dropout = nn.Dropout(0.5)
        self.rnn = nn.GRU(2, 3, num_layers=2, batch_first=True, bidirectional=True, dropout=0.3)
        self.head = nn.Sequential(
            nn.Linear(6, 4), nn.LeakyReLU(0.2), nn.Identity(), nn.Linear(4, 3), nn.Softmax(dim=-1)
        )
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.dropout(self.embedding(x[..., 0])))[0])


class Normed(nn.Module):  # type: ignore[misc]
    """Batch normalization of single rows below a recurrent module."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rnn = nn.BatchNorm1d(2), nn.LSTM(2, 3, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(self.norm(x.flatten(0, 1)).reshape(x.shape))[0]


class Pooled(nn.Module):  # type: ignore[misc]
    """A convolution that gives fewer rows, a projection, and the mean of its rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 2, stride=2)
        self.rnn = nn.LSTM(3, 4, proj_size=3, num_layers=2, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.rnn(torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2))
        return torch.softmax(self.fc(h.mean(1)), -1)


class Steps(nn.Module):  # type: ignore[misc]
    """A cell, and the loop over it."""

    def __init__(self, cell: Any) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state, rows = None, []
        for x_t in x.unbind(1):
            state = self.cell(x_t, state)
            rows.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(rows, 1)


class Rows(nn.Module):  # type: ignore[misc]
    """Only the rows that a recurrent module gives."""

    def __init__(self, rnn: Any) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rnn(x)[0]


def write(
    name: str,
    model: Any,
    saved: Callable[[Any], Any],
    *options: str,
    x: Any = X,
    dtype: Any = torch.float32,
    **how: Any,
) -> None:
    """Save what a function makes of a model, and what the model gives in float32."""
    model = model.to(dtype).eval()
    torch.save(saved(model), FOLDER / name, **how)
    write_output(name, model.float(), *options, x=x)


def write_script(name: str, model: Any, save: Callable[[Any], Any], x: Any = X) -> None:
    """Write TorchScript, without where on this machine the source of each line is."""
    path = FOLDER / name
    save(model.eval()).save(path)
    with zipfile.ZipFile(path) as archive:
        kept = {i: archive.read(i) for i in archive.infolist() if not i.filename.endswith(_SOURCES)}
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in kept.items():
            archive.writestr(info.filename, content)
    write_output(name, model, x=x)


def write_exported(name: str, model: Any, *, old: bool = False) -> None:
    """Write an exported program, as today or before PyTorch 2.8, without where its code is."""
    model, buffer = model.eval(), io.BytesIO()
    program = torch.export.export(model, (torch.from_numpy(X),))
    if old:  # arguments did not tell whether they stand by name
        artifact, members = serialize(program), {"version": b"8.0"}
        text = without(json.loads(artifact.exported_program), "stack_trace", "kind")
        members["serialized_exported_program.json"] = json.dumps(text).encode()
        members["serialized_state_dict.pt"] = artifact.state_dict
        members["serialized_constants.pt"] = artifact.constants
    else:
        torch.export.save(program, buffer)
        with zipfile.ZipFile(buffer) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        (text,) = (each for each in members if each.endswith("models/model.json"))
        whole = without(json.loads(members[text]), "stack_trace")
        members[text] = json.dumps(whole).encode()
    with zipfile.ZipFile(FOLDER / name, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(zipfile.ZipInfo(member), content)
    write_output(name, model)


def without(value: Any, *keys: str) -> Any:
    """Leave keys out, at any depth."""
    if isinstance(value, list):
        return [without(each, *keys) for each in value]
    if isinstance(value, dict):
        return {key: without(each, *keys) for key, each in value.items() if key not in keys}
    return value


def write_output(name: str, model: Any, *options: str, x: Any = X) -> None:
    with torch.no_grad():
        y = model(torch.from_numpy(x))
    stem = FOLDER / name.partition(".")[0]
    given: dict[str, Any] = {"options": np.array(options)} if options else {}
    np.savez(f"{stem}.npz", x=np.float32(x), y=y.numpy(), **given)


def state(model: Any) -> Any:
    return model.state_dict()


def whole(model: Any) -> Any:
    return model


def inner(model: Any) -> Any:
    return model.rnn


def inner_state(model: Any) -> Any:
    return model.rnn.state_dict()


def checkpoint(model: Any) -> Any:
    """A model in the middle of its training."""
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.from_numpy(X)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": np.float64(0.5),
    }


def lightning(model: Any) -> Any:
    named = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    return {"pytorch-lightning_version": "2.0.0", "state_dict": named, "callbacks": {}}


def views(model: Any) -> Any:
    """Weights that are parts of one storage, with other strides."""
    named = {}
    for name, tensor in model.rnn.state_dict().items():
        larger = torch.zeros(*(2 * size + 1 for size in tensor.shape[::-1]))
        part = larger.t()[tuple(slice(1, None, 2) for _ in tensor.shape)]
        named[name] = part.copy_(tensor)
    return named


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    first: dict[str, Any] = {"batch_first": True}
    two = first | {"num_layers": 2, "bidirectional": True}
    legacy = {"_use_new_zipfile_serialization": False}
    relu = {"nonlinearity": "relu", **first}
    write("torch_rnn.pt", Rows(nn.RNN(2, 3, **first)), inner_state)
    write("torch_relu.pt", Rows(nn.RNN(2, 3, **relu)), state, *RELU)
    write("torch_relu_module.pt", Rows(nn.RNN(2, 3, **relu, num_layers=2)), inner)
    write("torch_lstm.pth", Rows(nn.LSTM(2, 3, **two)), state)
    write("torch_projected.pt", Rows(nn.LSTM(2, 4, proj_size=3, **two)), inner)
    write("torch_gru.pt", Rows(nn.GRU(2, 3, bias=False, **two)), state)
    write("torch_lstm_cell.pt", Steps(nn.LSTMCell(2, 3)), state)
    steps = Steps(nn.RNNCell(2, 3, nonlinearity="relu"))
    write("torch_relu_cell.pt", steps, whole, "--layer", "cell")
    write("torch_checkpoint.pth", Head(nn.LSTM(2, 3, **first), 3), checkpoint)
    write("torch_lightning.ckpt", Head(nn.GRU(2, 3, **two), 6), lightning)
    parallel = nn.DataParallel(Head(nn.GRU(2, 3, **first), 3))
    write("torch_parallel.bin", parallel, state)
    write("torch_float16.pt", Head(nn.GRU(2, 3, **first), 3), state, dtype=torch.float16)
    write("torch_bfloat16.pt", Head(nn.LSTM(2, 3, **first), 3), state, dtype=torch.bfloat16)
    write("torch_views.pt", Rows(nn.GRU(2, 3, **two)), views)
    write("torch_parameters.pt", Rows(nn.LSTM(2, 3, **first)), lambda m: dict(m.named_parameters()))
    write("torch_legacy.pt", Head(nn.GRU(2, 3, **two), 6), state, **legacy)
    protocol = {"pickle_protocol": 4}
    write("torch_protocol_4.pt", Head(nn.RNN(2, 3, **relu), 3), state, *RELU, **protocol)
    write_script("torch_tagger.pt", Tagger(), torch.jit.script, WORDS)
    normed = Normed()
    normed(torch.from_numpy(X))  # in training, which sets the statistics
    write_script("torch_normed.pt", normed, torch.jit.script)
    write_script("torch_script.pt", Head(nn.RNN(2, 3, **relu), 3), torch.jit.script)
    trace = partial(torch.jit.trace, example_inputs=torch.from_numpy(X))
    write_script("torch_trace.pt", Head(nn.RNN(2, 3, **relu), 3), trace)
    write_exported("torch_exported.pt2", Head(nn.GRU(2, 3, **two), 6))
    write_exported("torch_exported_pooled.pt2", Pooled())
    write_exported("torch_exported_old.pt2", Head(nn.RNN(2, 3, **relu), 3), old=True)
    write_states(first, two)


def write_states(first: dict[str, Any], two: dict[str, Any]) -> None:
    """Write ``.safetensors`` files."""
    torch.manual_seed(0)
    named: dict[str, tuple[Any, Any]] = {
        "names_torch_lstm": (Rows(nn.LSTM(2, 3, **two)), torch.float32),
        "names_torch_gru_head": (Head(nn.GRU(2, 3, **first), 3), torch.float32),
        "names_torch_float16": (Rows(nn.GRU(2, 3, **first)), torch.float16),
        "names_torch_bfloat16": (Rows(nn.LSTM(2, 3, **first)), torch.bfloat16),
    }
    for name, (model, dtype) in named.items():
        save_file(model.to(dtype).state_dict(), FOLDER / f"{name}.safetensors")
        write_output(name, model.float())


if __name__ == "__main__":
    main()
