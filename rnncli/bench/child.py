"""What a process does that runs one contender: it answers questions, a line of JSON each.

=========================================  =================================
``{"do": "warm"}``                         ``{}``, once its library is loaded
``{"do": "time", "steps": null}``          ``{"microseconds": ..., "steps": ...}``
``{"do": "judge", "steps": 1000}``         ``{"step_error": ...}``
=========================================  =================================

Each has ``"folder"`` besides, where the case is. ``steps`` is how many of
the first steps are run; null: as many as the time for one timing allows. The
answer is ``{"cannot": "..."}`` where the contender cannot express the
network, and ``{"failed": "..."}`` where anything else goes wrong.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rnncli.bench.contender import Contender
from rnncli.bench.files import load_case
from rnncli.bench.judging import largest_step_error
from rnncli.bench.pace import first_steps, timed, warmed
from rnncli.verify.peers import Unsupported

_STDOUT, _STDERR = 1, 2


def serve(contender: Contender) -> None:
    """Answer until standard input ends."""
    with _answers() as out:
        for line in sys.stdin:
            print(json.dumps(answer(contender, json.loads(line))), file=out, flush=True)


def answer(contender: Contender, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Answer one question; nothing is kept for the next."""
    try:
        return _ACTIONS[asked["do"]](contender, asked)
    except Unsupported as error:
        return {"cannot": str(error)}
    # Whatever a library raises is no reason to lose the timings of the others.
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"}


def _warm(contender: Contender, asked: Mapping[str, Any]) -> dict[str, Any]:
    case = first_steps(load_case(asked["folder"]), 1)
    contender.runner(case)(case)
    return {}


def _time(contender: Contender, asked: Mapping[str, Any]) -> dict[str, Any]:
    case = load_case(asked["folder"])
    run = contender.runner(case)

    def seconds(steps: int) -> float:
        first = first_steps(case, steps)
        return timed(lambda: run(first), 1)

    pace = warmed(seconds, asked["steps"] or case.x.shape[1])
    steps = asked["steps"] or pace.steps
    first = first_steps(case, steps)
    took = timed(lambda: run(first), pace.repeats)
    # Steps of all sequences together, of which some may end before others.
    return {"microseconds": took * 1e6 / first.lengths.mean(), "steps": steps}


def _judge(contender: Contender, asked: Mapping[str, Any]) -> dict[str, Any]:
    case = first_steps(load_case(asked["folder"]), asked["steps"])
    states = contender.runner(case, all_layers=True)(case)
    return {"step_error": largest_step_error(case, states.layers)}


_ACTIONS = {"warm": _warm, "time": _time, "judge": _judge}


@contextmanager
def _answers() -> Iterator[TextIO]:
    """Keep standard output for answers: what libraries say there goes to standard error."""
    with os.fdopen(os.dup(_STDOUT), "w") as out:
        os.dup2(_STDERR, _STDOUT)
        yield out
