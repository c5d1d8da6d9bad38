"""What verify makes of a layer without state, and of a cell that it does not know."""

from types import ModuleType

import numpy as np
import pytest
from any_cell import Gated, Head, Leaky, drawn, loop
from conftest import RUNNABLE, with_runnable

import rnncli
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, State, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify import bounded, diagnosis, reference
from rnncli.verify.bounded import CellRun, StepAt
from rnncli.verify.case import Case
from rnncli.verify.compared import with_reference
from rnncli.verify.comparison import Comparison
from rnncli.verify.peers import Unsupported, keras, onnxruntime, torch
from rnncli.verify.steps import can_judge_steps, largest_step_error

RANDOM = np.random.RandomState(2)
X = RANDOM.normal(size=(3, 20, 2)).astype(np.float32)
LENGTHS = np.array([20, 7, 0])
HEAD = Head(RANDOM.normal(size=(5, 3)).astype(np.float32))


def case_of(network: Network) -> Case:
    h0 = RANDOM.uniform(-1, 1, (3, network.state_size)).astype(np.float32)
    return Case(network, X, h0, LENGTHS)


def topped() -> Case:
    return case_of(Network(*rnncli.seeded(2, 5, 3, "torch").layers, HEAD))


def unknown(kind: type[Leaky], direction: str = "forward") -> Case:
    count = 2 if direction == "bidirectional" else 1
    cells = [drawn(kind, 2, 4, seed) for seed in range(count)]
    return case_of(Network(Recurrent(*cells, direction=direction)))


def test_a_layer_without_state_is_compared_by_whole_runs() -> None:
    case = topped()
    comparison = Comparison(case, case.outputs())
    assert not can_judge_steps(case.network, layers=2)
    assert largest_step_error(case, comparison.layers) is None
    results = [with_reference(comparison), *with_runnable(comparison)]
    for result in results:
        assert result.verdict
        assert (result.verdict.equal, result.verdict.step_error) == (True, None)
        assert result.verdict.judged == 1
    exact = reference.run(case.network, X[0], case.h0[0])
    np.testing.assert_allclose(exact[1], exact[0] @ HEAD.W, rtol=1e-12)
    assert not comparison.judge(comparison.ours + np.float32(1e-3)).equal


@pytest.mark.parametrize("kind", [Leaky, Gated])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_a_cell_that_is_not_written_out_is_compared_by_whole_runs(
    kind: type[Leaky], direction: str
) -> None:
    case = unknown(kind, direction)
    comparison = Comparison(case, case.outputs())
    assert not can_judge_steps(case.network)
    result = with_reference(comparison)
    note = f"the step of {kind.__name__} is not written out in float64"
    assert (result.verdict, result.note) == (None, note)
    for each in with_runnable(comparison):
        assert each.verdict
        assert (each.verdict.equal, each.verdict.step_error) == (True, None)
    turned = case._replace(network=case.network.with_cells(with_negative_bias))
    verdict = comparison.judge(turned.outputs()[-1])
    assert (verdict.equal, verdict.step_error) == (False, None)
    assert verdict.first


def with_negative_bias(cell: Cell) -> Cell:
    W_xh, W_hh, b_h = cell.weights[:3]
    return cell.replaced(Weights(W_xh, W_hh, -b_h))


