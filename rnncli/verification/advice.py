"""Advice on a result that differs, where no cause reproduces it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from rnncli.model.cells import RNN
from rnncli.verification.case import Case
from rnncli.verification.comparison import Comparison
from rnncli.verification.diagnosis import BUDGET, Diagnosis

# Differences below this share of the largest value are small.
SMALL = 0.02
# How frameworks give the states of a layer.
SAVES = {
    "Keras": 'keras.Model(model.inputs, model.get_layer("{}").output).predict(x)',
    "PyTorch": "h, _ = model.{}(x)",
    "ONNX Runtime": "model.graph.output.append(onnx.helper.make_empty_tensor_value_info("
    "node.output[0])), where node is {}",
}


def advise(
    comparison: Comparison, result: Mapping[str, Any], diagnosis: Diagnosis
) -> Iterator[str]:
    """Describe the first wrong value, what it says, the nearest causes and what to compare next."""
    case, first = comparison.case, result["first"]
    key = f"sequence {first.get('key', first['sequence'])}, " if len(case.h0) > 1 else ""
    yield (
        f"First wrong value: {key}step {first['step']}, unit {first['unit']}: "
        f"{first['expected']!r} in the file, {first['actual']!r} by rnn."
    )
    layers, ours = case.network.layers, np.abs(comparison.ours).max()
    recurrent = [n for n, layer in enumerate(layers) if layer.cells]
    one_layer = len(layers) == 1 and not case.network.needs_whole_sequences
    if re.search(r"in unit \d+ alone", result["where"]) and one_layer and not case.network.last:
        unit = first["unit"]
        yield (
            f"The other units are right: look at the weights of unit {unit}, column {unit} of each "
            f"gate; rnn explain with `step` {first['step']} and `unit` {unit} shows its sums."
        )
    elif result["difference"] < SMALL * ours:
        yield (
            f"All differences are small, at most {result['difference'] / ours:.1g} of the largest "
            "value: look for a lower precision, a quantised model, or functions from a table."
        )
    elif one_layer and not case.network.last:
        yield _explain_step(case, first["step"])
    elif recurrent and (name := layers[recurrent[0]].name):
        yield f"Save the states of {name} in the port and compare them by `layer` {name}:"
        for framework, code in SAVES.items():
            yield f"  {framework}: {code.format(name)}"
    elif case.network.last:
        yield "Save the states of every step in the port and compare them by `no_last`."
    if diagnosis.nearest:
        words = [f"{name} (leaves {share:.0%})" for name, share in [*diagnosis.nearest.items()][:2]]
        yield f"Nearest causes: {'; '.join(words)}."
    if diagnosis.stopped:
        yield f"Not all causes were tried: rnn stops after {BUDGET:g} s."


def _explain_step(case: Case, step: int) -> str:
    """Describe where to look, from the first wrong step of a single layer."""
    plain = isinstance(case.network.layers[0].cells[0], RNN)
    if step > 1:
        gates = "" if plain else ", the gate that keeps it"
        right = "the input, W_xh, the biases and the functions are"
        return f"Step 1 is right, so {right}: look at W_hh{gates}, and how the state is carried."
    gates = "" if plain else ", the order of the gates"
    start = "the initial state, " if case.h0.any() else ""
    return f"Step 1 is wrong: look at {start}the input, W_xh, the biases{gates} and the functions."
