"""The note on states at the ends of their range, which a terminal gets."""

import pytest
from conftest import Rnn
from test_terminal import on_terminal

from rnncli.cli import run

LARGE = ("run", "--seq", "100,200,300", "--hidden", "2", "--init", "keras")
NOTE = "Note: 100% of the last states are within 0.001 of {}, the ends of their range"
WAY_OUT = ". Is the input large? --center and --scale (auto, or numbers) bring it near 0"


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ((), NOTE.format("-1 or 1") + WAY_OUT),
        (("--activation", "sigmoid", "--scale", "0.1"), NOTE.format("0 or 1")),
        (("--scale", "500"), ""),
        (("--activation", "relu"), ""),
    ],
)
def test_a_run_notes_it_after_the_result(
    run_rnn: Rnn, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], note: str
) -> None:
    assert run_rnn(*LARGE, *options).stderr == ""
    monkeypatch.setattr(run, "on_terminal", lambda: True)
    result = run_rnn(*LARGE, *options)
    assert result.stderr == (f"{note}\n" if note else "")
    assert result.output.endswith(result.stderr)


def test_a_terminal_gets_it() -> None:
    assert WAY_OUT in on_terminal(*LARGE, TERM="dumb").replace("\r\n", "")