@pytest.mark.parametrize("kind", [Leaky, Gated])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_a_cell_is_one_more_entry_of_the_reference(
    kind: type[Leaky], direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(cell: Leaky, x: Floats, state: State, _precision: str) -> State:
        steps = [
            loop(cell, x_t[None], tuple(rows))[1] for x_t, *rows in zip(x, *state, strict=True)
        ]
        return tuple(np.array(arrays) for arrays in zip(*steps, strict=True))

    monkeypatch.setitem(reference.STEPS, kind, step)
    case = unknown(kind, direction)
    result = with_reference(Comparison(case, case.outputs()))
    assert result.verdict
    assert (result.verdict.equal, result.verdict.judged) == (True, 1)
    assert result.verdict.difference < 1e-6


def leaky_steps(run: CellRun) -> StepAt:
    """Carry c, and how far it may be off, forward from the h of the result."""
    cell, eps = run.cell, np.finfo(np.float32).eps
    assert isinstance(cell, Leaky)
    I, H = len(cell.weights.W_xh), len(cell.weights.W_hh)
    W_xh, W_hh, b_h = (np.abs(array).astype(np.float64) for array in cell.weights[:3])
    exact, bound = np.zeros(run.h.shape), np.zeros(run.h.shape)
    for n, length in enumerate(run.case.lengths):
        c, off_c = run.start[1][n].astype(np.float64), np.zeros(H)
        for t in range(length) if run.direction == "forward" else range(length)[::-1]:
            at = np.array([n]), np.array([t])
            x, (before,) = run.x[at].astype(np.float64), run.h_before(*at).astype(np.float64)
            terms = np.abs(x[0]) @ W_xh + np.abs(before) @ W_hh + b_h
            off_i, off_g = np.split((I + H + 4) * eps * terms, 2)
            _, (exact[n, t], c) = loop(cell, x, (before, c))
            off_c = cell.keep * off_c + off_i / 4 + off_g + 8 * eps * (1 + np.abs(c))
            bound[n, t] = off_c + 4 * eps
    return lambda n, t: (exact[n, t][None], bound[n, t])


@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_a_cell_with_two_state_arrays_is_one_more_entry_of_the_step_error(
    direction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bounded.BOUNDED_STEPS, Leaky, leaky_steps)
    case = unknown(Leaky, direction)
    assert can_judge_steps(case.network)
    for unroll in RUNNABLE:
        layers = case.outputs(unroll)
        verdict = Comparison(case, case.outputs()).judge(layers[-1], layers)
        assert verdict.equal
        assert verdict.step_error is not None
        assert 0 < verdict.step_error < 0.5
        assert largest_step_error(case, layers) == pytest.approx(verdict.step_error)
    turned = case._replace(network=case.network.with_cells(with_negative_bias))
    verdict = Comparison(case, case.outputs()).judge(turned.outputs()[-1])
    assert not verdict.equal
    assert verdict.first
    assert verdict.step_error is not None
    assert verdict.step_error > 100


@pytest.mark.parametrize(("name", "change"), [("no bias", "b_h"), ("W_hh transposed", "")])
def test_what_reproduces_a_result_is_found_for_any_cell(name: str, change: str) -> None:
    case = unknown(Leaky, "bidirectional")

    def wrong(cell: Cell) -> Cell:
        W_xh, W_hh, b_h = cell.weights[:3]
        read = np.ascontiguousarray(W_hh.reshape(W_hh.shape[::-1]).T)
        return cell.replaced(Weights(W_xh, W_hh if change else read, b_h * 0 if change else b_h))

    theirs = case._replace(network=case.network.with_cells(wrong)).outputs()[-1]
    assert list(diagnosis.explain(case, theirs)) == [name]


def test_the_last_output_of_a_head_is_named() -> None:
    case = topped()
    case = case._replace(x=case.x[:2], h0=case.h0[:2], lengths=case.lengths[:2])
    last = [
        reference.run(case.network, x[:length], h0)[0][-1] @ HEAD.W
        for x, h0, length in zip(case.x, case.h0, case.lengths, strict=True)
    ]
    theirs = np.array(last, np.float32)[None]
    assert list(diagnosis.explain(case, theirs)) == ["the last output alone"]


@pytest.mark.parametrize("peer", [keras, torch, onnxruntime])
def test_peers_refuse_what_they_do_not_know(peer: ModuleType) -> None:
    for case, what in ((topped(), "layer Head; it"), (unknown(Leaky), "cell Leaky; it has RNN")):
        with pytest.raises(Unsupported, match=f"^{peer.LIBRARY.name} has no {what}"):
            peer.build(case.network)
