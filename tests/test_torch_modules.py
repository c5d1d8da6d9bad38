"""Whole modules and TorchScript: chains of layers, and why others are none."""

from pathlib import Path

import numpy as np
import pytest
from model_files import inspect, layers, load, refusal
from torch_bytes import (
    NONE,
    STORED,
    VALUES,
    archive,
    mapping,
    matrix,
    module,
    name,
    number,
    real,
    script,
    text,
    vector,
)

NN = "torch.nn.modules."


def linear(rows: int, width: int) -> bytes:
    return module(f"{NN}linear.Linear", {"weight": matrix(rows, width), "bias": vector(rows)})


def activation(kind: str, **settings: bytes) -> bytes:
    return module(f"{NN}activation.{kind}", **settings)


LSTM = {"weight_ih_l0": matrix(12, 2), "weight_hh_l0": matrix(12, 3)}
RNN = {"weight_ih_l0": matrix(3, 2), "weight_hh_l0": matrix(3, 3)}
REC = module(f"{NN}rnn.LSTM", LSTM, mode=text("LSTM"))
FC = linear(4, 3)
NORM = {"weight": vector(3), "bias": vector(3), "running_mean": vector(3), "running_var": vector(3)}
EPS = real(1e-5)


def write(path: Path, saved: bytes) -> Path:
    path.write_bytes(archive(saved, STORED))
    return path


def net(**modules: bytes) -> bytes:
    return module("my.Net", None, modules)


def recurrent(kind: str, tensors: dict[str, bytes], **settings: bytes) -> bytes:
    return module(f"{NN}rnn.{kind}", tensors, **settings)


def sequence(*modules: bytes) -> bytes:
    named = {str(number): each for number, each in enumerate(modules)}
    return module(f"{NN}container.Sequential", None, named)


def norm(kind: str, tensors: dict[str, bytes], **settings: bytes) -> bytes:
    return module(f"{NN}{kind}", tensors, **settings)


GRU = {"weight_ih_l0": matrix(9, 3), "weight_hh_l0": matrix(9, 3)}
BATCH, ROW = "batchnorm.BatchNorm1d", "normalization.LayerNorm"
TABLE = {"weight": matrix(7, 2)}
IDLE = {
    "drop": module(f"{NN}dropout.Dropout"),
    "id": module(f"{NN}linear.Identity"),
    "loss": module(f"{NN}loss.MSELoss"),
    "list": module(f"{NN}container.ModuleList"),
}
FORWARD_IS_OUT = "the forward of my.Net is not in the file: "
# What is saved, the layers, and a word of each note.
CHAINS: dict[str, tuple[bytes, str, list[str]]] = {
    "alone": (REC, "LSTM 3", []),
    "inside": (net(rnn=REC), "LSTM 3", [f"{FORWARD_IS_OUT}rnn is assumed to be all of it"]),
    "a sequence": (sequence(linear(2, 2), REC), "Dense 2, LSTM 3", []),
    "a dictionary": (
        mapping({"rnn": REC, "fc": FC}),
        "LSTM 3, Dense 4",
        ["does not tell how its modules are joined: rnn, fc"],
    ),
    "a head": (
        net(rnn=REC, fc=FC),
        "LSTM 3, Dense 4",
        [f"{FORWARD_IS_OUT}rnn, fc are assumed in the order of their definition; `layer` rnn"],
    ),
    "modules that do nothing": (net(rnn=REC, **IDLE), "LSTM 3", ["rnn is assumed"]),
    "everything": (
        net(
            emb=module(f"{NN}sparse.Embedding", TABLE, max_norm=NONE),
            rnn=REC,
            norm=norm(BATCH, NORM, eps=EPS),
            fc=linear(4, 3),
            act=activation("Tanh"),
            out=linear(2, 4),
            end=activation("Softmax", dim=number(-1)),
        ),
        "Embedding 2, LSTM 3, Normalization 3, Dense 4, Pointwise 4, Dense 2, Pointwise 2",
        ["emb, rnn, norm, fc, act, out, end are"],
    ),
    "a norm of rows": (
        net(rnn=REC, norm=norm(ROW, {"weight": vector(3)}, eps=EPS)),
        "LSTM 3, LayerNormalization 3",
        ["rnn, norm are"],
    ),
    "a softmax of one row a sequence": (
        net(rnn=REC, end=activation("Softmax", dim=number(1))),
        "LSTM 3, Pointwise 3",
        ["rnn, end are", "end is taken over the values of each row, though dim 1"],
    ),
    "linear layers in a row": (
        net(rnn=REC, seq=sequence(FC, linear(2, 4))),
        "LSTM 3, Dense 4, Dense 2",
        ["rnn, seq.0, seq.1 are"],
    ),
    "two recurrent ones": (
        net(a=REC, b=recurrent("GRU", GRU)),
        "LSTM 3, GRU 3",
        ["`layer` NAME takes one of them alone"],
    ),
    "under a key": (
        mapping({"model": net(rnn=REC, fc=FC), "sd": mapping({"x": vector(3)})}),
        "LSTM 3, Dense 4",
        ["model.rnn, model.fc are", "passes over sd"],
    ),
    "a class of its own": (
        net(rnn=module("my.LSTM", LSTM, mode=text("LSTM")), fc=FC),
        "LSTM 3, Dense 4",
        ["rnn, fc are", "rnn is of a class of its own (my.LSTM)"],
    ),
    "hooks": (
        recurrent("LSTM", LSTM, _forward_hooks=mapping({"0": name("my.twice")})),
        "LSTM 3",
        ["it has hooks"],
    ),
}


