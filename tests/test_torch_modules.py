"""Whole modules and TorchScript: chains of layers, and why others are none."""

import re
from pathlib import Path
from struct import pack
from typing import Any

import numpy as np
import pytest
from torch_bytes import NONE, archive, mapping, module, name, number, script, tensor, text

from rnncli.model.errors import InputError
from rnncli.model.formats import Loaded, load_network, opened
from rnncli.model.layers import name_of

STORED = {"0": np.random.RandomState(0).uniform(0.1, 0.9, size=100).astype("<f4").tobytes()}
NN = "torch.nn.modules."


def matrix(rows: int, width: int) -> bytes:
    return tensor("0", (rows, width), (width, 1))


def vector(size: int) -> bytes:
    return tensor("0", (size,), (1,))


def real(value: float) -> bytes:
    return b"G" + pack(">d", value)


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


def load(path: Path, saved: bytes, layer: str | None = None) -> Loaded:
    path.write_bytes(archive(saved, STORED))
    return load_network(path, layer)


def net(**modules: bytes) -> bytes:
    return module("my.Net", None, modules)


def kinds(loaded: Loaded) -> list[str]:
    return [name_of(layer.cells[0] if layer.cells else layer) for layer in loaded.network.layers]


CODE_IS_LEFT_OUT = "the forward of my.Net is not in the file"
ALONE = [f"{CODE_IS_LEFT_OUT}: rnn is assumed to be all of it"]


def in_order(names: str, hint: str = "`layer` rnn takes that alone") -> list[str]:
    return [f"{CODE_IS_LEFT_OUT}: {names} are assumed in the order of their definition; {hint}"]


CHAINS = {
    "alone": (REC, ["lstm"], []),
    "inside": (net(rnn=REC), ["lstm"], ALONE),
    "a sequence": (
        module(f"{NN}container.Sequential", None, {"0": linear(2, 4), "1": REC}),
        ["dense", "lstm"],
        [],
    ),
    "modules in a dictionary": (
        mapping({"rnn": REC, "fc": FC}),
        ["lstm", "dense"],
        [
            "the file does not tell how its modules are joined: rnn, fc are assumed in the order "
            "of their definition; `layer` rnn takes that alone"
        ],
    ),
    "a head": (net(rnn=REC, fc=FC), ["lstm", "dense"], in_order("rnn, fc")),
    "what does nothing": (
        net(
            rnn=REC,
            drop=module(f"{NN}dropout.Dropout"),
            id=module(f"{NN}linear.Identity"),
            loss=module(f"{NN}loss.MSELoss"),
            list=module(f"{NN}container.ModuleList"),
        ),
        ["lstm"],
        ALONE,
    ),
    "everything": (
        net(
            emb=module(f"{NN}sparse.Embedding", {"weight": matrix(7, 2)}, max_norm=NONE),
            rnn=REC,
            norm=module(f"{NN}batchnorm.BatchNorm1d", NORM, eps=EPS),
            fc=linear(4, 3),
            act=activation("Tanh"),
            out=linear(2, 4),
            end=activation("Softmax", dim=number(-1)),
        ),
        ["embedding", "lstm", "normalization", "dense", "activation", "dense", "activation"],
        in_order("emb, rnn, norm, fc, act, out, end"),
    ),
    "a norm of rows": (
        net(rnn=REC, norm=module(f"{NN}normalization.LayerNorm", {"weight": vector(3)}, eps=EPS)),
        ["lstm", "layer_normalization"],
        in_order("rnn, norm"),
    ),
    "a softmax of one row a sequence": (
        net(rnn=REC, end=activation("Softmax", dim=number(1))),
        ["lstm", "activation"],
        [
            *in_order("rnn, end"),
            "end is taken over the values of each row, though dim 1 is that only where a model "
            "gives one row a sequence",
        ],
    ),
    "linear layers in a row": (
        net(rnn=REC, seq=module(f"{NN}container.Sequential", None, {"0": FC, "1": linear(2, 4)})),
        ["lstm", "dense", "dense"],
        in_order("rnn, seq.0, seq.1"),
    ),
    "two recurrent ones": (
        net(
            a=REC,
            b=module(f"{NN}rnn.GRU", {"weight_ih_l0": matrix(9, 3), "weight_hh_l0": matrix(9, 3)}),
        ),
        ["lstm", "gru"],
        in_order("a, b", "`layer` NAME takes one of them alone"),
    ),
    "under a key": (
        mapping({"model": net(rnn=REC, fc=FC), "sd": mapping({"x": vector(3)})}),
        ["lstm", "dense"],
        [
            *in_order("model.rnn, model.fc", "`layer` model.rnn takes that alone"),
            "passes over sd, which the file has beside the model",
        ],
    ),
    "a class of its own": (
        net(rnn=module("my.LSTM", LSTM, mode=text("LSTM")), fc=FC),
        ["lstm", "dense"],
        [*in_order("rnn, fc"), "rnn is of a class of its own (my.LSTM), whose code is not read"],
    ),
    "hooks": (
        module(f"{NN}rnn.LSTM", LSTM, _forward_hooks=mapping({"0": name("my.twice")})),
        ["lstm"],
        ["it has hooks, whose code is not read"],
    ),
}


