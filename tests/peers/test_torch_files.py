"""PyTorch's own files against PyTorch: tensors to the bit, and what models give.

Within 1e-6 relative to max(1, |y|): the networks are small and forget, so
that float32 in either ends no further from exact sums.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnncli
from peers.models_torch import Head, Rows, Steps, Tagger
from rnncli.model.formats import load_network
from rnncli.model.formats.torch.files import open_model

ATOL = 1e-6
LEGACY = {"_use_new_zipfile_serialization": False}
FORMATS: dict[str, dict[str, Any]] = {
    "zip": {},
    "legacy": LEGACY,
    "protocol 4": {"pickle_protocol": 4},
    "legacy, protocol 5": LEGACY | {"pickle_protocol": 5},
}
SAVED: dict[str, Callable[[Any], Any]] = {
    "state dict": lambda model: model.state_dict(),
    "parameters": lambda model: dict(model.named_parameters()),
    "module": lambda model: model,
    "checkpoint": lambda model: {"epoch": 1, "net": model.state_dict()},
}
CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
# PyTorch warns of what it will change itself.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def seeds() -> None:
    torch.manual_seed(0)


def given(model: Any, x: Any) -> np.ndarray[Any, Any]:
    """What a model gives of (N, T, I), batch first or not."""
    first = getattr(getattr(model, "rnn", None), "batch_first", True)
    with torch.no_grad():
        y = model(x if first else x.transpose(0, 1))
    return np.asarray(y if first else y.transpose(0, 1))


def check(path: Path, model: Any, x: Any, **options: Any) -> list[str]:
    """Compare what a file gives with what the model does; return the notes."""
    expected = given(model, x)
    loaded = load_network(path, options.pop("layer", None), options)
    states = rnncli.run(loaded.network, x.numpy().astype(np.float32))
    found = states.h if states.y is None else states.y
    assert found.shape == expected.shape
    furthest = (np.abs(found - expected) / np.maximum(1, np.abs(expected))).max()
    assert furthest <= ATOL
    return loaded.assumptions


def drawn(*shape: int) -> Any:
    return torch.from_numpy(np.random.RandomState(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("saved", SAVED)
@pytest.mark.parametrize("which", FORMATS)
@pytest.mark.parametrize("cell", CELLS)
def test_formats(tmp_path: Path, cell: str, which: str, saved: str) -> None:
    model = Head(CELLS[cell](4, 5, batch_first=True), 5)
    torch.save(SAVED[saved](model), tmp_path / "w.pt", **FORMATS[which])
    check(tmp_path / "w.pt", model, drawn(3, 20, 4))


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cell", [*CELLS, "projected"])
def test_layers(tmp_path: Path, cell: str, layers: int, two: bool, bias: bool, first: bool) -> None:
    size: dict[str, Any] = {"proj_size": 3} if cell == "projected" else {}
    rnn = CELLS.get(cell, nn.LSTM)(
        4, 5, layers, bias=bias, batch_first=first, bidirectional=two, **size
    )
    model = Rows(rnn)
    for saved in ("state dict", "module"):
        torch.save(SAVED[saved](model), tmp_path / "w.pt")
        check(tmp_path / "w.pt", model, drawn(3, 20, 4))


@pytest.mark.parametrize("saved", ["state dict", "module"])
@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_cells(tmp_path: Path, cell: Any, saved: str) -> None:
    model = Steps(cell(4, 5))
    torch.save(SAVED[saved](model), tmp_path / "w.pt")
    check(tmp_path / "w.pt", model, drawn(3, 20, 4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("which", ["zip", "legacy"])
def test_types(tmp_path: Path, which: str, dtype: Any) -> None:
    """The model in float32 gives what that of the halves does, widened."""
    model = Head(nn.LSTM(4, 5, batch_first=True), 5).to(dtype)
    torch.save(model.state_dict(), tmp_path / "w.pt", **FORMATS[which])
    check(tmp_path / "w.pt", model.float(), drawn(3, 20, 4))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("how", ["module", "script", "trace"])
def test_the_activation_is_known(tmp_path: Path, how: str, nonlinearity: str) -> None:
    model = Head(nn.RNN(4, 5, 2, nonlinearity=nonlinearity, batch_first=True), 5).eval()
    x = drawn(3, 20, 4)
    if how == "module":
        torch.save(model, tmp_path / "w.pt")
    elif how == "script":
        torch.jit.script(model).save(tmp_path / "w.pt")
    else:
        torch.jit.trace(model, x).save(tmp_path / "w.pt")
    notes = check(tmp_path / "w.pt", model, x)
    assert not any("activation" in note for note in notes)


@pytest.mark.parametrize("how", ["module", "script"])
def test_layers_without_state(tmp_path: Path, how: str) -> None:
    model = Tagger().eval()
    if how == "module":
        torch.save(model, tmp_path / "w.pt")
    else:
        torch.jit.script(model).save(tmp_path / "w.pt")
    words = torch.from_numpy(np.random.RandomState(0).randint(0, 7, size=(3, 20, 1)))
    check(tmp_path / "w.pt", model, words)


ACTIVATIONS = [
    nn.ReLU(),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softsign(),
    nn.LeakyReLU(0.3),
    nn.ELU(0.7),
    nn.Hardsigmoid(),
    nn.Softplus(),
    nn.Softmax(dim=2),
    nn.ReLU6(),
    nn.SiLU(),
    nn.SELU(),
    nn.Mish(),
    nn.Hardswish(),
    nn.GELU(),
    nn.GELU("tanh"),
    nn.LogSoftmax(dim=-1),
    nn.LayerNorm(6),
]


@pytest.mark.parametrize("function", ACTIVATIONS, ids=str)
def test_activations(tmp_path: Path, function: Any) -> None:
    model = Head(nn.GRU(4, 5, batch_first=True), 5)
    model.fc = nn.Sequential(nn.Linear(5, 6), function, nn.Linear(6, 20))
    with torch.no_grad():
        model.fc[2].weight *= 5
    torch.save(model, tmp_path / "w.pt")
    check(tmp_path / "w.pt", model, drawn(3, 20, 4))


def each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Change every tensor of a state dict."""
    return lambda model: {name: change(value) for name, value in model.state_dict().items()}


