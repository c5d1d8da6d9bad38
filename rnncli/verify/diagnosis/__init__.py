"""The diagnosis of a result that differs: the mistakes that people make in a port.

Every hypothesis in `HYPOTHESES` has one signature, ``hypothesis(case,
theirs)``: it yields, each with a name, a case and a result as they would be
if it were the cause. If these are judged equal, it explains the result.
Parameters stand between backticks, as in "`precision` tf32"; the command
line shows them as its options.

The hypotheses stand by what they change: cells (`cells`, `gates`), layers and
directions (`layers`), states (`states`), or the order of rows and columns
(`rows`). A mistake in a cell is one more entry in `CELL_CHANGES` or
`GATE_CHANGES`: it is looked for in all cells, and in each layer and direction
alone; or in `WHOLE_CHANGES`: in all cells.
"""

from rnncli.verify.diagnosis.search import HYPOTHESES, explain

__all__ = ["HYPOTHESES", "explain"]
