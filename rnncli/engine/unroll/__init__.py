"""Strategies: ways to run a cell over many steps."""

from rnncli.engine.unroll.auto import Auto as Auto
from rnncli.engine.unroll.auto import Compiled as Compiled
from rnncli.engine.unroll.auto import why_unavailable as why_unavailable
from rnncli.engine.unroll.loops import Fused, Projected, Stepwise
from rnncli.engine.unroll.parallel import Parallel

UNROLLS = {
    "stepwise": Stepwise,
    "fused": Fused,
    "projected": Projected,
    "parallel": Parallel,
    "compiled": Compiled,
}
STRATEGIES = UNROLLS | {"auto": Auto}
