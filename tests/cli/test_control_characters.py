"""Control characters of an input are shown on a terminal, never sent to it."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from processes import Commands, commands

__all__ = ["commands"]
# To name the window, turn red, clear the screen, go back, delete, write from right to left.
HOSTILE = "a\x1b]0;b\x07\x1b[31m\x9b2J\b\x7f\u202e\u2028c"
SHOWN = r"a\x1b]0;b\x07\x1b[31m\x9b2J\x08\x7f\u202e\u2028c"
NETWORK = ("--hidden", "1")
CSV = (*NETWORK, "--format", "csv")
KEYS = ("keys.csv", "--group-by", "k", *NETWORK)
WEIGHTS = ("--seq", "1,2", "--weights", f"{HOSTILE}.npz")
LAYER = ("--seq", "1,2", "--weights", "layers.npz", "--layer", HOSTILE)


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, some with hostile names, that hold hostile headers, keys and cells."""
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "header.csv": f'"{HOSTILE}",y\n1,2\n',
        "keys.csv": f'k,x\n"{HOSTILE}",1\nb,2\n',
        "columns.csv": f'"{HOSTILE}",x\na,1\nb,2\n',
        "wrong.csv": f'x\n1\n"{HOSTILE}"\n',
        HOSTILE: "x\n1\n",
        "expected.csv": "h_0\n0.1\n-0.9758598\n",
        f"{HOSTILE}.txt": "0.1\n0.2\n",
    }.items():
        Path(name).write_text(text, encoding="utf-8", newline="")
    arrays: dict[str, Any] = {"W_xh": np.ones((1, 1)), "W_hh": np.ones((1, 1)), "b_h": np.ones(1)}
    np.savez(f"{HOSTILE}.npz", **arrays)
    roles = ("weight_ih_l0", "weight_hh_l0")
    layers: dict[str, Any] = {f"{HOSTILE}.{role}": np.ones((1, 1)) for role in roles}
    np.savez("layers.npz", **layers)


def steering(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")} - {"\n"}


# For people: on a terminal and in a pipe, which may lead to one.
FOR_PEOPLE = {
    "column": ("run", "header.csv", *NETWORK),
    "key": ("run", *KEYS),
    "weight file": ("run", *WEIGHTS),
    "layer": ("run", *LAYER),
    "model": ("inspect", f"{HOSTILE}.npz"),
    "expected file": ("verify", "--seq", "1,2", *NETWORK, "--expected", f"{HOSTILE}.txt"),
    "verified key": ("verify", *KEYS, "--expected", "expected.csv"),  # of the one that is wrong
    "error: cell": ("run", "wrong.csv", *NETWORK),
    "error: column": ("run", "header.csv", "--columns", f"z{HOSTILE}", *NETWORK),
    "error: option": (f"--{HOSTILE}",),
    "error: layer": ("run", "--seq", "1", "--weights", "layers.npz", "--layer", f"z{HOSTILE}"),
    "error: state": ("run", "--seq", "1", *NETWORK, "--state", HOSTILE),
}


@pytest.mark.parametrize("command", FOR_PEOPLE.values(), ids=FOR_PEOPLE)
def test_a_text_for_people_steers_no_terminal(commands: Commands, command: tuple[str, ...]) -> None:
    done = commands.rnn(*command)
    assert done.err.count("\n") <= 1
    for text in (commands.on_terminal(*command), done.out + done.err):
        assert SHOWN[-12:] in text  # of a long cell the middle is left out
        assert steering(text) == set()


def test_colours_are_sent_all_the_same(commands: Commands) -> None:
    for words, colour in (KEYS, "\x1b[36m"), ((*WEIGHTS, "--format", "heatmap"), "\x1b[48;5;"):
        text = commands.on_terminal("run", *words, TERM="xterm-256color")
        assert SHOWN in text
        assert colour in text
        assert repr(colour)[1:-1] not in text


DATA = {
    "csv: header": ("run", "header.csv", "--passthrough", *CSV),
    "csv: key column": ("run", "columns.csv", "--group-by", HOSTILE, *CSV),
    "csv: cell": ("run", "keys.csv", "--columns", "x", "--passthrough", *CSV),
    "jsonl: followed": ("run", *KEYS, "--follow", "--format", "jsonl"),
    "json: key": ("run", *KEYS, "--json"),
    "json: weights": ("weights", "--weights", f"{HOSTILE}.npz", "--json"),
}


@pytest.mark.parametrize(("name", "command"), DATA.items(), ids=DATA)
def test_data_steer_no_terminal_and_are_whole_in_files(
    commands: Commands, name: str, command: tuple[str, ...]
) -> None:
    assert steering(commands.on_terminal(*command)) == set()
    text = commands.rnn(*command).out
    assert (HOSTILE if "csv" in command else json.dumps(HOSTILE)[1:-1]) in text
    output = f"out.{name.partition(':')[0]}"
    assert commands.rnn(*command, "-o", output).code == 0
    assert Path(output).read_bytes().decode() == text


@pytest.mark.parametrize("form", ["table", "csv"])
def test_letters_and_spaces_of_all_kinds_are_shown_as_they_are(
    commands: Commands, form: str
) -> None:
    """Marks that join or part letters too, and letters yet to be agreed on."""
    key = "東\u3000京\xa0\u2009é\u0301\u200d\u00ad\U0001f9ff\ue000"
    Path("keys.csv").write_text(f"k,x\n{key},1\n", encoding="utf-8")
    command = ("run", *KEYS, "--format", form)
    for text in (commands.on_terminal(*command), commands.rnn(*command).out):
        assert key in text
