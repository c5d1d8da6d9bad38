"""Mistakes in a port of LSTM and GRU: each is made by a loop of its own, and named alone."""

from collections.abc import Callable
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from gated_loops import gated_loop

import rnncli
from rnncli.model.arrays import Floats
from rnncli.model.cells import GRU, LSTM, Cell, Weights
from rnncli.model.layers import Recurrent
from rnncli.verify.case import Case
from rnncli.verify.diagnosis import explain

I, H, N, T = 3, 4, 3, 40
LENGTHS = np.array([T, 35, 7])
X = np.random.RandomState(5).normal(size=(N, T, I)).astype(np.float32)
Arrays = dict[str, Floats]


def drawn(gates: int, seed: int = 1, **others: int) -> Arrays:
    """Draw weights; `others` are as many times H long."""
    random = np.random.RandomState(seed)
    shapes = {"W_xh": (I, gates * H), "W_hh": (H, gates * H), "b_h": (gates * H,)}
    shapes |= {name: (times * H,) for name, times in others.items()}
    return {name: random.uniform(-0.8, 0.8, shape).astype("f") for name, shape in shapes.items()}


def taken_for(order: str, gates: str, w: Arrays) -> Arrays:
    """Return the weights with their columns read as gates in another order."""
    blocks = {name: np.split(w[name], len(order), axis=-1) for name in ("W_xh", "W_hh", "b_h")}
    return w | {
        name: np.concatenate([each[order.index(gate)] for gate in gates], axis=-1)
        for name, each in blocks.items()
    }


def lstm(
    w: Arrays, x: Floats, start: tuple[Any, Any] = (0.0, 0.0), order: str = "ifgo", **settings: Any
) -> list[Floats]:
    """Run an LSTM in float64, and return h and c of every step."""
    cell = LSTM(Weights(**taken_for(order, "ifgo", w)), **settings)
    state = tuple(np.zeros((1, H)) + each for each in start)
    return [rows[0] for rows in gated_loop(cell, x[None], state)]


def gru(
    w: Arrays, x: Floats, h: Floats | float = 0.0, order: str = "zrn", **settings: Any
) -> Floats:
    """Run a GRU in float64."""
    cell = GRU(Weights(**taken_for(order, "zrn", w)), **settings)
    rows: Floats = gated_loop(cell, x[None], (np.zeros((1, H)) + h,))[0][0]
    return rows


def batched(run: Callable[[Floats], Floats]) -> Floats:
    """Run each sequence alone; rows beyond its end are zeros."""
    rows = [run(x[:length]) for x, length in zip(X, LENGTHS, strict=True)]
    return np.array([np.pad(h, ((0, T - len(h)), (0, 0))) for h in rows])


def case_of(*cells: Cell, h0: Floats | None = None) -> Case:
    direction = "bidirectional" if len(cells) > 1 else "forward"
    network = rnncli.Network(Recurrent(*cells, direction=direction))
    start = np.zeros(network.state_size, "f") if h0 is None else h0.astype("f")
    return Case(network, X, np.tile(start, (N, 1)), LENGTHS)


L, P = drawn(4), drawn(4, w_ch=3)
G, G_OLD = drawn(3, b_n=1), drawn(3)
BACK = drawn(4, seed=2)
# The recurrent bias of the candidate added where r does not multiply it.
OUTSIDE = {"W_xh": G["W_xh"], "W_hh": G["W_hh"], "b_h": G["b_h"] + np.pad(G["b_n"], (2 * H, 0))}
# z of the other sign is 1 - z.
SIGNS = np.repeat(np.array([-1, 1, 1], "f"), H)
EXCHANGED = {name: array * SIGNS if name != "b_n" else array for name, array in G.items()}
START = np.random.RandomState(3).uniform(-0.9, 0.9, 2 * H)
H0, C0 = START[:H], START[H:]
LSTM_CASE, GRU_CASE = case_of(LSTM(Weights(**L))), case_of(GRU(Weights(**G)))
PEEPHOLES = case_of(LSTM(Weights(**P)))
BOTH = case_of(LSTM(Weights(**L)), LSTM(Weights(**BACK)))
STARTED = case_of(LSTM(Weights(**L)), h0=START)


def of_lstm(**mistake: Any) -> Floats:
    return batched(lambda x: lstm(L, x, **mistake)[0])


def of_gru(**mistake: Any) -> Floats:
    return batched(lambda x: gru(G, x, **mistake))


