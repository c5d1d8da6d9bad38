"""The note on states at the ends of their range."""

from pathlib import Path

import pytest
from conftest import Rnn

import rnncli

LARGE = ("run", "--seq", "100,200,300", "--hidden", "2", "--init", "keras")
NOTE = "nearly all of the last states are within 0.001 of {}; is the input large?"


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ((), NOTE.format("-1 or 1")),
        (("--activation", "sigmoid", "--scale", "0.1"), NOTE.format("0 or 1")),
        (("--scale", "500"), ""),
        (("--activation", "relu"), ""),
    ],
)
def test_a_run_notes_it_after_the_result(run_rnn: Rnn, options: tuple[str, ...], note: str) -> None:
    result = run_rnn(*LARGE, *options)
    assert result.stderr.startswith(f"Note: {note} --center" if note else "")
    assert result.stderr.count("\n") == bool(note)
    assert result.output.endswith(result.stderr)
    assert run_rnn(*LARGE, *options, "-q").stderr == ""


def test_score_warns_of_it_where_it_is_called(tmp_path: Path) -> None:
    source, network = tmp_path / "in.csv", rnncli.seeded(1, hidden_size=2)
    source.write_text("100\n200\n")
    with pytest.warns(UserWarning, match=NOTE.format("-1 or 1")[:-1]) as warned:
        rnncli.score(source, network, tmp_path / "out.csv")
    assert [warning.filename for warning in warned] == [__file__]
