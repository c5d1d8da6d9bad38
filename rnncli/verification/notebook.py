"""The states that the notebook printed, which this installation has to compute."""

import numpy as np

from rnncli import __version__
from rnncli.model.seeds import seeded
from rnncli.verification.case import Case
from rnncli.verification.compared import compare, result_of
from rnncli.verification.report import Report
from rnncli.writers.model import describe

# Cell 6, h after each step. The notebook ran on a GPU, which rounds operands to TF32.
PRINTED = (
    (-0.80105966, 0.9131062, 0.36578208, -0.7063606),
    (-0.9702719, 0.9996024, -0.6609227, -0.9999491),
    (-0.9489414, 0.9999923, -0.19376709, -0.99991894),
    (-0.99817336, 0.99999964, -0.07197513, -0.9999971),
    (-0.9998569, 1.0, 0.24250329, -0.99999964),
    (-0.99999285, 1.0, 0.42822266, -1.0),
)


def compare_notebook(unroll: str) -> Report:
    """Compare a run of the notebook's network on its input with the printed states."""
    x = np.arange(1, 7, dtype=np.float32)[None, :, None]
    network = seeded(1, 4, 1, "tensorflow")
    case = Case(network, x, np.zeros((1, 4), np.float32), np.array([6]), "tf32")
    printed = np.array([PRINTED], np.float32)
    result = result_of(compare(case, unroll), "the notebook's states", printed)
    model = describe(network, {"init": "tensorflow", "seed": 1}, __version__)
    return Report(model | {"precision": "tf32", "unroll": unroll}, [result])