@pytest.mark.parametrize(("saved", "found", "words"), CHAINS.values(), ids=CHAINS)
def test_chains(tmp_path: Path, saved: bytes, found: str, words: list[str]) -> None:
    network, notes = load(write(tmp_path / "w.pt", saved))
    assert layers(network) == found
    assert all(each in note for each, note in zip(words, notes, strict=True))


WAY_OUT = "`layer` rnn runs that alone, torch.onnx.export writes the whole model"
# Modules beside the recurrent one, and why the file is refused.
BROKEN: list[tuple[str, dict[str, bytes]]] = [
    ("fc, out: the file does not say", {"fc": FC, "out": linear(2, 4)}),
    ("fc: fc does not take as many values", {"fc": linear(4, 5)}),
    ("x: x (my.Attention) is not known", {"x": module("my.Attention")}),
    ("x: x (nn.Conv1d) is not known", {"x": module(f"{NN}conv.Conv1d", {"weight": vector(3)})}),
    (
        "e: e (nn.Embedding) changes rows",
        {"e": module(f"{NN}sparse.Embedding", TABLE, max_norm=number(1))},
    ),
    ("n: n (nn.BatchNorm1d) has no stat", {"n": norm(BATCH, {"weight": vector(3)}, eps=EPS)}),
    ("n: n (nn.LayerNorm) has no weight", {"n": norm(ROW, {}, eps=EPS)}),
    ("n: n (nn.BatchNorm1d) does not say its eps", {"n": norm(BATCH, NORM)}),
    ("a: a (nn.Softmax) has dim 0", {"a": activation("Softmax", dim=number(0))}),
    ("a: a (nn.Softplus) has beta 2", {"a": activation("Softplus", beta=number(2))}),
    (
        "a: a (nn.Softplus) has threshold 1",
        {"a": activation("Softplus", beta=number(1), threshold=number(1))},
    ),
]


@pytest.mark.parametrize(("why", "beside"), BROKEN)
def test_larger_models(tmp_path: Path, why: str, beside: dict[str, bytes]) -> None:
    path = write(tmp_path / "w.pt", net(rnn=REC, **beside))
    message = refusal(path)
    assert message.startswith(why)
    assert message.endswith(WAY_OUT)
    assert layers(load(path, layer="rnn")[0]) == "LSTM 3"