@pytest.mark.parametrize(("saved", "found", "notes"), CHAINS.values(), ids=CHAINS)
def test_chains(tmp_path: Path, saved: bytes, found: list[str], notes: list[str]) -> None:
    loaded = load(tmp_path / "w.pt", saved)
    assert kinds(loaded) == found
    assert loaded.assumptions == notes


WAY_OUT = "`layer` rnn runs that alone, torch.onnx.export writes the whole model"
TWO = "fc, out: the file does not say what its code does between fc and out"
BATCH = f"{NN}batchnorm.BatchNorm1d"
# What stands beside the recurrent module, and why the file is refused.
BROKEN: list[tuple[str, dict[str, bytes]]] = [
    (TWO, {"fc": FC, "out": linear(2, 4)}),
    ("fc: fc does not take as many values as rnn gives", {"fc": linear(4, 5)}),
    ("x: x (my.Attention) is not known", {"x": module("my.Attention")}),
    ("x: x (nn.Conv1d) is not known", {"x": module(f"{NN}conv.Conv1d", {"weight": vector(3)})}),
    (
        "e: e (nn.Embedding) changes rows that are long (max_norm)",
        {"e": module(f"{NN}sparse.Embedding", {"weight": matrix(7, 2)}, max_norm=number(1))},
    ),
    (
        "n: n (nn.BatchNorm1d) has no statistics of its own",
        {"n": module(BATCH, {"weight": vector(3)}, eps=EPS)},
    ),
    (
        "n: n (nn.LayerNorm) has no weight for each value of a row",
        {"n": module(f"{NN}normalization.LayerNorm", eps=EPS)},
    ),
    ("n: n (nn.BatchNorm1d) does not say its eps", {"n": module(BATCH, NORM)}),
    ("a: a (nn.Softmax) has dim 0, which is not read", {"a": activation("Softmax", dim=number(0))}),
    (
        "a: a (nn.Softplus) has beta 2, which is not read",
        {"a": activation("Softplus", beta=number(2))},
    ),
    (
        "a: a (nn.Softplus) has threshold 1, which is not read",
        {"a": activation("Softplus", beta=number(1), threshold=number(1))},
    ),
]


@pytest.mark.parametrize(("why", "beside"), BROKEN)
def test_larger_models(tmp_path: Path, why: str, beside: dict[str, bytes]) -> None:
    path = tmp_path / "w.pt"
    message = refusal(path, net(rnn=REC, **beside))
    assert message.startswith(why)
    assert message.endswith(WAY_OUT)
    assert kinds(load(path, net(rnn=REC, **beside), "rnn")) == ["lstm"]


