"""What could steer a terminal is shown there, not sent, wherever it comes from."""

import html
import json
import os
import pty
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_terminal import everything

RNN = (sys.executable, "-m", "rnncli")
# To name the window, turn red, clear the screen, go back, delete, write from right to left.
HOSTILE = "a\x1b]0;b\x07\x1b[31m\x9b2J\b\x7f\u202e\u2028c"
SHOWN = r"a\x1b]0;b\x07\x1b[31m\x9b2J\x08\x7f\u202e\u2028c"
NETWORK = ("--hidden", "1")
CSV = (*NETWORK, "--format", "csv")


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
        f"{HOSTILE}.csv": "x\n1\n",
        "other.csv": "x\n1\n",
        "expected.csv": "h_0\n0.1\n-0.9758598\n",
        f"{HOSTILE}.txt": "0.1\n0.2\n",
    }.items():
        Path(name).write_text(text, encoding="utf-8", newline="")
    arrays: dict[str, Any] = {"W_xh": np.ones((1, 1)), "W_hh": np.ones((1, 1)), "b_h": np.ones(1)}
    np.savez(f"{HOSTILE}.npz", **arrays)
    np.savez("layers.npz", **{f"{HOSTILE}.{name}": array for name, array in arrays.items()})
    np.savez("other.npz", **{HOSTILE: arrays["b_h"]})


def on_terminal(*arguments: str, **variables: str) -> str:
    """What a terminal is sent, but for its line ends."""
    master, slave = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "300"} | variables
    with subprocess.Popen(
        [*RNN, *arguments], stdin=slave, stdout=slave, stderr=slave, env=environment
    ):
        os.close(slave)
        return everything(master).replace("\r\n", "\n")