QUANTIZED = module("torch.ao.nn.quantized.dynamic.modules.rnn.LSTM")
PARAMETRIZED = module("torch.nn.utils.parametrize.ParametrizedLSTM", LSTM, mode=text("LSTM"))
REFUSED: list[tuple[str, bytes]] = [
    ("rnn: is of a class that PyTorch does not have", net(rnn=module("my.NormedLSTM", LSTM))),
    ("rnn: is quantized", net(rnn=QUANTIZED, fc=FC)),
    ("rnn: computes its weights from others", net(rnn=PARAMETRIZED)),
    (  # such as a first state that is learned
        "my.Net, fc: my.Net is not known",
        module("my.Net", {"h0": vector(3)}, {"rnn": REC, "fc": FC}),
    ),
]


@pytest.mark.parametrize(("why", "saved"), REFUSED)
def test_modules_that_are_refused(tmp_path: Path, why: str, saved: bytes) -> None:
    assert refusal(write(tmp_path / "w.pt", saved)).startswith(why)


def test_modules_are_picked(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", net(enc=net(rnn=REC, fc=FC), dec=REC))
    assert layers(load(path, layer="enc")[0]) == "LSTM 3, Dense 4"
    assert layers(load(path, layer="dec")[0]) == "LSTM 3"
    assert refusal(path, layer="x") == "has no layer x; it has enc.rnn, enc.fc, dec"


def test_a_state_dict_beside_a_module(tmp_path: Path) -> None:
    ema = mapping({f"rnn.{key}": each for key, each in RNN.items()})
    path = write(tmp_path / "w.pt", mapping({"net": net(rnn=REC), "ema": ema}))
    assert refusal(path).startswith("ema: stands beside the model; `layer` net runs that alone")
    assert layers(load(path, layer="net")[0]) == "LSTM 3"
    assert layers(load(path, layer="ema")[0]) == "RNN 3"
    assert [each["name"] for each in inspect(path)["parts"] if "why" in each] == ["ema"]


ACTIVATIONS: list[tuple[str, dict[str, bytes], str]] = [
    ("ReLU", {}, "relu"),
    ("ReLU6", {}, "relu6"),
    ("Sigmoid", {}, "sigmoid"),
    ("Softsign", {}, "softsign"),
    ("SiLU", {}, "silu"),
    ("SELU", {}, "selu"),
    ("Mish", {}, "mish"),
    ("Hardswish", {}, "hard_silu"),
    ("GELU", {"approximate": text("none")}, "gelu"),
    ("GELU", {}, "gelu"),  # of old
    ("GELU", {"approximate": text("tanh")}, "gelu_tanh"),
    ("LogSoftmax", {"dim": number(-1)}, "log_softmax"),
    ("LeakyReLU", {"negative_slope": real(0.2)}, "leaky_relu:0.2"),
    ("ELU", {"alpha": real(0.5)}, "elu:0.5"),
    ("Hardsigmoid", {}, f"hard_sigmoid:{1 / 6},0.5"),
    ("Softplus", {"beta": real(1), "threshold": number(20)}, "softplus"),
    ("Softmax", {"dim": number(1)}, "softmax"),
]


@pytest.mark.parametrize(("kind", "settings", "expected"), ACTIVATIONS)
def test_activations(tmp_path: Path, kind: str, settings: dict[str, bytes], expected: str) -> None:
    network, _ = load(write(tmp_path / "w.pt", net(rnn=REC, a=activation(kind, **settings))))
    assert str(network.layers[1].settings["activation"]) == expected


def test_batch_normalization(tmp_path: Path) -> None:
    network, _ = load(write(tmp_path / "w.pt", net(rnn=REC, n=norm(BATCH, NORM, eps=real(0.5)))))
    scale = np.sqrt(np.float64(VALUES[:3]) + 0.5)
    for role, array in network.layers[1].arrays.items():
        np.testing.assert_array_equal(array, scale if role == "scale" else VALUES[:3])


CELL = {"weight_ih": matrix(3, 2), "weight_hh": matrix(3, 3)}
SETTINGS: list[tuple[str, dict[str, bytes], dict[str, str], str]] = [
    ("RNN", RNN, {"mode": "RNN_RELU"}, "relu"),
    ("RNN", RNN, {"mode": "RNN_TANH", "nonlinearity": "relu"}, "tanh"),  # which was changed
    ("RNNCell", CELL, {"nonlinearity": "relu"}, "relu"),
]


@pytest.mark.parametrize(("kind", "tensors", "said", "expected"), SETTINGS)
def test_the_activation_of_cells(
    tmp_path: Path, kind: str, tensors: dict[str, bytes], said: dict[str, str], expected: str
) -> None:
    settings = {key: text(value) for key, value in said.items()}
    network, notes = load(write(tmp_path / "w.pt", recurrent(kind, tensors, **settings)))
    assert str(network.layers[0].cells[0].settings["activation"]) == expected
    assert notes == []


# TorchScript.

CALLED = "class RNN(Module):\n  def forward(self):\n    {}\n"
SAID = """class RNN(Module):
  mode : Final[str] = "RNN_RELU"
  def forward(self):
    torch.rnn_tanh(x)
    torch.rnn_relu(x)
class Other(Module):
  mode : Final[str] = "RNN_TANH"
"""
CODES = {
    "said": (SAID, "relu"),
    "called": (CALLED.format("torch.rnn_relu(x)"), "relu"),
    "both": (CALLED.format("torch.rnn_relu(torch.rnn_tanh(x))"), ""),
    "other": (CALLED.format("torch.rnn_relu(x)").replace("RNN", "Other"), ""),
    "none": ("", ""),
    "more than is looked at": (CALLED.format("torch.rnn_relu(x)") + "\0" * 2**22, ""),
}


@pytest.mark.parametrize(("code", "expected"), CODES.values(), ids=CODES)
@pytest.mark.parametrize("mangled", ["", "___torch_mangle_7"])
def test_the_activation_in_code(tmp_path: Path, code: str, expected: str, mangled: str) -> None:
    kind = f"{NN}rnn.{mangled}.RNN" if mangled else f"{NN}rnn.RNN"
    place = f"code/__torch__/torch/nn/modules/rnn{mangled and '/'}{mangled}.py"
    path, saved = tmp_path / "w.pt", script("my.Net", {"rnn": script(kind, RNN)})
    path.write_bytes(archive(saved, STORED, **{place: code.encode()}))
    network, notes = load(path, layer="rnn")
    assert str(network.layers[0].cells[0].settings["activation"]) == (expected or "tanh")
    assert len(notes) == (not expected)


FORWARD = """class Net(Module):
  def forward(self: __torch__.my.Net,
    x: Tensor,
    h: Optional[Tensor]=None) -> Tensor:
    {}
"""
LSTM_CODE = """class LSTM(Module):
  mode : Final[str] = "LSTM"
  batch_first : Final[bool] = True
  num_layers : Final[int] = 1
"""
SOFTMAX = b"class Softmax(Module):\n  dim : Final[int] = 1\n"
ROWS = "o, s, = (self.rnn).forward__0(x, h, )"
ZEROS = "torch.zeros([1, torch.size(x, 0), 3])"
LAST = "torch.select(torch.slice(o, 0, 0, 9223372036854775807), 1, -1)"
# The body of forward, the layers, and the row that is given alone.
CALLS: dict[str, tuple[str, str, str | None]] = {
    "a head": (f"{ROWS}; return (self.fc).forward(o, )", "LSTM 3, Dense 4", None),
    "no head": (f"{ROWS}; return (o, s)", "LSTM 3", None),
    "in another order": (
        "o, s, = (self.rnn).forward__0((self.below).forward(x, ), None, ); return o",
        "Dense 2, LSTM 3",
        None,
    ),
    "zeros": (
        f"o, s, = (self.rnn).forward__0(x, ({ZEROS}, torch.to({ZEROS}, 6)), ); return o",
        "LSTM 3",
        None,
    ),
    "no operation": (f"{ROWS}; return torch.contiguous(o)", "LSTM 3", None),
    "the last row": (f"{ROWS}; return {LAST}", "LSTM 3", "step"),
    "the last state": (f"{ROWS}; return torch.select((s)[0], 0, -1)", "LSTM 3", "step"),
}
# Why another body is refused.
UNREAD: dict[str, tuple[str, str]] = {
    "relu": (f"{ROWS}; return torch.relu(o)", "calls relu on what rnn gives"),
    "flip": (
        "o, s, = (self.rnn).forward__0(torch.flip(x, [1]), None, ); return o",
        "calls flip on the input",
    ),
    "mean": (f"{ROWS}; return torch.mean(o, [1])", "calls mean on what rnn gives"),
    "in place": (f"{ROWS}; y = torch.mul_(o, 2); return o", "calls mul_ on what rnn gives"),
    "a unit": (f"{ROWS}; return torch.select(o, 2, -1)", "calls select on what rnn gives"),
    "some rows": (f"{ROWS}; return torch.slice(o, 1, 1)", "calls slice on what rnn gives"),
    "c": (f"{ROWS}; return torch.select((s)[1], 0, -1)", "calls select on the final state of rnn"),
    "two paths": (f"{ROWS}; return torch.add(o, o)", "calls add on what rnn gives"),
    "two results": (f"{ROWS}; return (o, o)", "returns something else than rows"),
    "another state": (
        "o, s, = (self.rnn).forward__0(x, (self.h0, self.h0), ); return o",
        "starts rnn from a state",
    ),
    "a convolution": (f"{ROWS}; return (self.conv).forward(o, )", "conv (nn.Conv1d) is not known"),
    "a loss": (f"{ROWS}; return (self.loss).forward(o, )", "calls loss"),
    "steps": (f"{ROWS}; return (self.soft).forward(o, )", "calls soft (Softmax) on what rnn gives"),
    "a loop": (f"for i in x:\n      {ROWS}\n    return o", "loops"),
    "a branch": (
        f"{ROWS}\n    if torch.gt(torch.size(x, 0), 1):\n      o = x\n    return o",
        "branches",
    ),
    "no rows": ("o, s, = (self.rnn).forward__0(); return o", "calls rnn on something else"),
    "lists in lists": (
        "a = [1, 1]; " + "a = [a, a]; " * 60 + "return torch.cat(a)",
        "is too long",
    ),
    "itself": ("return (self).forward(x, )", "is nested too deep"),
    "a module of others": (f"{ROWS}; return (self.both).forward(o, )", "both is not known"),
    "too deep": (f"return {'-' * 9999}x", "has no code of __torch__.my.Net"),
    "no code": ("", "has no code of __torch__.my.Net"),
}


def scripted(path: Path, body: str) -> Path:
    """Write a model of TorchScript with such a forward."""
    head = script(f"{NN}linear.Linear", {"weight": matrix(4, 3), "bias": vector(4)})
    below = script(f"{NN}linear.Linear", {"weight": matrix(2, 2), "bias": vector(2)})
    saved = script(
        "my.Net",
        {
            "rnn": script(f"{NN}rnn.LSTM", LSTM),
            "fc": head,
            "below": below,
            "conv": script(f"{NN}conv.Conv1d", {"weight": vector(3)}),
            "soft": script(f"{NN}activation.Softmax", {}),
            "loss": script(f"{NN}loss.L1Loss", {}),
            "both": script(f"{NN}transformer.Encoder", {"fc": head}),
        },
    )
    code = {
        "code/__torch__/my.py": FORWARD.format(body).encode() if body else b"",
        "code/__torch__/torch/nn/modules/rnn.py": LSTM_CODE.encode(),
        "code/__torch__/torch/nn/modules/activation.py": SOFTMAX,
    }
    path.write_bytes(archive(saved, STORED, **code))
    return path


@pytest.mark.parametrize(("body", "found", "last"), CALLS.values(), ids=CALLS)
def test_forward_of_torchscript(tmp_path: Path, body: str, found: str, last: str | None) -> None:
    network, notes = load(scripted(tmp_path / "w.pt", body))
    assert (layers(network), network.last, notes) == (found, last, [])


@pytest.mark.parametrize(("body", "why"), UNREAD.values(), ids=UNREAD)
def test_forward_that_is_refused(tmp_path: Path, body: str, why: str) -> None:
    path = scripted(tmp_path / "w.pt", body)
    message = refusal(path)
    assert f"forward: {why}" in message
    assert message.endswith(WAY_OUT)
    assert layers(load(path, layer="rnn")[0]) == "LSTM 3"
