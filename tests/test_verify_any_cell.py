"""What verify makes of a layer without state, and of a cell that it does not know."""

from types import ModuleType

import numpy as np
import pytest
from any_cell import Gated, Head, Leaky, drawn
from conftest import with_runnable

import rnncli
from rnncli.model.cells import Cell, Weights
from rnncli.model.layers import Recurrent
from rnncli.model.network import Network
from rnncli.verify import diagnosis, reference
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
