"""Time `rnn` beside ONNX Runtime and PyTorch, and print the table of `rnn help speed`.

    python tests/peers/race.py [--rounds 3] [--rows 1,4-6]

All libraries have the same weights, which PyTorch draws, and the same input. Each timing is a fresh
process, and the candidates take turns: a slow spell of the machine slows them alike. A library runs
on one processor and on all of them, and the faster counts. Loading and compiling are left out.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

SHORTEST = 0.3  # seconds of a timing: shorter runs are repeated
LIBRARIES = {"onnxruntime": "ONNX", "torch": "PyTorch"}
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NVPL_NUM_THREADS")


class Case(NamedTuple):
    """T steps of N sequences, I features, H units."""

    T: int
    I: int
    H: int
    N: int = 1
    cell: str = "RNN"
    slow: str = ""  # a gate with a bias of 5: the network forgets slowly, as trained ones do

    @property
    def title(self) -> str:
        """The first cell of its row."""
        sizes = ", ".join(map(_short, (self.T, self.I, self.H, self.N)))
        return f"{sizes}, {self.cell}" + (f" b_{self.slow} = 5" if self.slow else "")


CASES = (
    Case(1_000_000, 1, 4),
    Case(200_000, 1, 16),
    Case(100_000, 8, 64),
    Case(20_000, 64, 256),
    Case(256, 64, 256, 64),
    Case(50, 4, 16, 10_000),
    Case(100_000, 8, 64, cell="LSTM"),
    Case(50_000, 1, 16, cell="LSTM", slow="f"),
    Case(50_000, 8, 64, cell="LSTM", slow="f"),
    Case(20_000, 64, 256, cell="LSTM"),
    Case(50, 4, 16, 10_000, cell="LSTM"),
    Case(256, 64, 256, 64, cell="LSTM"),
    Case(100_000, 8, 64, cell="GRU"),
    Case(50_000, 8, 64, cell="GRU", slow="z"),
    Case(20_000, 64, 256, cell="GRU"),
    Case(50, 4, 16, 10_000, cell="GRU"),
    Case(256, 64, 256, 64, cell="GRU"),
)


def make_module(case: Case) -> Any:
    """Draw the weights in PyTorch."""
    import torch

    torch.manual_seed(1)
    module = getattr(torch.nn, case.cell)(case.I, case.H, batch_first=True)
    if case.slow:
        gate = "ifgo".index(case.slow) if case.cell == "LSTM" else "rzn".index(case.slow)
        with torch.no_grad():
            module.bias_hh_l0[gate * case.H : (gate + 1) * case.H] = 0
            module.bias_ih_l0[gate * case.H : (gate + 1) * case.H] = 5
    return module


def save_models(case: Case, folder: Path) -> None:
    """Save the network as a state dict and as ONNX."""
    import torch

    import rnncli

    torch.save(make_module(case).state_dict(), folder / "model.pt")
    rnncli.save(rnncli.load(folder / "model.pt", activation="tanh"), folder / "model.onnx")


def make_forward(name: str, case: Case, folder: Path) -> Callable[[], object]:
    """Load a library and the network; return a function that runs the input through it."""
    import numpy as np

    shape = (case.N, case.T, case.I)
    x = np.random.RandomState(1).standard_normal(shape).astype(np.float32)
    if name == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=providers)
        return lambda: session.run(None, {"x": x})
    if name == "torch":
        import torch

        module = make_module(case)
        module.load_state_dict(torch.load(folder / "model.pt"))
        tensor = torch.from_numpy(x)

        def forward() -> object:
            with torch.inference_mode():
                return module(tensor)

        return forward
    if name == "numpy":
        sys.modules["llvmlite"] = None  # type: ignore[assignment]  # as if not installed
    import rnncli

    network = rnncli.load(folder / "model.pt")
    return lambda: rnncli.run(network, x)


def measure(forward: Callable[[], object], steps: int) -> float:
    """Return microseconds a step of all sequences together, after a first run."""
    forward()
    begin, runs = time.perf_counter(), 0
    while not runs or time.perf_counter() - begin < SHORTEST:
        forward()
        runs += 1
    return (time.perf_counter() - begin) / runs / steps * 1e6


def measure_in_process(name: str, number: int, folder: Path, processors: list[int]) -> float:
    """Time a candidate in a process of its own, on these processors."""
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    threads = len(processors) if name in LIBRARIES else 1  # as the command `rnn` sets it
    environment |= dict.fromkeys(VARIABLES, str(threads))
    request = json.dumps([name, number, str(folder), processors])
    command = [sys.executable, "-W", "ignore", __file__, "--child", request]
    return float(subprocess.check_output(command, env=environment))


def race(number: int, rounds: int) -> dict[str, float]:
    """Time all candidates on a case: medians in microseconds a step."""
    usable = sorted(os.sched_getaffinity(0))
    candidates = [(name, usable) for name in ("fast", "numpy", *LIBRARIES)]
    if len(usable) > 1:  # most systems handle interrupts on the first
        candidates += [(name, usable[-1:]) for name in LIBRARIES]
    times: list[list[float]] = [[] for _ in candidates]
    with tempfile.TemporaryDirectory() as folder:
        save_models(CASES[number], Path(folder))
        for _ in range(rounds):
            for (name, processors), seen in zip(candidates, times, strict=True):
                seen.append(measure_in_process(name, number, Path(folder), processors))
    best: dict[str, float] = {}
    for (name, _), seen in zip(candidates, times, strict=True):
        best[name] = min(median(seen), best.get(name, float("inf")))
    return best


def describe_machine() -> str:
    """Describe the processor and the versions in one line."""
    processor = platform.processor() or platform.machine()
    models = Path("/proc/cpuinfo").read_text().split("model name\t: ")
    processor = models[1].splitlines()[0] if len(models) > 1 else processor
    names = ("numpy", "llvmlite", "onnxruntime", "torch")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    return f"{processor}, {len(os.sched_getaffinity(0))} usable; {versions}"


def _short(count: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return str(count)


def _read_rows(text: str) -> list[int]:
    """Read numbers of rows, from 1: ``1,4-6``."""
    numbers: list[int] = []
    for each in text.split(","):
        first, _, last = each.partition("-")
        numbers += range(int(first) - 1, int(last or first))
    return numbers


def main() -> None:
    """Print a row of the table for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=_read_rows, default=range(len(CASES)))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, number, folder, processors = json.loads(options.child)
        os.sched_setaffinity(0, processors)
        case = CASES[number]
        print(measure(make_forward(name, case, Path(folder)), case.T))  # noqa: T201
        return
    columns = ("`fast`", "NumPy alone", *LIBRARIES.values(), "`fast` ratio", "NumPy ratio")
    print(describe_machine(), "", sep="\n")  # noqa: T201
    print(f"| T, I, H, N, cell | {' | '.join(columns)} |")  # noqa: T201
    print(f"|---|{'--:|' * len(columns)}")  # noqa: T201
    for number in options.rows:
        best = race(number, options.rounds)
        fastest = min(best[name] for name in LIBRARIES)
        ratios = [fastest / best[name] for name in ("fast", "numpy")]
        cells = [f"{value:.3g}" for value in (*best.values(), *ratios)]
        print(f"| {CASES[number].title} | {' | '.join(cells)} |", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
