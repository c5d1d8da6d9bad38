"""PyTorch's files against PyTorch: tensors to the bit, and what models give.

Within 1e-6 relative to max(1, |y|), or 1e-14 in float64: the networks are
small and forget, so that neither ends further from exact sums.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import rnncli
from peers.models_torch import Head, Rows, Steps
from peers.nets import TOLERANCES, furthest, output
from rnncli.model.formats.load import load_network
from rnncli.model.formats.torch.files import read_objects

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
    "checkpoint": lambda model: {"epoch": 1, "net": model.state_dict()},
}
CELLS: dict[str, Any] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
EACH_CELL = pytest.mark.parametrize("cell", CELLS)
X = torch.from_numpy(np.random.RandomState(0).normal(size=(3, 20, 4)).astype(np.float32))
# PyTorch warns of what it will change itself.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def seeds() -> None:
    torch.manual_seed(0)


def run_torch(model: Any, x: Any = X) -> np.ndarray[Any, Any]:
    """Run a model over (N, T, I), batch first or not."""
    first = getattr(getattr(model, "rnn", None), "batch_first", True)
    with torch.no_grad():
        y = model(x if first else x.transpose(0, 1))
    return np.asarray(y if first else y.transpose(0, 1))


def check(path: Path, model: Any, x: Any = X, **settings: Any) -> list[str]:
    """Compare what a file gives with what the model does; return the notes."""
    loaded, expected = load_network(path, None, settings), run_torch(model, x)
    precision = expected.dtype.name
    found = output(rnncli.run(loaded.network, x.numpy().astype(precision), precision=precision))
    assert furthest([found], [expected]) <= TOLERANCES[precision]
    return loaded.assumptions


@EACH_CELL
def test_formats(tmp_path: Path, cell: str) -> None:
    for saved in SAVED.values():
        for options in FORMATS.values():
            model = Head(CELLS[cell](4, 5, batch_first=True), 5)
            torch.save(saved(model), tmp_path / "w.pt", **options)
            check(tmp_path / "w.pt", model)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("two", [False, True])
@pytest.mark.parametrize("cell", [*CELLS, "projected"])
def test_layers(tmp_path: Path, cell: str, two: bool, bias: bool) -> None:
    """Files of both libraries, which PyTorch reads to the bit as they are written again."""
    kind, more = CELLS.get(cell, nn.LSTM), {"proj_size": 3} if cell == "projected" else {}
    for layers, first in ((1, True), (2, False), (12 if cell == "rnn" else 3, True)):
        options = {"batch_first": first, "bidirectional": two, **more}
        model = Rows(kind(4, 5, layers, bias=bias, **options))
        for saved in (model.state_dict(), model.rnn):
            torch.save(saved, tmp_path / "w.pt")
            check(tmp_path / "w.pt", model)
        rnncli.save(rnncli.load(tmp_path / "w.pt"), tmp_path / "w.safetensors")
        again = Rows(kind(4, 5, layers, **options))
        written = load_file(tmp_path / "w.safetensors")
        again.rnn.load_state_dict(written, strict=True)
        check(tmp_path / "w.pt", again)
        for name, tensor in model.rnn.state_dict().items():
            if "weight" in name:
                assert torch.equal(written[name], tensor), name


def test_relu_and_double_precision(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    relu = nn.RNN(4, 5, nonlinearity="relu", batch_first=True)
    save_file(relu.state_dict(), path)
    assert check(path, Rows(relu), activation="relu") == []
    for kind in CELLS.values():
        model = kind(4, 5, 2, batch_first=True, bidirectional=True, dtype=torch.float64)
        save_file(model.state_dict(), path)
        check(path, Rows(model), X.double())
        rnncli.save(rnncli.load(path), path)
        model.load_state_dict(load_file(path), strict=True)
        check(path, Rows(model), X.double())


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_cells(tmp_path: Path, cell: Any) -> None:
    model = Steps(cell(4, 5))
    for saved in (model.state_dict(), model.cell):
        torch.save(saved, tmp_path / "w.pt")
        check(tmp_path / "w.pt", model)
    save_file(model.cell.state_dict(), tmp_path / "w.safetensors")
    check(tmp_path / "w.safetensors", model)


def keep(path: Path, model: Any, how: str, x: Any = X) -> None:
    """Save the recurrent module of a model, or its script or its trace."""
    if how == "module":
        torch.save(model.rnn, path)
    else:
        model = model.eval()
        (torch.jit.script(model) if how == "script" else torch.jit.trace(model, x)).save(path)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("how", ["module", "script", "trace"])
def test_the_activation_is_known(tmp_path: Path, how: str, nonlinearity: str) -> None:
    model = Rows(nn.RNN(4, 5, 2, nonlinearity=nonlinearity, batch_first=True))
    keep(tmp_path / "w.pt", model, how)
    notes = check(tmp_path / "w.pt", model)
    assert not any("activation" in note for note in notes)


ACTIVATIONS = [
    *(nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.Softsign(), nn.LeakyReLU(0.3), nn.ELU(0.7)),
    *(nn.Softmax(dim=2), nn.ReLU6(), nn.SiLU(), nn.SELU()),
    *(nn.Mish(), nn.GELU(), nn.GELU("tanh"), nn.LogSoftmax(-1), nn.LayerNorm(6)),
]


@pytest.mark.parametrize("function", ACTIVATIONS, ids=str)
def test_activations(tmp_path: Path, function: Any) -> None:
    model = Head(nn.GRU(4, 5, batch_first=True), 5)
    model.fc = nn.Sequential(nn.Linear(5, 6), function, nn.Linear(6, 20))
    model.fc[0].bias.data = torch.linspace(-8, 8, 6)  # sums of all sizes
    for how in ("script", "trace"):
        keep(tmp_path / "w.pt", model.float(), how)
        check(tmp_path / "w.pt", model)
        check(tmp_path / "w.pt", model.double(), X.double())


def each(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Change every tensor of a state dict."""
    return lambda model: {name: change(value) for name, value in model.state_dict().items()}


