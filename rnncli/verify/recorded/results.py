"""Whether what other libraries computed once is what is computed here and now."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from rnncli.model.initializers import seeded
from rnncli.model.network import Network
from rnncli.verify.case import Case
from rnncli.verify.comparison import Comparison, Result
from rnncli.verify.recorded import Notebook, RecordedCase, notebook, recorded_cases
from rnncli.verify.verdict import Apart, Verdict, judge

# How far drawn weights may be from those recorded: the notebook's are printed
# with eight digits, and Keras makes its recurrent kernels orthogonal in float32.
DRAWN_WITHIN = {"tensorflow": 2e-7, "keras": 2e-5, "torch": 0.0}


def with_recorded() -> Iterator[Result]:
    """Run the recorded cases, and draw the weights of those that a seed gave."""
    yield from _with_notebook(notebook())
    for name, group in groupby(recorded_cases(), key=lambda each: each.name.partition(":")[0]):
        cases = list(group)
        yield _states(f"{name}: states of {len(cases)} networks", cases)
        drawn = [each for each in cases if each.seed is not None]
        if drawn:
            pairs = [(_drawn(each), each.network) for each in drawn]
            within = DRAWN_WITHIN[drawn[0].peer]
            yield _weights(f"{name}: weights of {len(drawn)} seeds", pairs, within)


def _with_notebook(printed: Notebook) -> Iterator[Result]:
    """Compare with what the notebook printed."""
    drawn = seeded(1, 4, 1, "tensorflow")
    pairs = [(drawn, printed.network)]
    yield _weights("the notebook: weights of seed 1", pairs, DRAWN_WITHIN["tensorflow"])
    T = len(printed.x)
    case = Case(drawn, printed.x[None], np.zeros((1, 4), np.float32), np.array([T]), "tf32")
    for name, states in printed.states.items():
        comparison = Comparison(case, case.states())
        yield comparison.result(f"the notebook: {name}, --precision tf32", states[None])


def _states(name: str, recorded: Sequence[RecordedCase]) -> Result:
    """Judge cases together: the one furthest off stands for all."""
    verdicts = []
    for each in recorded:
        N, T, _ = each.x.shape
        lengths = np.full(N, T) if each.lengths is None else each.lengths
        case = Case(each.network, each.x, each.h0, lengths)
        verdicts.append(judge(case, case.states()[-1], each.h))
    return Result(name, verdict=max(verdicts, key=lambda v: (not v.equal, v.apart.largest)))


def _drawn(recorded: RecordedCase) -> Network:
    """Draw what a case's seed gives."""
    network = recorded.network
    (direction,) = {layer.direction for layer in network.layers}
    (merge,) = {layer.merge for layer in network.layers}
    sizes = [layer.hidden_size for layer in network.layers]
    return seeded(
        network.input_size,
        sizes,
        recorded.seed or 0,
        recorded.peer,
        direction=direction,
        merge=merge,
    )


def _weights(name: str, pairs: Iterable[tuple[Network, Network]], within: float) -> Result:
    """Judge drawn weights by their distance from those recorded."""
    largest = max(
        float(np.abs(ours - theirs).max(initial=0.0))
        for drawn, recorded in pairs
        for cells in zip(drawn.cells, recorded.cells, strict=True)
        for ours, theirs in zip(*(cell.weights for cell in cells), strict=True)
    )
    apart = Apart(largest, None, atol=largest, rtol=0.0, steps=0)
    return Result(name, verdict=Verdict(largest <= within, None, None, apart))