def in_one_storage(model: Any) -> Any:
    state = model.state_dict()
    parts = torch.cat([value.flatten() for value in state.values()]).split(
        [value.numel() for value in state.values()]
    )
    return {
        name: part.reshape(value.shape)
        for (name, value), part in zip(state.items(), parts, strict=True)
    }


VARIANTS: dict[str, Callable[[Any], Any]] = {
    "in steps": each(lambda value: torch.stack([torch.zeros_like(value), value], -1)[..., 1]),
    "in one storage": in_one_storage,
    "transposed": each(lambda value: value.t().contiguous().t()),
    "repeated": lambda model: model.state_dict() | {"bias_ih_l0": torch.tensor(0.5).expand(20)},
    "with attributes": lambda model: model,
    "bfloat16": each(lambda value: value.bfloat16()),
    "double": each(lambda value: value.double()),
    "whole numbers": lambda model: model.state_dict() | {"step": torch.arange(6).reshape(2, 3)},
    "no values": lambda model: model.state_dict() | {"none": torch.zeros(0, 3)},
}


@pytest.mark.parametrize("which", ["zip", "legacy"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_tensors_to_the_bit(tmp_path: Path, variant: str, which: str) -> None:
    model = nn.LSTM(4, 5, 2, bidirectional=True)
    for parameter in model.parameters():
        parameter.tag = "mine"
    path = tmp_path / "w.pt"
    torch.save(VARIANTS[variant](model), path, **FORMATS[which])
    loaded = torch.load(path, weights_only=False)
    state = loaded if isinstance(loaded, dict) else loaded.state_dict()
    with open_model(str(path)) as find:
        tensors = find(None).tensors
        assert list(tensors.entries) == list(state)
        for name, array in zip(state, tensors.read(list(state)), strict=True):
            value = state[name]
            expected = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
            assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
            assert array.tobytes() == expected.tobytes()


def test_scripts_to_the_bit(tmp_path: Path) -> None:
    torch.jit.script(Tagger()).save(tmp_path / "w.pt")
    state = torch.jit.load(tmp_path / "w.pt").state_dict()
    with open_model(str(tmp_path / "w.pt")) as find:
        tensors = find(None).tensors
        assert set(tensors.entries) == set(state)
        for name, array in zip(state, tensors.read(list(state)), strict=True):
            assert array.tobytes() == state[name].numpy().tobytes()


def quantized(model: Any) -> Any:
    return torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)


def normed(model: Any) -> Any:
    nn.utils.parametrizations.weight_norm(model.rnn, "weight_hh_l0")
    return model


def normed_of_old(model: Any) -> Any:
    nn.utils.weight_norm(model.rnn, "weight_hh_l0")
    return model


REFUSED: dict[str, tuple[Callable[[Any], Any], str]] = {
    "quantized": (quantized, "is quantized, which is not read"),
    "parametrized": (normed, "computes its weights from others"),
    "weight_norm": (normed_of_old, "computes its weights from others"),
    "spectral_norm": (
        lambda model: nn.Sequential(nn.utils.spectral_norm(model.rnn, "weight_hh_l0")),
        "computes its weights from others",
    ),
}


# PyTorch scripts the first alone, and pickles no module of the second.
SCRIPTED, UNPICKLED = ("quantized",), ("parametrized",)
WAYS_TO_SAVE = [
    *((name, "state dict") for name in REFUSED),
    *((name, "module") for name in REFUSED if name not in UNPICKLED),
    *((name, "script") for name in SCRIPTED),
]


@pytest.mark.parametrize(("name", "saved"), WAYS_TO_SAVE)
def test_refused(tmp_path: Path, name: str, saved: str) -> None:
    change, message = REFUSED[name]
    model = change(Rows(nn.LSTM(4, 5)))
    if saved == "script":
        torch.jit.script(model).save(tmp_path / "w.pt")
    else:
        torch.save(SAVED[saved](model), tmp_path / "w.pt")
    with pytest.raises(ValueError, match=message):
        load_network(tmp_path / "w.pt")


def test_frozen(tmp_path: Path) -> None:
    model = torch.jit.script(Head(nn.GRU(4, 5, batch_first=True), 5).eval())
    torch.jit.freeze(model).save(tmp_path / "w.pt")
    with pytest.raises(ValueError, match="is frozen TorchScript"):
        load_network(tmp_path / "w.pt")


class Last(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x)[0][:, -1])


class State(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x)[1][-1])


class Relu(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.rnn(x)[0]))


class Flip(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x.flip(1))[0])


@pytest.mark.parametrize("how", ["script", "trace"])
@pytest.mark.parametrize("kind", [Head, Last, State, Relu, Flip])
def test_torchscript_is_run_as_written_or_refused(tmp_path: Path, kind: Any, how: str) -> None:
    model = kind(nn.GRU(4, 5, 2, batch_first=True), 5).eval()
    x, path = drawn(3, 20, 4), tmp_path / "w.pt"
    (torch.jit.script(model) if how == "script" else torch.jit.trace(model, x)).save(path)
    if kind in (Relu, Flip):
        with pytest.raises(rnncli.InputError, match=f"forward: calls {kind.__name__.lower()} on"):
            rnncli.load(path)
        return
    y = rnncli.run(rnncli.load(path), x.numpy()).y
    expected = given(model, x)
    assert y is not None
    assert np.abs((y if expected.ndim == y.ndim else y[:, -1]) - expected).max() <= ATOL
