"""Whole modules and TorchScript: what is run of them, and why others are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from model_files import inspect, layers, load, refusal
from torch_bytes import (
    NONE,
    STORED,
    archive,
    mapping,
    matrix,
    module,
    name,
    real,
    script,
    tensor,
    text,
    vector,
)

import rnncli

NN = "torch.nn.modules."
LSTM = {"weight_ih_l0": matrix(12, 2), "weight_hh_l0": matrix(12, 3)}
RNN = {"weight_ih_l0": matrix(3, 2), "weight_hh_l0": matrix(3, 3)}
REC = module(f"{NN}rnn.LSTM", LSTM, mode=text("LSTM"))
FC = module(f"{NN}linear.Linear", {"weight": matrix(4, 3), "bias": vector(4)})
TANH = module(f"{NN}activation.Tanh")
TABLE = {"weight": matrix(7, 2)}
NORMED = module(f"{NN}sparse.Embedding", TABLE, max_norm=real(1.0))
WAY_OUT = ("pick one with `layer` NAME: rnn", "run a part with `layer` rnn")
HOOKS = mapping({"0": name("my.twice")})


def write(path: Path, saved: bytes) -> Path:
    path.write_bytes(archive(saved, STORED))
    return path


def net(**modules: bytes) -> bytes:
    return module("my.Net", None, modules)


QUANTIZED = module("torch.ao.nn.quantized.dynamic.modules.rnn.LSTM")
HOOKED = module(f"{NN}rnn.LSTM", LSTM, _forward_hooks=HOOKS)
MADE = {"weight_ih_l0": matrix(12, 2), "weight_hh_l0_g": vector(12)}
NO_CODE = "its class is not in the file"
# What is saved, and why it is refused; it holds a recurrent module that can be run alone, or not.
REFUSED: dict[str, tuple[bytes, str, bool]] = {
    "an activation": (net(rnn=REC, fc=FC, f=TANH), f"my.Net, fc, f: {NO_CODE}", True),
    "hooks around it": (
        module("my.Net", None, {"rnn": REC}, _forward_hooks=HOOKS),
        f"my.Net: {NO_CODE}",
        True,
    ),
    "arrays of its own": (module("my.Net", {"scale": vector(3)}, {"rnn": REC}), NO_CODE, True),
    "a table that is renormalized": (net(emb=NORMED, rnn=REC), f"my.Net, emb: {NO_CODE}", True),
    "a linear layer with the name of a table": (
        net(emb=module(f"{NN}linear.Linear", {"weight": matrix(7, 2)}), rnn=REC),
        f"my.Net, emb: {NO_CODE}",
        True,
    ),
    "two linear layers": (net(a=FC, rnn=REC, fc=FC), "a, fc: a state dict does not tell", False),
    "a class of its own": (net(rnn=module("my.LSTM", LSTM)), f"my.Net, rnn: {NO_CODE}", False),
    "hooks": (HOOKED, f"rnn.LSTM: {NO_CODE}", False),
    "another array": (
        module(f"{NN}rnn.LSTM", LSTM | {"mask": vector(3)}),
        "mask: a state dict does not tell",
        False,
    ),
    "quantized": (net(rnn=QUANTIZED), "rnn: is quantized", False),
    "computed": (
        net(rnn=module(f"{NN}rnn.LSTM", MADE)),
        "in layers from 0, got rnn.weight_ih_l0",
        False,
    ),
    "nothing recurrent": (net(fc=FC), "holds no recurrent layer", False),
}


@pytest.mark.parametrize(("saved", "why", "alone"), REFUSED.values(), ids=REFUSED)
def test_whole_models_are_refused(tmp_path: Path, saved: bytes, why: str, alone: bool) -> None:
    path = write(tmp_path / "w.pt", saved)
    message = refusal(path)
    assert why in message
    if alone:
        assert message.endswith(WAY_OUT)
        assert layers(load(path, layer="rnn")[0]) == "LSTM 3"
        assert [run["layer"] for run in inspect(path)["runs"]] == ["rnn"]


NOTE = "does not hold the code of my.Net: it is read as a state dict"
FITS = "as the shapes fit: `layer` rnn takes that alone"
WITH = "`chain` rnn:tanh,fc:softmax has them, `layer` rnn takes that alone"
ABOVE = f"fc is read as a linear layer above rnn, as the shapes fit, without activations: {WITH}"
BELOW = f"emb is read as an embedding below rnn, {FITS}"
EMB = module(f"{NN}sparse.Embedding", TABLE, max_norm=NONE)
WHOLE: dict[str, tuple[bytes, str, list[str]]] = {
    "a class around it": (net(rnn=REC), "LSTM 3", [NOTE]),
    "a head": (net(rnn=REC, fc=FC), "LSTM 3, Dense 4", [ABOVE, NOTE]),
    "a dictionary": (mapping({"rnn": REC, "fc": FC}), "LSTM 3, Dense 4", [ABOVE]),
    "a table, and dropout": (
        net(emb=EMB, drop=module(f"{NN}dropout.Dropout"), rnn=REC, fc=FC),
        "Embedding 2, LSTM 3, Dense 4",
        [BELOW, ABOVE.replace("rnn:", "emb,rnn:"), NOTE],
    ),
}


@pytest.mark.parametrize(("saved", "expected", "notes"), WHOLE.values(), ids=WHOLE)
def test_whole_models_as_state_dicts(
    tmp_path: Path, saved: bytes, expected: str, notes: list[str]
) -> None:
    network, found = load(write(tmp_path / "w.pt", saved))
    assert (layers(network), found) == (expected, notes)


def test_modules_are_picked(tmp_path: Path) -> None:
    path = write(tmp_path / "w.pt", net(enc=net(rnn=REC, fc=FC), dec=REC))
    assert layers(load(path, layer="enc.rnn")[0]) == "LSTM 3"
    assert layers(load(path, layer="enc")[0]) == "LSTM 3, Dense 4"
    assert layers(load(path, layer="dec")[0]) == "LSTM 3"
    assert refusal(path, layer="x").startswith("has no layer x; it has ")


def test_the_mode_of_a_module_tells_its_activation(tmp_path: Path) -> None:
    changed = {"mode": text("RNN_RELU"), "nonlinearity": text("tanh")}
    path = write(tmp_path / "w.pt", mapping({"net": module(f"{NN}rnn.RNN", RNN, **changed)}))
    network, notes = load(path)
    assert (str(network.layers[0].cells[0].settings["activation"]), notes) == ("relu", [])


def test_a_state_dict_of_a_file_with_a_module(tmp_path: Path) -> None:
    ema = mapping({f"rnn.{key}": each for key, each in RNN.items()})
    path = write(tmp_path / "w.pt", mapping({"net": REC, "ema": ema}))
    assert refusal(path).startswith("holds several recurrent modules: net, ema.rnn")
    assert layers(load(path, layer="net")[0]) == "LSTM 3"
    assert layers(load(path, layer="ema")[0]) == "RNN 3"


# TorchScript.

# As torch.jit writes it, without what is left out here.
FORWARD = """class Net(Module):
  def forward(self, x: Tensor, h: Optional[Tensor]=None) -> Tensor:
    {}
  def itself(self, x: Tensor) -> Tensor:
    return (self).itself(x, )
