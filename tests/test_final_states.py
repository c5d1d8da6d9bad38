"""Final states: what other runs leave is judged by the outputs of the same runs."""

import json
from collections.abc import Callable

import numpy as np
import pytest
from conftest import RUNNABLE, Rnn
from test_gated_steps import KINDS, case_of, drawn

from rnncli.engine.precision import PRECISIONS
from rnncli.engine.run import States
from rnncli.model.arrays import Floats
from rnncli.model.cells import RNN, Weights
from rnncli.model.layers import Masking, Recurrent
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.comparison import Comparison, WrongFinal


def stack(name: str, direction: str = "bidirectional") -> Network:
    count = 2 if direction == "bidirectional" else 1
    layers, width = [], 2
    for H in (6, 4):
        cells = [drawn(KINDS[name], width, H, seed) for seed in range(count)]
        layers.append(Recurrent(*cells, direction=direction))
        width = layers[-1].output_size
    return Network(*layers)


def judged(case: Case, states: States, h_n: Floats) -> WrongFinal | None:
    verdict = Comparison(case, states.layers).judge(states.layers[-1], states.layers, h_n)
    assert verdict.first is None
    assert verdict.equal == (verdict.final is None)
    return verdict.final


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", KINDS)
def test_final_states_of_every_strategy_are_right(name: str, precision: str) -> None:
    case = case_of(stack(name), precision)
    case.lengths[1] = 0
    for unroll in RUNNABLE:
        states = case.run(unroll)
        assert judged(case, states, states.h_n) is None


@pytest.mark.slow
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
@pytest.mark.parametrize("name", KINDS)
def test_a_wrong_value_in_a_final_state_is_found_and_named(name: str, direction: str) -> None:
    network = stack(name, direction)
    case = case_of(network)
    states, at = case.run(), 0
    where = [
        (cell, number, towards)
        for number, layer in enumerate(network.layers, start=1)
        for cell, towards in zip(layer.cells, layer.directions, strict=True)
    ]
    for array in dict.fromkeys(name for cell, *_ in where for name in cell.state_names):
        for cell, number, towards in where:
            for unit in range(cell.state_sizes[cell.state_names.index(array)]):
                h_n = states.h_n.copy()
                h_n[1, at] += np.float32(1e-4)
                final = judged(case, states, h_n)
                assert final
                assert final[:5] == (2, number, towards, array, unit)
                assert final.expected - final.actual == pytest.approx(1e-4, rel=0.05)
                at += 1
    assert at == network.state_size


def swapped(_case: Case, h_n: Floats) -> Floats:
    """Exchange h and c."""
    return np.roll(h_n, h_n.shape[1] // 2, axis=1)


def in_the_padding(case: Case, _h_n: Floats) -> Floats:
    """Take the states after T steps."""
    return case._replace(lengths=np.full(len(case.x), case.x.shape[1])).run().h_n


def one_step_early(case: Case, _h_n: Floats) -> Floats:
    return case._replace(lengths=case.lengths - 1).run().h_n


def not_there(_case: Case, h_n: Floats) -> Floats:
    return np.full_like(h_n, np.nan)


@pytest.mark.parametrize("fault", [swapped, in_the_padding, one_step_early, not_there])
@pytest.mark.parametrize("direction", ["forward", "backward", "bidirectional"])
def test_wrong_final_states_are_found(
    fault: Callable[[Case, Floats], Floats], direction: str
) -> None:
    case = case_of(stack("lstm", direction))
    states = case.run()
    assert judged(case, states, fault(case, states.h_n))


@pytest.mark.parametrize("fault", [swapped, in_the_padding, one_step_early, not_there])
@pytest.mark.parametrize("name", ["lstm", "gru, after"])
def test_final_states_of_merged_directions_are_compared_with_ours(
    name: str, fault: Callable[[Case, Floats], Floats]
) -> None:
    cells = [drawn(KINDS[name], 2, 6, seed) for seed in range(2)]
    case = case_of(Network(Recurrent(*cells, direction="bidirectional", merge="sum")))
    ours = case.run()
    comparison = Comparison(case, ours.layers, h_n=ours.h_n)
    for unroll in RUNNABLE:
        states = case.run(unroll)
        assert comparison.judge(states.layers[-1], h_n=states.h_n).equal
    verdict = comparison.judge(ours.layers[-1], h_n=fault(case, ours.h_n))
    assert (verdict.equal, verdict.step_error, verdict.first) == (False, None, None)
    assert verdict.final


def test_masked_rows_keep_the_final_state() -> None:
    network = Network(Masking(0, 2), *stack("lstm").layers)
    case = case_of(network)
    case.x[0, ::3] = case.x[0, -5:] = case.x[2] = 0
    states = case.run()
    assert judged(case, states, states.h_n) is None


def test_final_states_of_vanilla_cells_are_judged_too() -> None:
    case = case_of(Network(RNN(Weights(*(np.ones(s, "f") for s in ((2, 3), (3, 3), 3))))))
    states = case.run()
    assert judged(case, states, states.h_n) is None
    assert judged(case, states, -states.h_n)


def test_the_command_says_which_final_state_is_wrong(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("verify", "--seq", "1,2,3,4", "--cell", "lstm", "--hidden", "4")
    right = Case.run

    def wrong(case: Case, unroll: str = "auto") -> States:
        states = right(case, unroll)
        states.h_n[0, -2] += unroll == "fused"
        return states

    assert run_rnn(*arguments).exit_code == 0
    monkeypatch.setattr(Case, "run", wrong)
    result = run_rnn(*arguments)
    assert result.exit_code == 1
    assert result.stdout.startswith("DIFFERENT: --unroll fused\n")
    where = "wrong in 1 of 8 values, first c of layer 1, unit 2: expected "
    assert f"--unroll fused: the final state is {where}" in result.stdout
    result = run_rnn(*arguments, "--json")
    assert result.exit_code == 1
    (item,) = (each for each in json.loads(result.stdout)["results"] if "final" in each)
    assert (item["verdict"], item["first"]) == ("different", None)
    assert (item["final"]["array"], item["final"]["unit"]) == ("c", 2)
    assert (item["final"]["wrong"], item["final"]["values"]) == (1, 8)
