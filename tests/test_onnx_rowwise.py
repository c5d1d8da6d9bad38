"""ONNX nodes that make something of each row: what is refused, and how the message names it."""

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import Graph, ints
from test_onnx_graph import FAR, Build, refusal, took

ROWS: list[tuple[str, Build]] = [
    ("Cos_2: operator Cos is not read", lambda g: g.add("Cos", g.rows())),
    ("Erf_2: Erf is not read here", lambda g: g.add("Erf", g.rows())),
    (
        "Add_3: Add is not read here",
        lambda g: g.add("Add", (rows := g.rows()), g.add("Relu", rows)),
    ),
    (
        "Mul_4: brings two paths together",
        lambda g: g.add(
            "Mul", (rows := g.rows()), took(g, g.add("Sigmoid", rows), 0, -1, -FAR, -1)
        ),
    ),
    ("ReduceMean_2: averages steps", lambda g: g.add("ReduceMean", g.rows(), axes=[0])),
    ("Softmax_2: takes another axis for features", lambda g: g.add("Softmax", g.rows(), axis=0)),
    (
        "BatchNormalization_2: takes another axis for",
        lambda g: g.add("BatchNormalization", g.rows(), *(g.draw(3) for _ in range(4))),
    ),
    ("Add_2: takes another axis for features than", lambda g: g.add("Add", g.rows(), g.draw(3, 1))),
    (
        "Gemm_3: takes another axis for features than",
        lambda g: g.add("Gemm", g.add("Gather", g.rows(), g.array(-1)), g.draw(3, 2), g.draw(2, 1)),
    ),
    ("Mul_2: has a constant of shape (4, 1, 3)", lambda g: g.add("Mul", g.rows(), g.draw(4, 1, 3))),
    ("Add_2: input 2: expected 3 values, got shape", lambda g: g.add("Add", g.rows(), g.draw(4))),
    (
        "Add_2: input 2: expected floats, got int64",
        lambda g: g.add("Add", g.rows(), g.array(ints(1, 2, 3))),
    ),
    ("Div_2: divides a constant by rows", lambda g: g.add("Div", g.draw(3), g.rows())),
    (
        "MatMul_2: input 2: expected shape (I, O), got",
        lambda g: g.add("MatMul", g.rows(), g.draw(1, 3, 2)),
    ),
    ("MatMul_2: input 1: expected rows, got a", lambda g: g.add("MatMul", g.draw(3, 3), g.rows())),
    (
        "Gemm_3: multiplies other axes than those of",
        lambda g: g.add("Gemm", g.add("Flatten", g.rows(), axis=2), g.draw(3, 2), transA=1),
    ),
    ("PRelu_2: PRelu with a slope for each feature", lambda g: g.add("PRelu", g.rows(), g.draw(3))),
    (
        "PRelu_2: activation leaky_relu: alpha is not",
        lambda g: g.add("PRelu", g.rows(), g.array(np.float32("nan"))),
    ),
    (
        "Mul_3: Mul is not read here",
        lambda g: g.add("Mul", (rows := g.rows()), g.add("HardSigmoid", rows, alpha=0.16666)),
    ),
    (
        "Mul_6: Mul is not read here",
        lambda g: g.add(
            "Mul",
            (rows := g.rows()),
            g.add(
                "Mul",
                g.add(
                    "Add",
                    g.add("Erf", g.add("Mul", rows, g.array(np.float32(0.7072)))),
                    g.array(np.float32(1)),
                ),
                g.array(np.float32(0.5)),
            ),
        ),
    ),
    ("Selu_2: Selu with alpha 1 and gamma 1.0507 is", lambda g: g.add("Selu", g.rows(), alpha=1.0)),
    (
        "Gelu_2: Gelu approximated by 'erf' is not read",
        lambda g: g.add("Gelu", g.rows(), approximate="erf"),
    ),
    (
        "LayerNormalization_2: normalizes several axes",
        lambda g: g.add("LayerNormalization", g.rows(), g.draw(3), axis=1),
    ),
    (
        "BatchNormalization_2: BatchNormalization that",
        lambda g: g.add(
            "BatchNormalization", g.rows(), *(g.draw(3) for _ in range(4)), training_mode=1
        ),
    ),
    (
        "Dropout_2: Dropout that is being trained is",
        lambda g: g.add("Dropout", g.rows(), g.array(np.float32(0.5)), g.array(np.array(True))),
    ),
    ("Add_2: takes b, which no node before it gives", lambda g: g.add("Add", g.rows(), "b")),
    ("Cast_2: casts rows to int64", lambda g: g.add("Cast", g.rows(), to=7)),
    (
        "Gather_2: looks up what is computed in the",
        lambda g: g.add("Gather", g.draw(7, 2), g.rows()),
    ),
    (
        "Gather_0: looks up in what is no table of rows",
        lambda g: g.add("Gather", g.draw(7, 2, 2), "x"),
    ),
]


@pytest.mark.parametrize(("why", "build"), ROWS)
def test_refused(why: str, build: Build, tmp_path: Path) -> None:
    graph = Graph()
    output = build(graph)
    assert why in refusal(tmp_path, graph.model(output))