"""
MODULES = {
    "rnn": """class LSTM(Module):
  def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
    h = torch.zeros([1, torch.size(x, 0), 3], dtype=6, layout=None)
    weights = [self.weight_ih_l0, self.weight_hh_l0]
    if torch.__not__(torch.eq(torch.dim(x), 3)):
      ops.prim.RaiseException("2D", "builtins.ValueError")
    else:
      pass
    y, h_n, c_n = torch.lstm(x, [h, h], weights, False, 1, 0., False, False, True)
    return (y, h_n)
""",
    "linear": """class Linear(Module):
  def forward(self, x: Tensor) -> Tensor:
    return torch.linear(x, self.weight, self.bias)
""",
    "conv": """class Conv1d(Module):
  def forward(self, x: Tensor) -> Tensor:
    return torch.conv1d(x, self.weight, None, [1], [1])
""",
}
ROWS = "o, s, = (self.rnn).forward(x, )"
HEAD = "(self.fc).forward({}, )"
WEIGHTS = "w = [self.rnn.weight_ih_l0, self.rnn.weight_hh_l0]"
FLIPPED = "o, s, = (self.rnn).forward(torch.flip(x, [1]), )"
# The body of forward, and the layers.
CALLS: dict[str, tuple[str, str]] = {
    "no head": (f"{ROWS}; return (o, s)", "LSTM 3"),
    "a head": (f"{ROWS}; return {HEAD.format('o')}", "LSTM 3, Dense 4"),
    "an activation": (f"{ROWS}; return torch.relu({HEAD.format('o')})", "LSTM 3, Dense 4"),
    "softplus": (f"{ROWS}; return torch.softplus(o, 1, 20)", "LSTM 3, Pointwise 3"),
    "hardsigmoid": (f"{ROWS}; return torch.hardsigmoid(o)", "LSTM 3, Pointwise 3"),
    "below": ("return ((self.rnn).forward((self.below).forward(x, ), ))[0]", "Dense 2, LSTM 3"),
    "the last row": (f"{ROWS}; return torch.select(torch.slice(o, 0), 1, -1)", "LSTM 3"),
    "the last state": (f"{ROWS}; return torch.select(s, 0, -1)", "LSTM 3"),
    "a mean": (f"{ROWS}; return torch.mean(o, [1])", "LSTM 3, whole sequences: ReduceMean"),
    "some units": (f"{ROWS}; return torch.slice(o, 2, 1)", "LSTM 3, rows: Slice"),
    "two paths": (f"{ROWS}; return torch.add(o, torch.mul(o, 2.5))", "LSTM 3, rows: Mul Add"),
    "reshaped": (
        f"{ROWS}; n = torch.size(o, 0); t = torch.size(o, 1)"
        f"; return torch.view({HEAD.format('torch.view(o, [torch.mul(n, t), 3])')}, [n, t, 4])",
        "LSTM 3, Dense 4",
    ),
    "a convolution": (
        "y = (self.conv).forward(torch.transpose(x, 1, 2), ); y = torch.transpose(y, 1, 2)"
        "; o, s, = (self.rnn).forward(y, ); return o",
        "whole sequences: Conv, LSTM 3",
    ),
    "training without dropout": (
        f"{WEIGHTS}; h = torch.zeros([1, torch.size(x, 0), 3])"
        "; y, h, c = torch.lstm(x, [h, h], w, False, 1, 0.5, True, False, True)"
        "; return torch.dropout(y, 0., True)",
        "LSTM 3",
    ),
    "a pool": (
        "y = torch.max_pool1d(torch.transpose(x, 1, 2), [3], [2], [1], [1], False)"
        "; o, s, = (self.rnn).forward(torch.transpose(y, 1, 2), ); return o",
        "LSTM 3",
    ),
    "a repeated state": (
        f"{ROWS}; s = torch.repeat(torch.unsqueeze(torch.select(s, 0, -1), 1), [1, 2, 1])"
        "; return torch.mean(torch.add(torch.mean(s, [1], True), o), [1])",
        "LSTM 3, ",
    ),
    "an expanded state": (
        f"{ROWS}; s = torch.unsqueeze(torch.select(s, 0, -1), 1)"
        "; return torch.expand(s, [-1, torch.size(x, 1), -1])",
        "LSTM 3, ",
    ),
    "a constant branch": (
        f"if torch.__is__(h, None):\n      {ROWS}\n    else:\n      o = x\n    return o",
        "LSTM 3",
    ),
}
IN_TRAINING = "was traced or exported in training mode: call model.eval() before"
UNREAD: dict[str, tuple[str, str]] = {
    "an unknown function": (f"{ROWS}; return torch.lgamma(o)", "calls lgamma in a way"),
    "other arguments": (f"{ROWS}; return torch.add(o, o, alpha=2)", "calls add in a way"),
    "another softplus": (f"{ROWS}; return torch.softplus(o, 2)", "calls softplus in a way"),
    "training": (f"{ROWS}; return torch.dropout(o, 0.5, True)", IN_TRAINING),
    "statistics in training": (
        f"{ROWS}; w = self.fc.bias; return torch.batch_norm(o, w, w, w, w, True, 0.1, 1e-05, True)",
        IN_TRAINING,
    ),
    "turned": (f"{FLIPPED}; return o", "gives "),
    "a recurrent module in training": (
        f"{WEIGHTS}; h = torch.zeros([1, torch.size(x, 0), 3])"
        "; y, h, c = torch.lstm(x, [h, h], w, False, 2, 0.5, True, False, True); return y",
        IN_TRAINING,
    ),
    "weights of another number": (
        f"{WEIGHTS}; y, h, c = torch.lstm(x, [x, x], w, True, 1, 0., False, False, True); return y",
        "calls lstm in a way",
    ),
    "a loop": (f"for i in x:\n      {ROWS}\n    return o", "(For) that is not read"),
    "a branch": (f"if torch.gt(torch.size(x, 0), 1):\n      {ROWS}\n    return o", "branches"),
    "lists in lists": ("a = [1]; " + "a = [a, a]; " * 60 + "return torch.cat(a)", "calls cat in"),
    "itself": ("return (self).itself(x, )", "recursion"),
    "many nodes": (
        f"{ROWS}; " + "o = torch.neg(o); " * 2000 + "return o",
        "is made of over 1,250 operators",
    ),
    "deep code": (f"return {'-' * 9999}x", "has no code of __torch__.my.Net"),
}


def scripted(path: Path, body: str) -> Path:
    """Write a model of TorchScript with such a forward."""
    held = {
        "rnn": script(f"{NN}rnn.LSTM", LSTM),
        "fc": script(f"{NN}linear.Linear", {"weight": matrix(4, 3), "bias": vector(4)}),
        "below": script(f"{NN}linear.Linear", {"weight": matrix(2, 2), "bias": vector(2)}),
        "conv": script(f"{NN}conv.Conv1d", {"weight": tensor("0", (2, 2, 3), (6, 3, 1))}),
    }
    code = {f"code/__torch__/torch/nn/modules/{n}.py": c.encode() for n, c in MODULES.items()}
    code["code/__torch__/my.py"] = FORWARD.format(body).encode() if body else b""
    path.write_bytes(archive(script("my.Net", held), STORED, **code))
    return path


@pytest.mark.parametrize(("body", "found"), CALLS.values(), ids=CALLS)
def test_forward_of_torchscript(tmp_path: Path, body: str, found: str) -> None:
    network, notes = load(scripted(tmp_path / "w.pt", body))
    assert layers(network).startswith(found)
    assert notes == []


def test_what_forward_gives(tmp_path: Path) -> None:
    x = np.random.RandomState(0).normal(size=(3, 5, 2)).astype("f")
    runs: dict[str, Any] = {}
    for way in ("no head", "a head", "the last row", "the last state", "some units", "two paths"):
        network, _ = load(scripted(tmp_path / "w.pt", CALLS[way][0]))
        assert network.last == ("state" if "last" in way else None)
        runs[way] = network, rnncli.run(network, x)
    h, (network, run) = runs["no head"][1].h, runs["a head"]
    np.testing.assert_array_equal(run.y, network.layers[1](h))
    np.testing.assert_array_equal(runs["some units"][1].y, h[..., 1:])
    np.testing.assert_allclose(runs["two paths"][1].y, 3.5 * h, atol=1e-6)


# What becomes of the rows h of T steps; whole numbers become floats where PyTorch does so.
NUMBERS: dict[str, tuple[str, Any]] = {
    "a root": ("torch.mul(o, torch.pow(torch.size(o, 1), 0.5))", lambda h, T: h * T**0.5),
    "a negative power": ("torch.mul(o, torch.pow(torch.size(o, 1), -1))", lambda h, T: h / T),
    "a whole power": ("torch.div(o, torch.pow(torch.size(o, 1), 2))", lambda h, T: h / T**2),
    "a quotient": ("torch.mul(o, torch.div(torch.size(o, 1), 2))", lambda h, T: h * (T / 2)),
    "a reciprocal": ("torch.mul(o, torch.reciprocal(torch.size(o, 1)))", lambda h, T: h / T),
    "a root below": ("torch.mul(o, torch.rsqrt((torch.size(o))[-2]))", lambda h, T: h * T**-0.5),
    "a whole number": (
        "torch.mul(o, int(torch.mul(torch.size(o, 1), 0.3)))",
        lambda h, T: h * int(T * 0.3),
    ),
    "a constant": ("torch.mul(o, int(2.7))", lambda h, _: h * 2),
    "positions": (
        "torch.add(o, torch.unsqueeze(torch.div(torch.arange(torch.size(o, 1)), 7), 1))",
        lambda h, T: h + np.arange(T)[:, None] / 7,
    ),
    "float32": ("torch.div(torch.to(torch.to(torch.mul(o, 9), 4), 6), 7)", lambda h, _: trunc(h)),
    "float16": ("torch.to(torch.to(o, 5), 6)", lambda h, _: h.astype("f2")),
    "a repeated state": (
        "torch.mul(torch.repeat(torch.unsqueeze(torch.select(s, 0, -1), 1)"
        ", [1, torch.size(o, 1), 1]), 2.)",
        lambda h, T: 2 * np.repeat(h[:, -1:], T, axis=1),
    ),
    "shares of a repeated row": (
        "torch.mul(torch.softmax(torch.expand(torch.slice(o, 1, -1)"
        ", [-1, torch.size(o, 1), -1]), 1), o)",
        lambda h, T: h / T,
    ),
    "means of neighbours": (
        "torch.transpose(torch.avg_pool1d(torch.transpose(o, 1, 2), [3], [1], [1]), 1, 2)",
        lambda h, T: sum(np.pad(h, ((0, 0), (1, 1), (0, 0)))[:, k : k + T] for k in range(3)) / 3,
    ),
    "from one": ("torch.rsub(o, 1)", lambda h, _: 1 - h),
    "ends": ("torch.clamp(o, -0.1, 0.2)", lambda h, _: h.clip(-0.1, 0.2)),
    "a lower end": ("torch.clamp(o, 0)", lambda h, _: h.clip(0)),
    "the larger": ("torch.maximum(torch.sin(o), torch.cos(o))", lambda h, _: larger(h)),
    "the smaller": ("torch.minimum(o, torch.neg(o))", lambda h, _: -np.abs(h)),
    "sums of steps": ("torch.cumsum(o, 1)", lambda h, _: h.cumsum(1)),
    "chunks": (
        "torch.cat([(torch.chunk(o, 2, -1))[1], (torch.chunk(o, 2, -1))[0]], -1)",
        lambda h, _: h[..., [2, 0, 1]],
    ),
    "a stack": ("torch.sum(torch.stack([o, torch.mul(o, o)], -1), [-1])", lambda h, _: h + h * h),
    "zeros before": (
        "torch.sub(o, torch.slice(torch.pad(torch.mul(o, 2.), [0, 0, 1, 0]), 1, 0, -1))",
        lambda h, _: h - 2 * np.pad(h, [(0, 0), (1, 0), (0, 0)])[:, :-1],
    ),
    "swapped axes": ("torch.mul(torch.swapaxes(torch.mT(o), 1, 2), 2.)", lambda h, _: 2 * h),
    "batches of products": ("torch.bmm(o, torch.bmm(torch.mT(o), o))", lambda h, _: h @ (h.mT @ h)),
    "products": ("torch.matmul(o, torch.matmul(torch.mT(o), o))", lambda h, _: h @ (h.mT @ h)),
}


def larger(h: Any) -> Any:
    return np.maximum(np.sin(h), np.cos(h))


def trunc(h: Any) -> Any:
    return np.trunc(h * 9) / 7


@pytest.mark.parametrize("case", NUMBERS)
@pytest.mark.parametrize("T", [9, 5])
def test_numbers_of_torchscript(tmp_path: Path, case: str, T: int) -> None:
    body, expected = NUMBERS[case]
    network, notes = load(scripted(tmp_path / "w.pt", f"{ROWS}; return {body}"))
    run = rnncli.run(network, np.random.RandomState(T).normal(size=(2, T, 2)))
    assert run.y is not None
    np.testing.assert_allclose(run.y, expected(run.h, T), rtol=2e-6, atol=1e-7)
    assert len(notes) == (case == "float16")


@pytest.mark.parametrize(("body", "why"), UNREAD.values(), ids=UNREAD)
def test_forward_that_is_refused(tmp_path: Path, body: str, why: str) -> None:
    path = scripted(tmp_path / "w.pt", body)
    message = refusal(path)
    assert why in message
    assert message.endswith(WAY_OUT)
    assert layers(load(path, layer="rnn")[0]) == "LSTM 3"
