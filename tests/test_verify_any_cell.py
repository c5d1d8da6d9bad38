"""What verify makes of a layer without state, and of a cell that it does not know."""

import numpy as np
import pytest
from any_cell import Gated, Head, Leaky, drawn, loop

import rnncli
from rnncli.model.arrays import Floats
from rnncli.model.cells import Cell, State, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify import diagnosis, reference
from rnncli.verify.case import Case
from rnncli.verify.comparison import Comparison
from rnncli.verify.peers import PEERS, Unsupported, rnn_layers
from rnncli.verify.results import with_reference, with_strategies
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
    results = [with_reference(comparison), *with_strategies(comparison)]
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
    for each in with_strategies(comparison):
        assert each.verdict
        assert (each.verdict.equal, each.verdict.step_error) == (True, None)
    turned = case._replace(network=case.network.with_cells(with_negative_bias))
    verdict = comparison.judge(turned.outputs()[-1])
    assert (verdict.equal, verdict.step_error) == (False, None)
    assert verdict.first


def with_negative_bias(cell: Cell) -> Cell:
    W_xh, W_hh, b_h = cell.weights
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


@pytest.mark.parametrize(("name", "change"), [("no bias", "b_h"), ("W_hh transposed", "")])
def test_what_reproduces_a_result_is_found_for_any_cell(name: str, change: str) -> None:
    case = unknown(Leaky, "bidirectional")

    def wrong(cell: Cell) -> Cell:
        W_xh, W_hh, b_h = cell.weights
        read = np.ascontiguousarray(W_hh.reshape(W_hh.shape[::-1]).T)
        return cell.replaced(Weights(W_xh, W_hh if change else read, b_h * 0 if change else b_h))

    theirs = case._replace(network=case.network.with_cells(wrong)).outputs()[-1]
    assert list(diagnosis.explain(case, theirs)) == [name]


@pytest.mark.parametrize("name", PEERS)
def test_peers_refuse_what_they_do_not_know(name: str) -> None:
    for case, what in ((topped(), "Head"), (unknown(Leaky), "Leaky")):
        with pytest.raises(Unsupported, match=f"runs vanilla cells alone in {name}, not {what}"):
            rnn_layers(name, case.network, "float32", ("float32",))
