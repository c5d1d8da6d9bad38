"""A run cut in two, with a state file between, is one run."""

from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner
from conftest import NIGHTLY
from hypothesis import given, settings
from hypothesis import strategies as st

from rnncli.cli import rnn

NETWORKS = (
    "--hidden 3",
    "--hidden 3 --cell lstm --states --c0 0.1,-0.2,0.3",
    "--hidden 3 --cell gru --init torch --h0 0.1,-0.2,0.3",
    "--hidden 3,2 --cell lstm --all-layers --states --activation relu",
    "--hidden 2 --precision float64",
    "--hidden 2 --precision bfloat16",
)
ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from(["0.5", "-1.25", "3", ""])), max_size=20
)


@settings(max_examples=1000 if NIGHTLY else 40)
@given(
    network=st.sampled_from(NETWORKS),
    rows=ROWS,
    cut=st.integers(0, 20),
    grouped=st.booleans(),
    follow=st.sampled_from([(), ("--follow",)]),
)
def test_two_runs_are_one(
    network: str, rows: list[tuple[str, str]], cut: int, grouped: bool, follow: tuple[str, ...]
) -> None:
    command = ["run", "-", *network.split(), "--unroll", "stepwise", "--format", "csv"]
    command += ["--columns", "v", "--missing", "hold", *(["--group-by", "k"] * grouped)]

    def run(part: list[tuple[str, str]], *options: str) -> str:
        text = "k,v\n" + "".join(f"{key},{value}\n" for key, value in part)
        result = CliRunner().invoke(rnn, [*command, *options], input=text)
        assert result.exit_code == 0, result.output
        return result.stdout

    with TemporaryDirectory() as folder:
        state = ("--state", str(Path(folder, "s")))
        first, second = run(rows[:cut], *state, *follow), run(rows[cut:], *state, "--no-header")
    assert first + second == run(rows)