def piped(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What pipes are sent; a file instead of text would have carriage returns translated."""
    done = subprocess.run([*RNN, *arguments], capture_output=True, check=False)
    return subprocess.CompletedProcess(
        [], done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def steering(text: str) -> set[str]:
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp")} - {"\n"}


KEYS = ("keys.csv", "--group-by", "k", *NETWORK)
WEIGHTS = ("--seq", "1,2", "--weights", f"{HOSTILE}.npz")
LAYER = ("--seq", "1,2", "--weights", "layers.npz", "--layer", HOSTILE)

# For people: on a terminal and in a pipe, which may lead to one.
FOR_PEOPLE = {
    "table: column": ("run", "header.csv", *NETWORK),
    "table: key": ("run", *KEYS),
    "table: key column": ("run", "columns.csv", "--group-by", HOSTILE, *NETWORK),
    "table: file as key": ("run", f"{HOSTILE}.csv", "other.csv", *NETWORK),
    "table: weight file": ("run", *WEIGHTS),
    "table: layer": ("run", *LAYER),
    "heatmap: weight file": ("run", *WEIGHTS, "--format", "heatmap"),
    "heatmap: key": ("run", *KEYS, "--format", "heatmap"),
    "plot: key": ("run", *KEYS, "--format", "plot"),
    "plot: column": ("run", "header.csv", *NETWORK, "--format", "plot"),
    "weights: weight file": ("weights", "--weights", f"{HOSTILE}.npz"),
    "weights: layer": ("weights", "--weights", "layers.npz", "--layer", HOSTILE),
    "verify: weight file": ("verify", *WEIGHTS),
    "verify: expected": ("verify", "--seq", "1,2", *NETWORK, "--expected", f"{HOSTILE}.txt"),
    "verify: key": ("verify", *KEYS, "--expected", "expected.csv"),  # of the one that is wrong
}


@pytest.mark.slow
@pytest.mark.parametrize("command", FOR_PEOPLE.values(), ids=FOR_PEOPLE)
def test_what_people_read_steers_no_terminal(command: tuple[str, ...]) -> None:
    for text in (on_terminal(*command), piped(*command).stdout):
        assert SHOWN in text
        assert steering(text) == set()


@pytest.mark.slow
def test_colours_are_sent_all_the_same() -> None:
    text = on_terminal("run", *KEYS, TERM="xterm-256color")
    assert SHOWN in text
    assert "\x1b[36m" in text
    text = on_terminal("run", *WEIGHTS, "--format", "heatmap", TERM="xterm-256color")
    assert SHOWN in text
    assert "\x1b[48;5;" in text
    assert "\\x1b[48;5;" not in text


@pytest.mark.slow
def test_a_picture_in_a_file_steers_no_terminal() -> None:
    assert piped("run", *WEIGHTS, "-o", "states.svg").returncode == 0
    text = Path("states.svg").read_text(encoding="utf-8")
    assert SHOWN in html.unescape(text).replace("\xa0", " ")
    assert steering(text) == set()


ERRORS = {
    "no such file": ("run", f"no {HOSTILE}", *NETWORK),
    "cell": ("run", "wrong.csv", *NETWORK),
    "row of a file": ("run", f"{HOSTILE}.csv", "--columns", "3", *NETWORK),
    "columns there are": ("run", "header.csv", "--columns", "z", *NETWORK),
    "column wanted": ("run", "header.csv", "--columns", f"z{HOSTILE}", *NETWORK),
    "option": (f"--{HOSTILE}",),
    "command": (HOSTILE,),
    "value": ("run", "--seq", "1", *NETWORK, "--format", HOSTILE),
    "sequence": ("run", "--seq", HOSTILE, *NETWORK),
    "activation": ("run", "--seq", "1", *NETWORK, "--activation", HOSTILE),
    "weight file": ("run", "--seq", "1", "--weights", f"no {HOSTILE}.npz"),
    "tensors": ("run", "--seq", "1", "--weights", "other.npz"),
    "layer": ("run", "--seq", "1", "--weights", "layers.npz", "--layer", f"z{HOSTILE}"),
    "extension": ("run", "--seq", "1", *NETWORK, "-o", f"a.{HOSTILE}"),
    "folder": ("run", "--seq", "1", *NETWORK, "-o", f"{HOSTILE}/a.csv"),
    "state": ("run", "--seq", "1", *NETWORK, "--state", HOSTILE),
    "expected": ("verify", "--seq", "1,2", *NETWORK, "--expected", f"no {HOSTILE}"),
    "note": ("run", "--seq", "1", "--weights", f"{HOSTILE}.npz"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", ERRORS.values(), ids=ERRORS)
def test_messages_steer_no_terminal(command: tuple[str, ...]) -> None:
    done = piped(*command)
    for text in (on_terminal(*command), done.stderr):
        assert steering(text) == set()
        assert done.stderr in text
    assert done.stderr.count("\n") == 1
    assert r"\x1b" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "csv"])
def test_what_steers_nothing_is_shown_as_it_is(form: str) -> None:
    """Spaces of all kinds, marks that join or part letters, letters yet to be agreed on."""
    key = "東\u3000京\xa0\u2009é\u0301\u200d\u00ad\U0001f9ff\ue000"
    Path("keys.csv").write_text(f"k,x\n{key},1\n", encoding="utf-8")
    command = ("run", *KEYS, "--format", form)
    for text in (on_terminal(*command), piped(*command).stdout):
        assert key in text


DATA = {
    "csv: header": ("run", "header.csv", "--passthrough", *CSV),
    "csv: key": ("run", *KEYS, "--format", "csv"),
    "csv: key column": ("run", "columns.csv", "--group-by", HOSTILE, *CSV),
    "csv: cell": ("run", "keys.csv", "--columns", "x", "--passthrough", *CSV),
    "csv: file": ("run", f"{HOSTILE}.csv", "other.csv", *CSV),
    "csv: followed": ("run", *KEYS, "--follow", "--format", "csv"),
    "jsonl: followed": ("run", *KEYS, "--follow", "--format", "jsonl"),
    "jsonl: key": ("run", *KEYS, "--format", "jsonl"),
    "json: key": ("run", *KEYS, "--json"),
    "json: weights": ("weights", "--weights", f"{HOSTILE}.npz", "--json"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("test_id", "command"), DATA.items(), ids=DATA)
def test_data_steer_no_terminal_and_are_whole_elsewhere(
    test_id: str, command: tuple[str, ...]
) -> None:
    assert steering(on_terminal(*command)) == set()
    text = piped(*command).stdout
    assert (HOSTILE if "csv" in command else json.dumps(HOSTILE)[1:-1]) in text
    form = test_id.partition(":")[0]
    assert piped(*command, "-o", f"out.{form}").returncode == 0
    assert Path(f"out.{form}").read_bytes().decode() == text
