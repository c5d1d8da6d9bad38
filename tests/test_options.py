"""Every option of every command: none is silently the last of two, none is empty."""

import click
import pytest
from conftest import Rnn
from test_help import COMMANDS

# A value that each kind of option takes; any other takes the name of a file.
VALUES = {
    "--seq": "1",
    "--delimiter": "comma",
    "--decimal": ",",
    "--encoding": "latin-1",
    "--hidden": "2",
    "--h0": "0,0",
    "--c0": "0,0",
    "--activation": "relu",
    "--recurrent-activation": "relu",
    "--layer": "rnn",
}
NUMBERS = (
    *("--seed", "--inputs", "--digits", "--repeats", "--atol", "--rtol"),
    *("--head", "--tail"),
)


def valued() -> list[tuple[str, click.Option]]:
    """Options with a value, each with its command."""
    return [
        (path[0], option)
        for path, command in COMMANDS
        for option in command.params
        if path and isinstance(option, click.Option) and not option.is_flag
    ]


def value_of(option: click.Option) -> str:
    if isinstance(option.type, click.Choice):
        return str(option.type.choices[0])
    name = option.opts[-1]
    return "1" if name in NUMBERS else VALUES.get(name, "file.npz")


ONCE = [(command, option) for command, option in valued() if not option.multiple]


@pytest.mark.parametrize(
    ("command", "option"), ONCE, ids=[f"{command} {option.opts[-1]}" for command, option in ONCE]
)
def test_an_option_given_twice_is_refused(run_rnn: Rnn, command: str, option: click.Option) -> None:
    value = value_of(option)
    for second in option.opts:
        result = run_rnn(command, option.opts[-1], value, f"{second}={value}")
        assert result.exit_code == 2
        assert result.stderr == (
            f"Error: {option.opts[-1]}: given 2 times, give it once (see 'rnn {command} --help')\n"
        )


@pytest.mark.parametrize(
    ("command", "option"),
    valued(),
    ids=[f"{command} {option.opts[-1]}" for command, option in valued()],
)
def test_an_empty_value_is_refused(run_rnn: Rnn, command: str, option: click.Option) -> None:
    """Such as that of a shell variable which is not set."""
    alone = option.opts == ["--hidden"] or command in ("weights", "inspect")
    others = [] if alone else ["--hidden", "2"]
    if command == "batch" and "-o" not in option.opts:
        others += ["data.csv", "-o", "out"]
    result = run_rnn(command, *others, option.opts[-1], "", stdin=",v\n1,2\n")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Error: ")
    assert option.opts[-1] in result.stderr


def test_flags_may_be_repeated(run_rnn: Rnn) -> None:
    once = run_rnn("run", "--seq", "1,2", "--hidden", "2", "--last")
    assert run_rnn("run", "--seq", "1,2", "--hidden", "2", "--last", "--last").stdout == once.stdout


def test_columns_add_up(run_rnn: Rnn) -> None:
    command = ("run", "--hidden", "2", "--format", "jsonl")
    text = 'a,"b,c",d\n1,2,3\n4,5,6\n'
    lists = (("a", '"b,c"', "3"), ("a", '"b,c",3'), ('a,"b,c"', "d"), ('1,"b,c",d',))
    for columns in lists:
        given = [word for value in columns for word in ("--columns", value)]
        assert '"x": [1.0, 2.0, 3.0]' in run_rnn(*command, *given, stdin=text).stdout
    twice = run_rnn(*command, "--columns", "a", "--columns", "d,1", stdin=text)
    assert twice.stderr == "Error: standard input: column '1' is chosen twice in --columns\n"
