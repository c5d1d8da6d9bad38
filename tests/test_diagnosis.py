"""Mistakes in a port of vanilla cells: each is made by a loop of its own, and named alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

import rnncli
from rnncli.model.arrays import Floats
from rnncli.verify.case import Case
from rnncli.verify.comparison import Tolerance
from rnncli.verify.diagnosis import explain

I, H, N, T = 3, 5, 4, 40
LENGTHS = np.array([T, 33, 9, 38])
RANDOM = np.random.RandomState(5)
X = RANDOM.normal(size=(N, T, I)).astype(np.float32)


class Drawn(NamedTuple):
    """The weights of a cell."""

    W_xh: Floats
    W_hh: Floats
    b_h: Floats


Stack = list[list[Drawn]]
Merge = Callable[[Floats, Floats], Floats]


def concat(a: Floats, b: Floats) -> Floats:
    return np.concatenate([a, b], axis=1)


def drawn(layers: int, directions: int = 1, width: int = 0) -> Stack:
    """Draw the weights of a stack; `width` is what a layer gives, if it is not concatenated."""
    random, size, stack = np.random.RandomState(6), I, []
    for _ in range(layers):
        stack.append(
            [
                Drawn(
                    *(random.uniform(-0.6, 0.6, s).astype("f") for s in ((size, H), (H, H), (H,)))
                )
                for _ in range(directions)
            ]
        )
        size = width or H * directions
    return stack


def states(
    cell: Drawn, x: Floats, h: Floats | float = 0.0, f: Callable[..., Floats] = np.tanh
) -> Floats:
    """Run one cell forward in float64."""
    W_xh, W_hh, b_h = (array.astype(np.float64) for array in cell)
    state: Floats = h + np.zeros(len(b_h))
    rows = []
    for x_t in x:
        state = f(x_t @ W_xh + state @ W_hh + b_h)
        rows.append(state)
    return np.array(rows).reshape(len(x), -1)


def both(cells: Sequence[Drawn], x: Floats, merge: Merge = concat) -> Floats:
    """Run a layer: the second cell, if there is one, backward."""
    forward = states(cells[0], x)
    return forward if len(cells) == 1 else merge(forward, states(cells[1], x[::-1])[::-1])


def outputs(stack: Stack, x: Floats, merge: Merge = concat) -> Floats:
    for cells in stack:
        x = both(cells, x, merge)
    return x


def batched(run: Callable[[Floats], Floats], x: Floats = X, lengths: Floats = LENGTHS) -> Floats:
    """Run each sequence alone; rows beyond its end are zeros."""
    return np.array(
        [
            np.pad(run(row[:length]), ((0, len(row) - length), (0, 0)))
            for row, length in zip(x, lengths, strict=True)
        ]
    )


def case_of(stack: Stack, merge: str = "concat", h0: float = 0.0, **settings: Any) -> Case:
    direction = "bidirectional" if len(stack[0]) > 1 else "forward"
    network = rnncli.Network(
        *(
            rnncli.Recurrent(
                *(rnncli.RNN(rnncli.Weights(*cell), **settings) for cell in cells),
                direction=direction,
                merge=merge,
            )
            for cells in stack
        )
    )
    return Case(network, X, np.full((N, network.state_size), h0, "f"), LENGTHS)


ONE, TWO, BOTH, FOUR = drawn(1), drawn(2), drawn(1, 2), drawn(2, 2)
SUMMED = drawn(1, 2, width=H)
(CELL,) = ONE[0]


def with_cell(stack: Stack, layer: int, direction: int, **arrays: Floats) -> Stack:
    changed = [list(cells) for cells in stack]
    changed[layer][direction] = stack[layer][direction]._replace(**arrays)
    return changed


def weights(change: Callable[[Floats], Floats], stack: Stack = ONE) -> Stack:
    return [[Drawn(*map(change, cell)) for cell in cells] for cells in stack]


def bfloat16(W: Floats) -> Floats:
    """Round to 8 bits of a significand, halves to even."""
    fraction, exponent = np.frexp(W.astype(np.float64))
    return np.asarray(np.ldexp(np.rint(fraction * 256) / 256, exponent))


def int8(axis: int | None) -> Callable[[Floats], Floats]:
    def rounded(W: Floats) -> Floats:
        if W.ndim == 1:
            return W
        scale = np.abs(W.astype(np.float64)).max(axis=axis, keepdims=True) / 127
        return np.asarray(np.round(W / scale) * scale)

    return rounded


def carried(stack: Stack) -> Floats:
    """Start each sequence where the one before it ended."""
    ends, rows = [0.0] * len(stack[0]), []
    for x, length in zip(X, LENGTHS, strict=True):
        each = []
        for n, (cell, turn) in enumerate(zip(stack[0], (1, -1), strict=False)):
            h = states(cell, x[:length][::turn], ends[n])
            ends[n] = h[-1]
            each.append(h[::turn])
        rows.append(np.pad(np.concatenate(each, axis=1), ((0, T - length), (0, 0))))
    return np.array(rows)


def forward_alone(layer: int) -> Callable[[Floats], Floats]:
    """Leave the backward cell of one layer unturned."""

    def run(x: Floats) -> Floats:
        for n, cells in enumerate(FOUR):
            x = concat(*(states(cell, x) for cell in cells)) if n == layer else both(cells, x)
        return x

    return run


NO_BIAS = np.zeros(H)
MISTAKES: dict[str, tuple[Case, Floats]] = {
    "biases added twice": (
        case_of(ONE),
        batched(lambda x: states(CELL._replace(b_h=2 * CELL.b_h), x)),
    ),
    "no recurrence: W_hh is left out": (
        case_of(ONE),
        batched(lambda x: states(CELL._replace(W_hh=0 * CELL.W_hh), x)),
    ),
    "state carried from sequence to sequence, both directions": (case_of(BOTH), carried(BOTH)),
    "`h0` left out": (case_of(ONE, h0=0.5), batched(lambda x: states(CELL, x))),
    "weights rounded to float16": (
        case_of(TWO),
        batched(lambda x: outputs(weights(lambda W: W.astype(np.float16), TWO), x)),
    ),
    "weights rounded to bfloat16": (
        case_of(ONE),
        batched(lambda x: outputs(weights(bfloat16), x)),
    ),
    "weights but for biases rounded to bfloat16": (
        case_of(ONE),
        batched(lambda x: outputs(weights(lambda W: bfloat16(W) if W.ndim > 1 else W), x)),
    ),
    "weights rounded to int8": (case_of(ONE), batched(lambda x: outputs(weights(int8(None)), x))),
    "weights rounded to int8, a scale for each unit": (
        case_of(ONE),
        batched(lambda x: outputs(weights(int8(0)), x)),
    ),
    "features permuted: 1 2 0": (case_of(ONE), batched(lambda x: states(CELL, x[:, [1, 2, 0]]))),
    "forward and backward halves exchanged in every layer": (
        case_of(FOUR),
        batched(lambda x: outputs(FOUR, x, lambda forward, backward: concat(backward, forward))),
    ),
    "no bias in layer 2": (
        case_of(TWO),
        batched(lambda x: outputs(with_cell(TWO, 1, 0, b_h=NO_BIAS), x)),
    ),
    "W_hh transposed in layer 1": (
        case_of(TWO),
        batched(lambda x: outputs(with_cell(TWO, 0, 0, W_hh=TWO[0][0].W_hh.T), x)),
    ),
    "no bias in the backward direction": (
        case_of(BOTH),
        batched(lambda x: outputs(with_cell(BOTH, 0, 1, b_h=NO_BIAS), x)),
    ),
    "W_hh transposed in the forward direction of layer 2": (
        case_of(FOUR),
        batched(lambda x: outputs(with_cell(FOUR, 1, 0, W_hh=FOUR[1][0].W_hh.T), x)),
    ),
    "the backward direction not reversed": (
        case_of(BOTH),
        batched(lambda x: concat(*(states(cell, x) for cell in BOTH[0]))),
    ),
    "the backward direction not reversed in layer 1": (case_of(FOUR), batched(forward_alone(0))),
    "weights of the two directions exchanged": (
        case_of(FOUR),
        batched(lambda x: outputs([cells[::-1] for cells in FOUR], x)),
    ),
    "weights of the two directions exchanged in layer 2": (
        case_of(FOUR),
        batched(lambda x: outputs([FOUR[0], FOUR[1][::-1]], x)),
    ),
    "`merge` sum": (
        case_of(SUMMED, "ave"),
        batched(lambda x: outputs(SUMMED, x, np.add)),
    ),
    "`merge` ave": (
        case_of(SUMMED, "mul"),
        batched(lambda x: outputs(SUMMED, x, lambda a, b: (a + b) / 2)),
    ),
    "`activation` leaky_relu:0.2": (
        case_of(ONE, activation="leaky_relu"),
        batched(lambda x: states(CELL, x, f=lambda a: np.where(a < 0, 0.2 * a, a))),
    ),
    "final states alone": (
        case_of(BOTH),
        np.array(
            [
                [*outputs(BOTH, x[:n])[-1, :H], *outputs(BOTH, x[:n])[0, H:]]
                for x, n in zip(X, LENGTHS, strict=True)
            ]
        )[:, None],
    ),
    "the last output alone, where a backward direction has but begun": (
        case_of(BOTH),
        np.array([outputs(BOTH, x[:n])[-1] for x, n in zip(X, LENGTHS, strict=True)])[None],
    ),
}


def is_slow(case: Case) -> bool:
    """Return whether there are so many cells that each alone takes a while."""
    return len(case.network.state_slices) * len(case.network.state_slices[0]) > 2


STACKS = [
    pytest.param(ONE, id="one"),
    pytest.param(TWO, id="two"),
    pytest.param(BOTH, id="both", marks=pytest.mark.slow),
    pytest.param(FOUR, id="four", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        pytest.param(name, made, id=name, marks=[pytest.mark.slow] * is_slow(made[0]))
        for name, made in MISTAKES.items()
    ],
)
def test_a_mistake_is_named_and_no_other(name: str, made: tuple[Case, Floats]) -> None:
    case, theirs = made
    found = explain(case, theirs.astype(np.float32))
    (only,) = found
    assert name.startswith(only)
    # Float32 sums of some ten terms, in networks that are nearly contracting.
    assert found[only] < 2e-5


def scaled(h: Floats) -> Floats:
    h = h.copy()
    h[..., 1] *= 1.01
    return h


UNNAMED: dict[str, Callable[[Floats], Floats]] = {
    "noise": lambda h: h + 1e-3 * np.random.RandomState(0).normal(size=h.shape),
    "a unit scaled": scaled,
    "a unit late": lambda h: np.concatenate([np.roll(h[..., :1], 1, axis=1), h[..., 1:]], axis=2),
    "a sequence wrong": lambda h: h * np.array([1, 1, 1, -1])[:, None, None],
    "rows from a half on wrong": lambda h: h * np.where(np.arange(T) < T // 2, 1, 0.9)[:, None],
    "zeros": np.zeros_like,
    "ones": np.ones_like,
}


@pytest.mark.parametrize("stack", STACKS)
@pytest.mark.parametrize("wrong", UNNAMED.values(), ids=UNNAMED)
def test_what_is_wrong_in_another_way_has_no_name(
    stack: Stack, wrong: Callable[[Floats], Floats]
) -> None:
    theirs = wrong(batched(lambda x: outputs(stack, x))).astype(np.float32)
    assert explain(case_of(stack), theirs) == {}


@pytest.mark.parametrize("stack", STACKS)
def test_other_weights_have_no_name(stack: Stack) -> None:
    random = np.random.RandomState(7)
    other = weights(lambda W: random.uniform(-0.6, 0.6, W.shape), stack)
    theirs = batched(lambda x: outputs(other, x)).astype(np.float32)
    assert explain(case_of(stack), theirs) == {}


def test_a_mistake_of_the_first_rows_alone_has_no_name() -> None:
    """The first rows are tried before the rest."""
    theirs = batched(lambda x: states(CELL._replace(b_h=NO_BIAS), x))
    right = batched(lambda x: states(CELL, x))
    theirs[:, T - 1 :] = right[:, T - 1 :]
    assert explain(case_of(ONE), theirs.astype(np.float32)) == {}


def test_of_what_a_tolerance_lets_pass_the_closest_is_named() -> None:
    theirs = batched(lambda x: outputs(weights(lambda W: W.astype(np.float16)), x))
    found = explain(case_of(ONE), theirs.astype(np.float32), Tolerance(atol=1e-3))
    assert list(found) == ["weights rounded to float16"]