VARIANTS: dict[str, Callable[[Any], Any]] = {
    "in steps": each(lambda value: torch.stack([torch.zeros_like(value), value], -1)[..., 1]),
    "transposed": each(lambda value: value.t().contiguous().t()),
    "repeated": lambda model: model.state_dict() | {"bias_ih_l0": torch.tensor(0.5).expand(20)},
    "bfloat16": each(lambda value: value.bfloat16()),
    "double": each(lambda value: value.double()),
    "whole numbers": lambda model: model.state_dict() | {"step": torch.arange(6).reshape(2, 3)},
    "no values": lambda model: model.state_dict() | {"none": torch.zeros(0, 3)},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_tensors_to_the_bit(tmp_path: Path, variant: str) -> None:
    model = nn.LSTM(4, 5, 2, bidirectional=True)
    for parameter in model.parameters():
        parameter.tag = "mine"
    path = tmp_path / "w.pt"
    for which in ("zip", "legacy"):
        torch.save(VARIANTS[variant](model), path, **FORMATS[which])
        loaded = torch.load(path, weights_only=False)
        check_tensors(path, loaded if isinstance(loaded, dict) else loaded.state_dict())


def check_tensors(path: Path, state: Any) -> None:
    arrays = read_objects(path.read_bytes(), str(path)).arrays
    assert set(arrays) == set(state)
    for name, value in state.items():
        expected = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        assert (arrays[name].dtype, arrays[name].shape) == (expected.dtype, expected.shape)
        assert arrays[name].tobytes() == expected.tobytes()


def quantized(model: Any) -> Any:
    return torch.ao.quantization.quantize_dynamic(model, {nn.LSTM}, dtype=torch.qint8)


def normed(model: Any) -> Any:
    nn.utils.parametrizations.weight_norm(model.rnn, "weight_hh_l0")
    return model


def spectral(model: Any) -> Any:
    return nn.Sequential(nn.utils.spectral_norm(model.rnn, "weight_hh_l0"))


# PyTorch pickles no parametrized module.
REFUSED = [(quantized, "state dict"), (quantized, "module"), (quantized, "script")]
REFUSED += [(normed, "state dict"), (spectral, "state dict"), (spectral, "module")]


@pytest.mark.parametrize(("change", "how"), REFUSED)
def test_weights_that_are_computed_are_refused(tmp_path: Path, change: Any, how: str) -> None:
    model, path = change(Rows(nn.LSTM(4, 5))), tmp_path / "w.pt"
    if how == "script":
        keep(path, model, how)
    else:
        torch.save(model.state_dict() if how == "state dict" else model, path)
    with pytest.raises(ValueError, match=r"is quantized|in layers from 0|not read|not in the file"):
        load_network(path)


@pytest.mark.parametrize("norm", [nn.GroupNorm(1, 5), nn.RMSNorm(5), nn.PReLU(5)])
def test_modules_that_have_the_arrays_of_another(tmp_path: Path, norm: Any) -> None:
    model, path = Head(nn.LSTM(4, 5), 5), tmp_path / "w.pt"
    model.norm = norm
    torch.save(model, path)
    with pytest.raises(ValueError, match="a chain cannot run it"):
        load_network(path, chain="rnn,norm,fc")


class Last(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x)[0][:, -1])


class State(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x)[1][-1])


class Mean(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x)[0].mean(1))


class Residual(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.rnn(x, torch.zeros(2, x.size(0), 5))
        N, T, H = h.shape
        y = self.fc(h.reshape(N * T, H)).view(N, T, -1)
        return torch.cat([torch.relu(y), h], 2).transpose(0, 1).permute(1, 0, 2)


class Convolved(Head):
    def __init__(self, rnn: Any, width: int) -> None:
        super().__init__(rnn, width)
        self.conv = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(self.conv(x.transpose(1, 2)).transpose(1, 2))[0])


class Attention(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.rnn(x)
        weights = torch.softmax(h @ h.mT / h.shape[-1] ** 0.5, -1)
        return self.fc(weights @ h * h.shape[1] ** -0.5)


class Positions(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, _ = self.rnn(x)
        places = torch.arange(h.shape[1]).float() / h.shape[1]
        return self.fc(h + places[:, None] + (1 - h) / h.shape[1] ** 2)


class Flip(Head):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.rnn(x.flip(1))[0])


KINDS = [Head, Last, State, Mean, Residual, Convolved, Attention, Positions, Flip]


@pytest.mark.parametrize("kind", KINDS)
def test_torchscript_is_run_as_written_or_refused(tmp_path: Path, kind: Any) -> None:
    model, path = kind(nn.GRU(4, 5, 2, batch_first=True), 5).eval(), tmp_path / "w.pt"
    for how in ("script", "trace"):
        keep(path, model, how)
        if kind is Flip:
            with pytest.raises(rnncli.InputError, match="gives "):
                rnncli.load(path)
            continue
        y, expected = rnncli.run(rnncli.load(path), X.numpy()).y, run_torch(model)
        assert y is not None
        assert furthest([y if expected.ndim == y.ndim else y[:, -1]], [expected]) <= 1e-6