def with_bias(w: Arrays, gate: int, by: float) -> Arrays:
    b_h = w["b_h"].copy()
    b_h[gate * H : (gate + 1) * H] += by
    return w | {"b_h": b_h}


def carried(run: Callable[[Floats, Any], tuple[Floats, Any]], start: Any) -> Floats:
    """Start each sequence where the one before it ended."""

    def one(x: Floats) -> Floats:
        nonlocal start
        rows, start = run(x, start)
        return rows

    return batched(one)


def last_of_lstm(x: Floats, start: Any) -> tuple[Floats, Any]:
    h, c = lstm(L, x, start)
    return h, (h[-1], c[-1])


def finals(array: int, backward_at: int) -> Floats:
    """Return h (0) or c (1) of both directions, one row a sequence."""
    rows = []
    for x, length in zip(X, LENGTHS, strict=True):
        backward = lstm(BACK, x[:length][::-1])[array][::-1]
        rows.append([*lstm(L, x[:length])[array][-1], *backward[backward_at]])
    return np.array(rows)[None]


MISTAKES: dict[str, tuple[Case, Floats]] = {
    **{
        f"gates i f g o taken for {' '.join(order)}": (LSTM_CASE, of_lstm(order="".join(order)))
        for order in permutations("ifgo")
        if "".join(order) != "ifgo"
    },
    "gates z r n taken for r z n": (GRU_CASE, of_gru(order="rzn")),
    **{
        f"gates z r n taken for {' '.join(order)} of one bias": (
            case_of(GRU(Weights(**G_OLD))),
            batched(partial(gru, G_OLD, order="".join(order))),
        )
        for order in permutations("zrn")
        if "".join(order) != "zrn"
    },
    "no peepholes": (PEEPHOLES, batched(lambda x: lstm(P | {"w_ch": np.zeros(3 * H)}, x)[0])),
    "1 added to the forget bias": (LSTM_CASE, batched(lambda x: lstm(with_bias(L, 1, 1), x)[0])),
    "1 left out of the forget bias": (
        LSTM_CASE,
        batched(lambda x: lstm(with_bias(L, 1, -1), x)[0]),
    ),
    "`recurrent_activation` hard_sigmoid": (
        LSTM_CASE,
        of_lstm(recurrent_activation="hard_sigmoid"),
    ),
    "`recurrent_activation` hard_sigmoid:0.16666666666666666,0.5": (
        GRU_CASE,
        of_gru(recurrent_activation=f"hard_sigmoid:{1 / 6!r},0.5"),
    ),
    "`recurrent_activation` sigmoid": (
        case_of(GRU(Weights(**G), recurrent_activation="hard_sigmoid")),
        of_gru(),
    ),
    "`activation` relu": (
        LSTM_CASE,
        of_lstm(activation="relu", output_activation="relu"),
    ),
    "`reset` before": (GRU_CASE, batched(lambda x: gru(OUTSIDE, x, reset="before"))),
    "`reset` after": (
        case_of(GRU(Weights(**G_OLD), reset="before")),
        batched(lambda x: gru(G_OLD, x)),
    ),
    "no recurrent bias of the candidate": (
        GRU_CASE,
        batched(lambda x: gru(G | {"b_n": np.zeros(H)}, x)),
    ),
    "recurrent bias of the candidate added twice": (
        GRU_CASE,
        batched(lambda x: gru(G | {"b_n": 2 * G["b_n"]}, x)),
    ),
    "recurrent bias of the candidate outside r": (GRU_CASE, batched(lambda x: gru(OUTSIDE, x))),
    "z and 1 - z exchanged": (GRU_CASE, batched(lambda x: gru(EXCHANGED, x))),
    "no bias": (GRU_CASE, batched(lambda x: gru(G | {n: 0 * G[n] for n in ("b_h", "b_n")}, x))),
    "`h0` left out": (STARTED, of_lstm(start=(0, C0))),
    "`c0` left out": (STARTED, of_lstm(start=(H0, 0))),
    "start states left out": (STARTED, of_lstm()),
    "state carried from sequence to sequence": (LSTM_CASE, carried(last_of_lstm, (0, 0))),
    "state carried from sequence to sequence, GRU": (
        GRU_CASE,
        carried(lambda x, h: (rows := gru(G, x, h), rows[-1]), 0),
    ),
    "the result holds c in place of h": (LSTM_CASE, batched(lambda x: lstm(L, x)[1])),
    "gates i f g o taken for i f o g in the backward direction": (
        BOTH,
        batched(lambda x: np.hstack([lstm(L, x)[0], lstm(BACK, x[::-1], order="ifog")[0][::-1]])),
    ),
    "final states alone": (BOTH, finals(0, 0)),
    "final c in place of h": (BOTH, finals(1, 0)),
    "the last output alone, where a backward direction has but begun": (BOTH, finals(0, -1)),
}