ACTIVATIONS = {
    "ReLU": ({}, "relu"),
    "ReLU6": ({}, "relu6"),
    "Sigmoid": ({}, "sigmoid"),
    "Softsign": ({}, "softsign"),
    "SiLU": ({}, "silu"),
    "SELU": ({}, "selu"),
    "Mish": ({}, "mish"),
    "Hardswish": ({}, "hard_silu"),
    "GELU": ({"approximate": text("none")}, "gelu"),
    "GELU, of old": ({}, "gelu"),
    "GELU, tanh": ({"approximate": text("tanh")}, "gelu_tanh"),
    "LogSoftmax": ({"dim": number(-1)}, "log_softmax"),
    "LeakyReLU": ({"negative_slope": real(0.2)}, "leaky_relu:0.2"),
    "ELU": ({"alpha": real(0.5)}, "elu:0.5"),
    "Hardsigmoid": ({}, f"hard_sigmoid:{1 / 6},0.5"),
    "Softplus": ({"beta": real(1), "threshold": number(20)}, "softplus"),
    "Softmax": ({"dim": number(1)}, "softmax"),
}


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_activations(tmp_path: Path, kind: str) -> None:
    settings, expected = ACTIVATIONS[kind]
    above = activation(kind.partition(",")[0], **settings)
    loaded = load(tmp_path / "w.pt", net(rnn=REC, a=above))
    assert str(loaded.network.layers[1].settings["activation"]) == expected


def test_batch_normalization(tmp_path: Path) -> None:
    norm = module(f"{NN}batchnorm.BatchNorm1d", NORM, eps=real(0.5))
    layer = load(tmp_path / "w.pt", net(rnn=REC, n=norm)).network.layers[1]
    values = np.frombuffer(STORED["0"], "<f4")[:3]
    scale = np.sqrt(np.float64(values) + 0.5)
    expected = {"center": values, "scale": scale, "shift": values, "factor": values}
    assert {name: array.tolist() for name, array in layer.arrays.items()} == {
        name: array.tolist() for name, array in expected.items()
    }


SETTINGS = {
    "mode": (f"{NN}rnn.RNN", RNN, {"mode": text("RNN_RELU")}, "relu"),
    "nonlinearity, which was changed": (
        f"{NN}rnn.RNN",
        RNN,
        {"mode": text("RNN_TANH"), "nonlinearity": text("relu")},
        "tanh",
    ),
    "nonlinearity": (
        f"{NN}rnn.RNNCell",
        {"weight_ih": matrix(3, 2), "weight_hh": matrix(3, 3)},
        {"nonlinearity": text("relu")},
        "relu",
    ),
}


@pytest.mark.parametrize(("kind", "tensors", "said", "expected"), SETTINGS.values(), ids=SETTINGS)
def test_the_activation_of_cells(
    tmp_path: Path, kind: str, tensors: dict[str, bytes], said: dict[str, bytes], expected: str
) -> None:
    loaded = load(tmp_path / "w.pt", module(kind, tensors, **said))
    assert str(loaded.network.layers[0].cells[0].settings["activation"]) == expected
    assert loaded.assumptions == []


CODE = b"""class RNN(Module):
  mode : Final[str] = "RNN_RELU"
  def forward(self):
    torch.rnn_tanh(x)
    torch.rnn_relu(x)
class Other(Module):
  mode : Final[str] = "RNN_TANH"
"""
TRACED = b"class RNN(Module):\n  def forward(self):\n    torch.rnn_relu(x)\n"
BOTH = b"class RNN(Module):\n  def forward(self):\n    torch.rnn_relu(torch.rnn_tanh(x))\n"
OTHER = b"class Other(Module):\n  def forward(self):\n    torch.rnn_relu(x)\n"
# More than is looked at.
LONG = TRACED + bytes(2**22)


@pytest.mark.parametrize(
    ("code", "expected"),
    {CODE: "relu", TRACED: "relu", BOTH: "", OTHER: "", b"": "", LONG: ""}.items(),
    ids=["said", "called", "both", "other", "none", "long"],
)
@pytest.mark.parametrize("mangled", [False, True])
def test_the_code_of_torchscript(tmp_path: Path, code: bytes, expected: str, mangled: bool) -> None:
    kind, place = f"{NN}rnn.RNN", "code/__torch__/torch/nn/modules/rnn.py"
    if mangled:
        kind = f"{NN}rnn.___torch_mangle_7.RNN"
        place = "code/__torch__/torch/nn/modules/rnn/___torch_mangle_7.py"
    path = tmp_path / "w.pt"
    path.write_bytes(archive(script("my.Net", {"rnn": script(kind, RNN)}), STORED, **{place: code}))
    loaded = load_network(path, "rnn")
    assert str(loaded.network.layers[0].cells[0].settings["activation"]) == (expected or "tanh")
    assumed = "does not name the activation: tanh is taken (`activation`)"
    assert loaded.assumptions == ([] if expected else [assumed])


