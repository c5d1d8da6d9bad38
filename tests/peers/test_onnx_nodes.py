"""The test cases that come with ONNX, of all operators that are read.

The tolerances are those of the cases.
"""

import warnings
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import rnncli
from rnncli.model.errors import InputError
from rnncli.model.formats.onnx.messages import Reader
from rnncli.model.graph import RefusedError
from rnncli.model.graph.operators import OPERATORS, evaluate
from rnncli.model.graph.recurrent import KINDS

READ = "fiub"  # kinds of element types that are read


@cache
def cases() -> list[Any]:
    """Return the cases of nodes, and of functions as the nodes that they expand to."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    return [case for case in found if case.model is not None]


def is_equal(case: Any, ours: Any, theirs: Any) -> bool:
    same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
    return same and np.allclose(ours, theirs, case.rtol, case.atol, equal_nan=True)


def _as_array(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.generic) else value


def test_operators() -> None:
    ends: Counter[str] = Counter()
    for case in cases():
        graph = Reader("case", memoryview(case.model.SerializeToString())).read()
        nodes = graph.nodes
        if any(node.domain or node.op not in OPERATORS for node in nodes):
            continue
        for data in case.data_sets:
            inputs, outputs = ([_as_array(each) for each in side] for side in data)
            values = {**graph.arrays, **dict(zip(graph.inputs, inputs, strict=True))}
            arrays = [*values.values(), *outputs]
            if not all(isinstance(a, np.ndarray) and a.dtype.kind in READ for a in arrays):
                continue  # such as strings, sequences, and bfloat16
            try:
                ours = evaluate(nodes, values, graph.opset)
            except RefusedError:
                ends["refused"] += 1
                continue
            pairs = zip(graph.outputs, outputs, strict=True)
            read = [(ours[name], y) for name, y in pairs if name in ours]  # masks are not
            assert read, case.name
            for y, expected in read:
                assert is_equal(case, y, expected), case.name
            ends["equal"] += 1
    assert ends["equal"] > 400
    assert ends["refused"] < 110


def with_constants(model: Any, inputs: list[Any]) -> Any:
    """Return a copy of a model whose inputs but the first are constants."""
    copied = onnx.ModelProto.FromString(model.SerializeToString())
    for value, array in zip([*copied.graph.input][1:], inputs[1:], strict=True):
        copied.graph.initializer.append(onnx.numpy_helper.from_array(array, value.name))
    del copied.graph.input[1:]
    return copied


@pytest.mark.filterwarnings("ignore")  # of what is assumed
def test_recurrent_nodes(tmp_path: Path) -> None:
    path, ends = tmp_path / "m.onnx", Counter[str]()
    for case in cases():
        nodes = case.model.graph.node
        if len(nodes) > 1 or nodes[0].op_type not in KINDS:
            continue
        ((x, *weights), outputs) = case.data_sets[0]
        onnx.save(with_constants(case.model, [x, *weights]), str(path))
        try:
            network = rnncli.load(path)
        except InputError:
            ends["refused"] += 1
            continue
        is_batch_first = any(each.name == "layout" and each.i for each in nodes[0].attribute)
        states = rnncli.run(network, x if is_batch_first else x.swapaxes(0, 1))
        final = states.h_n[:, : network.output_size]
        ours = {True: final, False: states.h}[network.last is not None]
        assert np.allclose(ours.ravel(), outputs[0].ravel(), case.rtol, case.atol), case.name
        ends["equal"] += 1
    assert ends["equal"] > 12
    assert ends["refused"] < 3
