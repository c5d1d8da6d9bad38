"""When two results are equal: the error of each step, the distance of whole runs, verdicts."""

from rnncli.compare.runs import difference, forgets, relative, run_tolerance
from rnncli.compare.steps import step_errors

__all__ = ["difference", "forgets", "relative", "run_tolerance", "step_errors"]
