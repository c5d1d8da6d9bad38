"""ONNX nodes that make something of each row: what is refused, and how the message names it."""

from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import Graph, ints
from test_onnx_graph import FAR, Build, names_of_recurrent, refusal, took

ROWS: dict[str, tuple[Build, str]] = {
    "an operator": (lambda g: g.add("Cos", g.rows()), "Cos_2: operator Cos is not read"),
    "an operator of constants": (
        lambda g: g.add("Add", g.rows(), g.add("Cos", g.draw(3))),
        "Cos_2: operator Cos is not read",
    ),
    "part of a function": (lambda g: g.add("Erf", g.rows()), "Erf_2: Erf is not read here"),
    "a residual connection": (
        lambda g: g.add("Add", rows := g.rows(), g.add("Relu", rows)),
        "Add_3: Add is not read here",
    ),
    "two paths": (
        lambda g: g.add("Add", g.rows(), g.add("Relu", g.rows("GRU"))),
        "Add_5: Add is not read here",
    ),
    "two paths of which one is turned": (
        lambda g: g.add("Mul", rows := g.rows(), took(g, g.add("Sigmoid", rows), 0, -1, -FAR, -1)),
        "Mul_4: brings two paths together",
    ),
    "an average of steps": (
        lambda g: g.add("ReduceMean", g.rows(), axes=[0]),
        "ReduceMean_2: averages steps",
    ),
    "a softmax of steps": (
        lambda g: g.add("Softmax", g.rows(), axis=0),
        "Softmax_2: takes another axis for features than the layer below",
    ),
    "statistics of sequences": (
        lambda g: g.add("BatchNormalization", g.rows(), *(g.draw(3) for _ in range(4))),
        "BatchNormalization_2: takes another axis for features than the layer below",
    ),
    "a row for each sequence": (
        lambda g: g.add("Add", g.rows(), g.draw(3, 1)),
        "Add_2: takes another axis for features than the layer below",
    ),
    "a bias for each sequence": (
        lambda g: g.add("Gemm", g.add("Gather", g.rows(), g.array(-1)), g.draw(3, 2), g.draw(2, 1)),
        "Gemm_3: takes another axis for features than the layer below",
    ),
    "a factor for each sequence": (
        lambda g: g.add("LayerNormalization", g.rows(), g.draw(3, 1)),
        "LayerNormalization_2: takes another axis for features than the layer below",
    ),
    "a table for each step": (
        lambda g: g.add("Mul", g.rows(), g.draw(4, 1, 3)),
        "Mul_2: has a constant of shape (4, 1, 3)",
    ),
    "more features than there are": (
        lambda g: g.add("Add", g.rows(), g.draw(4)),
        "Add_2: input 2: expected 3 values, got shape (4,)",
    ),
    "a constant of whole numbers": (
        lambda g: g.add("Add", g.rows(), g.array(ints(1, 2, 3))),
        "Add_2: input 2: expected floats, got int64",
    ),
    "a quotient by rows": (
        lambda g: g.add("Div", g.draw(3), g.rows()),
        "Div_2: divides a constant by rows",
    ),
    "weights of three axes": (
        lambda g: g.add("MatMul", g.rows(), g.draw(1, 3, 2)),
        "MatMul_2: input 2: expected shape (I, O), got (1, 3, 2)",
    ),
    "a product from the left": (
        lambda g: g.add("MatMul", g.draw(3, 3), g.rows()),
        "MatMul_2: input 1: expected rows, got a constant",
    ),
    "a product of turned rows": (
        lambda g: g.add("Gemm", g.add("Flatten", g.rows(), axis=2), g.draw(3, 2), transA=1),
        "Gemm_3: multiplies other axes than those of features",
    ),
    "a slope for each feature": (
        lambda g: g.add("PRelu", g.rows(), g.draw(3)),
        "PRelu_2: PRelu with a slope for each feature is not read",
    ),
    "a slope that is no number": (
        lambda g: g.add("PRelu", g.rows(), g.array(np.float32("nan"))),
        "PRelu_2: activation leaky_relu: alpha is not finite: nan",
    ),
    "an alpha that is not finite": (
        lambda g: g.add("Elu", g.rows(), alpha=float("inf")),
        "Elu_2: activation elu: alpha is not finite: inf",
    ),
    "nearly a hard silu": (
        lambda g: g.add("Mul", rows := g.rows(), g.add("HardSigmoid", rows, alpha=0.16666)),
        "Mul_3: Mul is not read here",
    ),
    "nearly a gelu": (
        lambda g: g.add(
            "Mul",
            rows := g.rows(),
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
        "Mul_6: Mul is not read here",
    ),
    "another selu": (
        lambda g: g.add("Selu", g.rows(), alpha=1.0),
        "Selu_2: Selu with alpha 1 and gamma 1.0507 is not read",
    ),
    "another celu": (
        lambda g: g.add("Celu", g.rows(), alpha=2.0),
        "Celu_2: Celu with alpha 2 is not read",
    ),
    "another gelu": (
        lambda g: g.add("Gelu", g.rows(), approximate="erf"),
        "Gelu_2: Gelu approximated by 'erf' is not read",
    ),
    "another swish": (
        lambda g: g.add("Swish", g.rows(), alpha=2.0),
        "Swish_2: Swish with another alpha than 1 is not read",
    ),
    "a normalization of two axes": (
        lambda g: g.add("LayerNormalization", g.rows(), g.draw(3), axis=1),
        "LayerNormalization_2: normalizes several axes",
    ),
    "training": (
        lambda g: g.add(
            "BatchNormalization", g.rows(), *(g.draw(3) for _ in range(4)), training_mode=1
        ),
        "BatchNormalization_2: BatchNormalization that is being trained is not read",
    ),
    "dropping": (
        lambda g: g.add("Dropout", g.rows(), g.array(np.float32(0.5)), g.array(np.array(True))),
        "Dropout_2: Dropout that is being trained is not read",
    ),
    "a value that is not there": (
        lambda g: g.add("Add", g.rows(), "b"),
        "Add_2: takes b, which no node before it gives",
    ),
    "a bias that is not there": (
        lambda g: g.recurrent("RNN", "x", "b"),
        "RNN_0: takes b, which no node before it gives",
    ),
    "numbers that are cut": (
        lambda g: g.add("Cast", g.rows(), to=7),
        "Cast_2: casts rows to int64",
    ),
    "an input that is cut": (
        lambda g: g.rows(rows=g.add("Cast", g.add("Cast", "x", to=7), to=1)),
        "Cast_0: casts rows to int64",
    ),
    "rows that are looked up": (
        lambda g: g.add("Gather", g.draw(7, 2), g.rows()),
        "Gather_2: looks up what is computed in the graph",
    ),
    "a table of three axes": (
        lambda g: g.add("Gather", g.draw(7, 2, 2), "x"),
        "Gather_0: looks up in what is no table of rows",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_refused(case: str, tmp_path: Path) -> None:
    build, expected = ROWS[case]
    graph = Graph()
    output = build(graph)
    assert names_of_recurrent(refusal(tmp_path, graph.model(output))) == expected