@pytest.mark.parametrize(
    ("name", "made"),
    [
        pytest.param(name, made, id=name, marks=[pytest.mark.slow] * (made[0] is BOTH))
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


BIASES = np.random.RandomState(4).uniform(-1, 1, (2, 3 * H)).astype(np.float32)


def of_two_biases(input_bias: Floats, recurrent_bias: Floats, order: str = "zrn") -> Arrays:
    """Return the weights of a GRU that adds the last part of the recurrent bias within r."""
    n = order.index("n")
    b_n = recurrent_bias[n * H : (n + 1) * H]
    b_h = input_bias + recurrent_bias
    b_h[n * H : (n + 1) * H] -= b_n
    return G | {"b_h": b_h, "b_n": b_n}


TWO_BIASES = {
    "input bias only": of_two_biases(BIASES[0], 0 * BIASES[1]),
    "recurrent bias only": of_two_biases(0 * BIASES[0], BIASES[1]),
}


@pytest.mark.parametrize(("name", "wrong"), TWO_BIASES.items(), ids=TWO_BIASES)
def test_a_bias_of_two_is_wrong(name: str, wrong: Arrays) -> None:
    case = case_of(GRU(Weights(**of_two_biases(*BIASES))))._replace(biases=[tuple(BIASES)])
    assert list(explain(case, batched(lambda x: gru(wrong, x)).astype(np.float32))) == [name]


@pytest.mark.parametrize("order", ["rzn", "rnz", "znr"])
def test_both_biases_of_a_gru_are_read_in_another_order(order: str) -> None:
    case = case_of(GRU(Weights(**of_two_biases(*BIASES))))._replace(biases=[tuple(BIASES)])
    wrong = of_two_biases(BIASES[0], BIASES[1], order)
    theirs = batched(lambda x: gru(wrong, x, order=order)).astype(np.float32)
    assert list(explain(case, theirs)) == [f"gates z r n taken for {' '.join(order)}"]


def scaled(h: Floats) -> Floats:
    h = h.copy()
    h[..., 1] *= 1.01
    return h


UNNAMED: dict[str, Callable[[Floats], Floats]] = {
    "noise": lambda h: h + 1e-3 * np.random.RandomState(0).normal(size=h.shape),
    "a unit scaled": scaled,
    "zeros": np.zeros_like,
}


@pytest.mark.parametrize("case", [LSTM_CASE, GRU_CASE], ids=["lstm", "gru"])
@pytest.mark.parametrize("wrong", UNNAMED.values(), ids=UNNAMED)
def test_what_is_wrong_in_another_way_has_no_name(
    case: Case, wrong: Callable[[Floats], Floats]
) -> None:
    assert explain(case, wrong(case.outputs()[-1]).astype(np.float32)) == {}


def test_other_weights_have_no_name() -> None:
    theirs = batched(lambda x: gru(drawn(3, seed=9, b_n=1), x)).astype(np.float32)
    assert explain(GRU_CASE, theirs) == {}
    theirs = batched(lambda x: lstm(drawn(4, seed=9), x)[0]).astype(np.float32)
    assert explain(LSTM_CASE, theirs) == {}


@pytest.mark.slow
def test_what_a_backward_cell_remembers_is_no_reason_to_reject() -> None:
    """Its first rows come from all later ones; those that are tried first are from a piece."""
    long = [with_bias(drawn(4, seed), 1, 4) for seed in (1, 2)]
    x = np.random.RandomState(5).normal(size=(1, 400, I)).astype(np.float32)
    cells = [LSTM(Weights(**w)) for w in long]
    network = rnncli.Network(Recurrent(*cells, direction="bidirectional", merge="sum"))
    case = Case(network, x, np.zeros((1, network.state_size), "f"), np.array([400]))
    wrong = [lstm(long[1], x[0])[0], lstm(long[0], x[0, ::-1])[0][::-1]]
    theirs = np.add(*wrong)[None].astype(np.float32)
    assert list(explain(case, theirs)) == ["weights of the two directions exchanged"]