def refusal(path: Path, saved: bytes, layer: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load(path, saved, layer)
    return str(caught.value).removeprefix(f"{path}: ")


FORWARD = """class Net(Module):
  def forward(self: __torch__.my.Net,
    x: Tensor,
    h: Optional[Tensor]=None) -> Tensor:
    {}
"""
CELL = 'class LSTM(Module):\n  mode : Final[str] = "LSTM"\n  batch_first : Final[bool] = True\n'
CELL += "  num_layers : Final[int] = 1\n"
SOFTMAX = b"class Softmax(Module):\n  dim : Final[int] = 1\n"
ROWS = "o, s, = (self.rnn).forward__0(x, h, )"
Z = "torch.zeros([1, torch.size(x, 0), 3])"
# The body of forward, and the layers and the row that is given alone, or why it is refused.
CALLS: dict[str, tuple[str, Any]] = {
    "a head": (f"{ROWS}; return (self.fc).forward(o, )", (["lstm", "dense"], None)),
    "no head": (f"{ROWS}; return (o, s)", (["lstm"], None)),
    "in another order": (
        "o, s, = (self.rnn).forward__0((self.below).forward(x, ), None, ); return o",
        (["dense", "lstm"], None),
    ),
    "zeros": (
        f"o, s, = (self.rnn).forward__0(x, ({Z}, torch.to({Z}, 6)), ); return o",
        (["lstm"], None),
    ),
    "no operation": (f"{ROWS}; return torch.contiguous(o)", (["lstm"], None)),
    "the last row": (
        f"{ROWS}; return torch.select(torch.slice(o, 0, 0, 9223372036854775807), 1, -1)",
        (["lstm"], "step"),
    ),
    "the last state": (f"{ROWS}; return torch.select((s)[0], 0, -1)", (["lstm"], "step")),
    "relu": (f"{ROWS}; return torch.relu(o)", "calls relu on what rnn gives, which is not read"),
    "flip": (
        "o, s, = (self.rnn).forward__0(torch.flip(x, [1]), None, ); return o",
        "calls flip on the input, which is not read",
    ),
    "mean": (
        f"{ROWS}; return torch.mean(o, [1])",
        "calls mean on what rnn gives, which is not read",
    ),
    "in place": (f"{ROWS}; y = torch.mul_(o, 2); return o", "calls mul_ on what rnn gives"),
    "a unit": (f"{ROWS}; return torch.select(o, 2, -1)", "calls select on what rnn gives"),
    "some rows": (f"{ROWS}; return torch.slice(o, 1, 1)", "calls slice on what rnn gives"),
    "c": (f"{ROWS}; return torch.select((s)[1], 0, -1)", "calls select on the final state of rnn"),
    "two paths": (f"{ROWS}; return torch.add(o, o)", "calls add on what rnn gives"),
    "two results": (f"{ROWS}; return (o, o)", "returns something else than rows"),
    "another state": (
        "o, s, = (self.rnn).forward__0(x, (self.h0, self.h0), ); return o",
        "starts rnn from a state that may be other than zeros",
    ),
    "a convolution": (
        f"{ROWS}; return (self.conv).forward(o, )",
        "calls conv (nn.Conv1d), which is not known",
    ),
    "steps": (f"{ROWS}; return (self.soft).forward(o, )", "calls soft (Softmax) over another axis"),
    "a loop": (f"for i in x:\n      {ROWS}\n    return o", "loops, which is not read"),
    "a branch": (
        f"{ROWS}\n    if torch.gt(torch.size(x, 0), 1):\n      o = x\n    return o",
        "branches",
    ),
    "no rows": ("o, s, = (self.rnn).forward__0(); return o", "calls rnn on something else"),
    "lists in lists": (
        "a = [1, 1]; " + "a = [a, a]; " * 60 + "return torch.cat(a)",
        "returns something else than rows of one module",
    ),
    "itself": ("return (self).forward(x, )", "is nested too deep"),
    "a module of others": (
        f"{ROWS}; return (self.both).forward(o, )",
        "calls both, which is not known",
    ),
    "too deep": (f"return {'-' * 9999}x", "has no code of __torch__.my.Net that can be read"),
    "no code": ("", "has no code of __torch__.my.Net that can be read"),
}


@pytest.mark.parametrize(("body", "expected"), CALLS.values(), ids=CALLS)
def test_forward_of_torchscript(tmp_path: Path, body: str, expected: Any) -> None:
    held = {"weight": matrix(4, 3), "bias": vector(4)}
    below = {"weight": matrix(2, 2), "bias": vector(2)}
    saved = script(
        "my.Net",
        {
            "rnn": script(f"{NN}rnn.LSTM", LSTM),
            "fc": script(f"{NN}linear.Linear", held),
            "below": script(f"{NN}linear.Linear", below),
            "conv": script(f"{NN}conv.Conv1d", {"weight": vector(3)}),
            "soft": script(f"{NN}activation.Softmax", {}),
            "both": script(f"{NN}transformer.Encoder", {"fc": script(f"{NN}linear.Linear", held)}),
        },
    )
    code = {
        "code/__torch__/my.py": FORWARD.format(body).encode() if body else b"",
        "code/__torch__/torch/nn/modules/rnn.py": CELL.encode(),
        "code/__torch__/torch/nn/modules/activation.py": SOFTMAX,
    }
    path = tmp_path / "w.pt"
    path.write_bytes(archive(saved, STORED, **code))
    if isinstance(expected, str):
        with pytest.raises(InputError, match=re.escape(f"forward: {expected}")) as caught:
            load_network(path)
        assert str(caught.value).endswith(WAY_OUT)
        assert kinds(load_network(path, "rnn")) == ["lstm"]
    else:
        loaded = load_network(path)
        assert (kinds(loaded), loaded.network.last) == expected
        assert loaded.assumptions == []


QUANTIZED = module("torch.ao.nn.quantized.dynamic.modules.rnn.LSTM")
UNMADE = "save the model after remove_parametrizations or remove_weight_norm of torch.nn.utils"
REFUSED: list[tuple[str, bytes]] = [
    ("rnn: is of a class that PyTorch does not have", net(rnn=module("my.NormedLSTM", LSTM))),
    ("rnn: is quantized, which is not read; save the model before", net(rnn=QUANTIZED, fc=FC)),
    (
        f"rnn: computes its weights from others, which is not read; {UNMADE}",
        net(rnn=module("torch.nn.utils.parametrize.ParametrizedLSTM", LSTM, mode=text("LSTM"))),
    ),
]


@pytest.mark.parametrize(("message", "saved"), REFUSED)
def test_refused(tmp_path: Path, message: str, saved: bytes) -> None:
    assert refusal(tmp_path / "w.pt", saved).startswith(message)


def test_weights_of_the_whole(tmp_path: Path) -> None:
    """Such as a first state that is learned."""
    saved = module("my.Net", {"h0": vector(3)}, {"rnn": REC, "fc": FC})
    message = refusal(tmp_path / "w.pt", saved)
    assert message == f"my.Net, fc: my.Net is not known; {WAY_OUT}"


def test_parts_are_picked(tmp_path: Path) -> None:
    saved = net(enc=net(rnn=REC, fc=FC), dec=REC)
    assert kinds(load(tmp_path / "w.pt", saved, "enc")) == ["lstm", "dense"]
    assert kinds(load(tmp_path / "w.pt", saved, "dec")) == ["lstm"]
    message = refusal(tmp_path / "w.pt", saved, "x")
    assert message == "has no layer x; it has enc.rnn, enc.fc, dec"


def test_a_state_dict_beside_a_module(tmp_path: Path) -> None:
    saved = mapping({"net": net(rnn=REC), "ema": mapping({f"rnn.{k}": v for k, v in RNN.items()})})
    message = refusal(tmp_path / "w.pt", saved)
    assert message.startswith("ema: stands beside the model; `layer` net runs that alone")
    assert kinds(load(tmp_path / "w.pt", saved, "net")) == ["lstm"]
    assert kinds(load(tmp_path / "w.pt", saved, "ema")) == ["rnn"]
    with opened(str(tmp_path / "w.pt")) as (model, _):
        assert [(part.name, part.why) for part in model.parts if part.why] == [
            ("ema", "stands beside the model")
        ]
